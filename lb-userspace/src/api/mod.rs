//! The admin socket and the metrics listener: thin servers in front of a [`Node`].
//!
//! | module | holds |
//! |---|---|
//! | [`node`] | what the servers need of an agent |
//! | [`admin`] | HTTP and JSON on a unix socket, changes included |
//! | [`scrape`] | `/metrics`, `/healthz`, `/readyz` over TCP, read-only |
//! | [`metrics`] | status and counters in the text format of Prometheus |
//! | `socket` | the file of the admin socket |
//! | `caller` | who may change things |
//! | `serve` | HTTP/1.1 with bounds |

pub mod admin;
mod caller;
#[cfg(test)]
pub(crate) mod fake;
pub mod metrics;
pub mod node;
pub mod scrape;
#[cfg(test)]
pub(crate) mod scratch;
mod serve;
mod socket;
#[cfg(test)]
mod tests;

pub use node::Node;
