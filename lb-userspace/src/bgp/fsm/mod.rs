//! RFC 4271's state machine, pure: no clock, no socket, no task, no randomness but a seed.
//!
//! A peer may have two connections at once, one opened by each side. Each has a machine of its own that follows the
//! table of `table.rs`; [`Peer`] joins the two, resolves their collision (RFC 4271 section 6.8) and lets one rest while the other is
//! Established.

#![forbid(unsafe_code)]

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod driver;
mod event;
mod machine;
mod negotiate;
mod peer;
mod state;
mod table;
#[cfg(any(test, feature = "fuzz"))]
pub(super) mod testing;
mod timers;

#[cfg(test)]
mod pair_tests;
#[cfg(test)]
mod peer_tests;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod rfc_tests;
#[cfg(test)]
mod table_tests;

pub use event::{Event, Reason};
pub use machine::{Action, Reply};
pub use negotiate::{Negotiated, NextHops, Settings, contradiction};
pub use peer::{Input, Peer};
pub use state::{Direction, State};
pub(super) use timers::{Jitter, SEND_HOLD_MIN};
