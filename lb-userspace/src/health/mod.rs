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
//! | `tcp` | [`TcpProbe`]: a connection is accepted | no |
//! | `driver` | [`Checker`]: the task that waits, probes and publishes | no |
//!
//! Invariant: a result changes a verdict only through [`Machine::observe`]; a probe that failed for a reason of
//! this node's own (no file descriptor, no port) changes none.

#![forbid(unsafe_code)]

mod board;
mod driver;
mod jitter;
mod machine;
mod probe;
mod stats;
mod tcp;
mod verdict;

pub use board::{Board, Job, Ticket};
pub use driver::{Checker, Tuning};
pub use jitter::Jitter;
pub use machine::{Machine, Thresholds};
pub use probe::{Failure, Outcome, Probe};
pub use stats::{CheckResult, DURATION_BOUNDS_SECS, Histogram, Stats};
pub use tcp::TcpProbe;
pub use verdict::{Target, Verdict, Verdicts};
