//! The decision table of the second chance.
//!
//! | segment | what the kernel has | decision |
//! |---|---|---|
//! | SYN | a socket of the flow, or a listener | accept |
//! | any other | a socket that is neither listening, in a handshake nor in TIME_WAIT | accept |
//! | acknowledges the SYN-ACK that this host sent | the handshake | accept |
//! | carries a valid SYN cookie | a listener | accept |
//! | any | anything else | next hop |
//! | no hop left, neither SYN nor RST, table settling | the same | drop |
//! | no hop left | the same | accept: the kernel answers |
//!
//! An ICMP error follows the quoted packet: the flow is the quoted one reversed, and the quoted sequence number stands for the
//! acknowledgment, as it is the number of the SYN-ACK where the handshake has not ended.

use super::Exit;
use super::inner::Segment;

/// What the kernel has for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No socket at all.
    Nothing,
    /// A listener.
    Listener,
    /// A listener, and the segment carries a valid SYN cookie of this host.
    Cookie,
    /// A handshake under way (NEW_SYN_RECV), with the sequence number of its SYN-ACK where that can be read.
    Handshake(Option<u32>),
    /// The flow has ended here (TIME_WAIT).
    TimeWait,
    /// The flow's socket in any other state.
    Live,
}

/// Why the packet is accepted whatever hops are left; `None`: another hop may know more.
#[inline(always)]
pub const fn accepts(segment: &Segment, found: Found) -> Option<Exit> {
    match found {
        Found::Nothing => None,
        _ if segment.syn => Some(Exit::AcceptedSyn),
        Found::Live => Some(Exit::AcceptedSocket),
        Found::Cookie => Some(Exit::AcceptedCookie),
        Found::Handshake(sent) => match (sent, segment.answers) {
            // Sent on, it would find no socket anywhere, and the last hop would reset it.
            (None, _) => Some(Exit::AcceptedHandshake),
            (Some(sent), Some(answered)) if sent == answered => Some(Exit::AcceptedHandshake),
            _ => None,
        },
        Found::Listener | Found::TimeWait => None,
    }
}

/// What becomes of a packet that was not accepted and cannot be passed on, although `hops_left` (the budget is used up) or
/// because none is.
#[inline(always)]
pub const fn at_the_end(
    segment: &Segment,
    found: Found,
    settling: bool,
    hops_left: bool,
) -> Result<Exit, Exit> {
    if matches!(found, Found::TimeWait) {
        Ok(Exit::AcceptedSocket)
    } else if settling && !segment.syn && !segment.rst {
        Err(Exit::UnknownSettling)
    } else if hops_left {
        Ok(Exit::AcceptedNoBudget)
    } else {
        Ok(Exit::AcceptedLastHop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: Segment = Segment {
        syn: true,
        rst: false,
        answers: None,
    };
    const ACK: Segment = Segment {
        syn: false,
        rst: false,
        answers: Some(1000),
    };
    const RST: Segment = Segment {
        syn: false,
        rst: true,
        answers: None,
    };

    #[test]
    fn whole_table_while_hops_are_left() {
        let rows = [
            ("SYN, no listener", SYN, Found::Nothing, None),
            (
                "SYN, listener",
                SYN,
                Found::Listener,
                Some(Exit::AcceptedSyn),
            ),
            (
                "SYN again",
                SYN,
                Found::Handshake(Some(1)),
                Some(Exit::AcceptedSyn),
            ),
            (
                "SYN, old flow's end",
                SYN,
                Found::TimeWait,
                Some(Exit::AcceptedSyn),
            ),
            ("SYN, its socket", SYN, Found::Live, Some(Exit::AcceptedSyn)),
            ("no socket", ACK, Found::Nothing, None),
            ("socket", ACK, Found::Live, Some(Exit::AcceptedSocket)),
            (
                "socket, reset",
                RST,
                Found::Live,
                Some(Exit::AcceptedSocket),
            ),
            ("ended", ACK, Found::TimeWait, None),
            ("listener, no cookie", ACK, Found::Listener, None),
            (
                "listener, cookie",
                ACK,
                Found::Cookie,
                Some(Exit::AcceptedCookie),
            ),
            (
                "handshake, fits",
                ACK,
                Found::Handshake(Some(1000)),
                Some(Exit::AcceptedHandshake),
            ),
            (
                "handshake, another's",
                ACK,
                Found::Handshake(Some(999)),
                None,
            ),
            (
                "handshake, acknowledges nothing",
                RST,
                Found::Handshake(Some(1000)),
                None,
            ),
            (
                "handshake, unreadable",
                ACK,
                Found::Handshake(None),
                Some(Exit::AcceptedHandshake),
            ),
        ];
        for (why, segment, found, expected) in rows {
            assert_eq!(accepts(&segment, found), expected, "{why}");
        }
    }

    #[test]
    fn whole_table_at_the_end() {
        let rows = [
            (
                "settling",
                ACK,
                Found::Nothing,
                true,
                false,
                Err(Exit::UnknownSettling),
            ),
            (
                "settling, no budget",
                ACK,
                Found::Listener,
                true,
                true,
                Err(Exit::UnknownSettling),
            ),
            (
                "settling, SYN",
                SYN,
                Found::Nothing,
                true,
                false,
                Ok(Exit::AcceptedLastHop),
            ),
            (
                "settling, RST",
                RST,
                Found::Nothing,
                true,
                false,
                Ok(Exit::AcceptedLastHop),
            ),
            (
                "settled",
                ACK,
                Found::Nothing,
                false,
                false,
                Ok(Exit::AcceptedLastHop),
            ),
            (
                "settled, no budget",
                ACK,
                Found::Nothing,
                false,
                true,
                Ok(Exit::AcceptedNoBudget),
            ),
            (
                "its end is here",
                ACK,
                Found::TimeWait,
                true,
                false,
                Ok(Exit::AcceptedSocket),
            ),
        ];
        for (why, segment, found, settling, hops_left, expected) in rows {
            assert_eq!(
                at_the_end(&segment, found, settling, hops_left),
                expected,
                "{why}"
            );
        }
    }
}
