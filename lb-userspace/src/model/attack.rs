//! Services that take known flows only: somebody must know them.

#![forbid(unsafe_code)]

use super::{Mode, Protocol, UdpFlows};

/// Why nobody knows the flows of a service, and what would change that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NobodyKnows {
    /// Behind "`attack = true`".
    pub reason: &'static str,
    /// What to do instead.
    pub instead: &'static str,
}

impl NobodyKnows {
    /// Of a service whose pool has this mode; none: somebody knows them. `udp` is what becomes of its flows where they are UDP.
    pub fn of(mode: Option<Mode>, protocol: Protocol, udp: UdpFlows) -> Option<Self> {
        match (mode, protocol, udp) {
            (Some(Mode::Stateless), _, _) => Some(Self {
                reason: "at a pool with `mode = \"stateless\"`: nobody knows its flows",
                instead: "let the pool have `mode = \"flow-table\"` or \"rows\"",
            }),
            (_, Protocol::Udp, UdpFlows::Stateless) => Some(Self {
                reason: "in a service with `udp = \"stateless\"`: nobody knows its flows",
                instead: match mode {
                    Some(Mode::FlowTable) => "leave out `udp = \"stateless\"`",
                    Some(Mode::Rows | Mode::Stateless) | None => {
                        "say `udp = \"connected\"`, with servers that open a socket per flow"
                    }
                },
            }),
            (_, Protocol::Tcp | Protocol::Udp, _) => None,
        }
    }
}
