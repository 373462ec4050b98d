//! What a check can say, and what can make one.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use crate::model::{Check, Expect};

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
    /// No connection in time.
    #[error("timeout after {0:?}")]
    Timeout(Duration),
    /// A connection, and then no end of the TLS handshake in time.
    #[error("TLS handshake not complete after {0:?}")]
    HandshakeTimeout(Duration),
    /// A connection, and then no complete head of an answer in time.
    #[error("no answer within {0:?}")]
    AnswerTimeout(Duration),
    /// A head, and then not enough of a body in time.
    #[error("answer not complete after {0:?}")]
    BodyTimeout(Duration),
    /// No route, or one that rejects, or the neighbour does not answer, or a router said so.
    #[error("no route to host")]
    NoRoute,
    /// Accepted and reset at once.
    #[error("connection reset")]
    Reset,
    /// A firewall or a route of this node, or a router, forbids it.
    #[error("prohibited by a firewall or a route")]
    Prohibited,
    /// The backend ended the connection too early.
    #[error("connection closed {0}")]
    Closed(&'static str),
    /// What came back is no TLS.
    #[error("no TLS on this port")]
    NotTls,
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The certificate was not taken; completes "certificate ...".
    #[error("certificate {0}")]
    Certificate(String),
    /// What came back is not HTTP/1.1.
    #[error("the answer is not HTTP/1.1")]
    NotHttp,
    /// The head of the answer is larger than an answer to a check can be.
    #[error("the headers of the answer are too large")]
    HeadTooLarge,
    /// Another status than those that count as success.
    #[error("status {found}, expected {expected}")]
    Status {
        /// What came.
        found: u16,
        /// What would have been right.
        expected: Expect,
    },
    /// What the body should have is not in it.
    #[error("{0:?} is not in the first 64 KiB of the body")]
    Body(String),
    /// What the operating system said.
    #[error("{0}")]
    Other(String),
}

/// Why a check is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The backend's fault.
    Backend(Failure),
    /// This node's own.
    Node(String),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Backend(failure)
    }
}

impl From<Result<(), Trouble>> for Outcome {
    fn from(result: Result<(), Trouble>) -> Self {
        match result {
            Ok(()) => Outcome::Success,
            Err(Trouble::Backend(failure)) => Outcome::Failure(failure),
            Err(Trouble::Node(why)) => Outcome::Inconclusive(why),
        }
    }
}

/// Something that can try a backend.
pub trait Probe: Send + Sync + 'static {
    /// Tries `address` once, within `check.timeout`. Cancel-safe: dropped, it leaves nothing behind.
    fn probe(&self, address: IpAddr, check: &Check) -> impl Future<Output = Outcome> + Send;
}
