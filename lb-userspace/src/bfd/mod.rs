//! Bidirectional Forwarding Detection (RFC 5880): asynchronous mode, single hop (RFC 5881) and multihop (RFC 5883).
//!
//! It knows nothing of load balancing, and nothing of BGP. Sessions live in a process of their own, so that whoever uses them may
//! end and come back without a peer noticing; packets say so by their C bit (RFC 5882 section 4.3). Neither authentication nor
//! the echo function is supported; a peer in demand mode is sent nothing periodically, as it asks.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | [`packet`] | control packets to bytes and back, the checks of a received one | yes |
//! | [`diagnostic`] | why a session changed its state | yes |
//! | [`fsm`] | one session: states, timers, polls | yes |
//! | [`sessions`] | all of them: which one a packet is for | yes |
//! | [`message`] | what the process and its user tell each other | yes |
//! | [`process`], `socket` | the process | no |
//! | [`client`] | its user's end | no |

pub mod client;
pub mod diagnostic;
pub mod fsm;
pub mod message;
pub mod packet;
pub mod process;
pub mod sessions;
mod socket;

pub use client::{Client, Launch};
pub use diagnostic::Diagnostic;
pub use fsm::{Session, State};
pub use message::{Ends, Hops, Order, Report, SessionConfig, SessionReport};
pub use packet::{ControlPacket, Discard};
pub use process::Forwarding;
