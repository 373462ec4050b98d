//! `anylb backend drain --wait`.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// A backend was told to drain, and this is what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// What was done, where it holds (`this node only`), in one line.
    pub message: String,
    /// How long was waited.
    pub waited_secs: u64,
    /// How the wait ended.
    #[serde(flatten)]
    pub outcome: DrainOutcome,
}

/// How a wait for no connections ended; the backend goes on draining in every case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum DrainOutcome {
    /// The backend has no connections any more.
    Empty,
    /// It still had some at the end of the time.
    Timeout {
        /// How many.
        connections: u64,
    },
    /// How many it has cannot be told.
    Unknown {
        /// Why not, in words.
        reason: String,
    },
}
