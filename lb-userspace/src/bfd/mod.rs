//! Bidirectional Forwarding Detection (RFC 5880): asynchronous mode, single hop (RFC 5881) and multihop (RFC 5883).
//!
//! It knows nothing of load balancing, and nothing of BGP. Neither authentication nor the echo function is supported; a peer
//! in demand mode is sent nothing periodically, as it asks.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | [`packet`] | control packets to bytes and back, the checks of a received one | yes |
//! | [`diagnostic`] | why a session changed its state | yes |
//! | [`fsm`] | one session: states, timers, polls | yes |

pub mod diagnostic;
pub mod fsm;
pub mod packet;

pub use diagnostic::Diagnostic;
pub use fsm::{Session, State};
pub use packet::{ControlPacket, Discard};
