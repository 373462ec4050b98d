//! What a check can say, and what can make one.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use crate::model::Check;

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered as it should.
    Success,
    /// It did not.
    Failure(Failure),
    /// This node could not ask (no file descriptor, no port, no memory): says nothing about the backend.
    Inconclusive(String),
}

/// Why a check failed; its display is the reason an operator reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A reset: the host is there, nobody listens.
    #[error("connection refused")]
    Refused,
    /// No answer in time.
    #[error("timeout after {0:?}")]
    Timeout(Duration),
    /// No route, or one that rejects, or the neighbour does not answer, or a router said so.
    #[error("no route to host")]
    NoRoute,
    /// Accepted and reset at once.
    #[error("connection reset")]
    Reset,
    /// A firewall or a route of this node, or a router, forbids it.
    #[error("prohibited by a firewall or a route")]
    Prohibited,
    /// What the operating system said.
    #[error("{0}")]
    Other(String),
}

/// Something that can try a backend.
pub trait Probe: Send + Sync + 'static {
    /// Tries `address` once, within `check.timeout`. Cancel-safe: dropped, it leaves nothing behind.
    fn probe(&self, address: IpAddr, check: &Check) -> impl Future<Output = Outcome> + Send;
}
