//! `anylb bench`: what a node under test takes and sends back without loss.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | [`plan`] | what was asked for, in full | yes |
//! | [`frame`] | the packets: headers, sums, sizes | yes |
//! | [`search`] | which rate to try next (RFC 2544 section 26.1) | yes |
//! | `figures` | rates, loss and shares of line rate from counts | yes |
//! | `refusal` | every reason not to begin, and what to do | no |
//! | `site` | the interface, the way to the VIP, the CPUs | no |
//! | `trial` | one rate for a while, on every CPU | no |
//! | `run` | trial after trial | no |
//!
//! It runs on the generator box and hangs a program on one interface there for as long as it runs.

mod figures;
pub mod frame;
pub mod plan;
mod refusal;
mod run;
pub mod search;
mod site;
mod trial;

pub use refusal::{Failure, Refusal};
pub use run::run;
