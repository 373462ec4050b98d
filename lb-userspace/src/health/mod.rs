//! Which backends answer: rise and fall as a state machine, and the probes that feed it.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | `verdict` | [`Target`], [`Verdict`], [`Verdicts`]: what the agent reads | yes |
//! | `machine` | [`Machine`]: rise and fall of one target, with its table | yes |
//! | `jitter` | spread of the checks in time, from a seed | yes |
//! | `board` | [`Board`]: every target's machine and when it is due | yes |
//! | `probe` | [`Outcome`], [`Failure`], the trait [`Probe`] | yes |
//! | `stats` | [`Stats`]: counters behind the metrics | yes |
//! | `certificate` | what is wrong with a certificate, in words | yes |
//! | `tcp` | a connection is accepted | no |
//! | `tls`, `verifier` | handshakes, and which certificates are taken | no |
//! | `http` | a request has the expected answer | no |
//! | `search` | a text within a body that comes in pieces | yes |
//! | `deadline` | one end for all steps of a check | no |
//! | `network` | [`NetworkProbe`]: all kinds of checks | no |
//! | `progress` | [`Progress`]: how far a target is from its next verdict | yes |
//! | `asker` | [`Asker`]: questions to a running checker, one check out of turn | no |
//! | `driver` | [`Checker`]: the task that waits, probes and publishes | no |
//!
//! Invariant: a result changes a verdict only through [`Machine::observe`]; a probe that failed for a reason of
//! this node's own (no file descriptor, no port) changes none.
//! Invariant: a probe spawns nothing; dropped, it leaves neither task nor socket.

#![forbid(unsafe_code)]

mod asker;
mod board;
mod certificate;
mod deadline;
mod driver;
mod http;
mod jitter;
mod machine;
mod network;
mod probe;
mod progress;
mod search;
mod stats;
mod tcp;
mod tls;
mod verdict;
mod verifier;

#[cfg(test)]
mod http_tests;
#[cfg(test)]
mod tls_tests;

pub use asker::{Asker, Probed};
pub use board::{Board, Job, Ticket};
pub use driver::{Checker, Tuning};
pub use jitter::Jitter;
pub use machine::{Machine, Thresholds};
pub use network::NetworkProbe;
pub use probe::{Failure, Outcome, Probe};
pub use progress::{Last, Progress};
pub use stats::{CheckResult, DURATION_BOUNDS_SECS, Histogram, Stats};
pub use verdict::{Target, Verdict, Verdicts};
