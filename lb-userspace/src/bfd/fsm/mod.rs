//! RFC 5880's state machine of one session, pure: no clock, no socket, no task, no randomness but a seed.

#![forbid(unsafe_code)]

mod jitter;
mod remote;
mod session;
mod state;
mod table;
mod timing;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod watch;

#[cfg(test)]
mod pair_tests;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod table_tests;
#[cfg(any(test, feature = "fuzz"))]
pub(super) mod testing;

pub use remote::Remote;
pub use session::{Action, Change, Input, Session};
pub use state::State;
pub use timing::Settings;
