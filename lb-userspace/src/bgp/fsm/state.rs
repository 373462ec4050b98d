//! States and the two connections a peer can have.

/// States of RFC 4271 section 8.2.2, in the order of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing goes on; connections are refused.
    Idle,
    /// A TCP connection is being opened.
    Connect,
    /// A TCP connection is awaited.
    Active,
    /// OPEN sent, the peer's is awaited.
    OpenSent,
    /// OPENs exchanged, a KEEPALIVE is awaited.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl State {
    /// Every state.
    pub const ALL: [State; 6] = [
        State::Idle,
        State::Connect,
        State::Active,
        State::OpenSent,
        State::OpenConfirm,
        State::Established,
    ];

    /// The name in RFC 4271.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Idle => "Idle",
            State::Connect => "Connect",
            State::Active => "Active",
            State::OpenSent => "OpenSent",
            State::OpenConfirm => "OpenConfirm",
            State::Established => "Established",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who opened a connection. A peer has at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// We dialled.
    Outgoing,
    /// The peer did.
    Incoming,
}

impl Direction {
    /// Both.
    pub const ALL: [Direction; 2] = [Direction::Outgoing, Direction::Incoming];

    /// The other one.
    pub fn other(self) -> Direction {
        match self {
            Direction::Outgoing => Direction::Incoming,
            Direction::Incoming => Direction::Outgoing,
        }
    }
}
