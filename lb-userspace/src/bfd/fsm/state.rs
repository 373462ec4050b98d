//! States.

use serde::{Deserialize, Serialize};

/// State of a session (RFC 5880 section 6.2), with its bits in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// 0: held down by the operator.
    AdminDown,
    /// 1.
    Down,
    /// 2: the peer is heard, and has not said that it hears us.
    Init,
    /// 3.
    Up,
}

impl State {
    /// Every one, in the order of its bits.
    pub const ALL: [State; 4] = [State::AdminDown, State::Down, State::Init, State::Up];

    /// Of the low two bits.
    pub const fn from_bits(bits: u8) -> State {
        match bits & 3 {
            0 => State::AdminDown,
            1 => State::Down,
            2 => State::Init,
            _ => State::Up,
        }
    }

    /// As in a packet: 0..=3.
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// The name in RFC 5880.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::AdminDown => "AdminDown",
            State::Down => "Down",
            State::Init => "Init",
            State::Up => "Up",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
