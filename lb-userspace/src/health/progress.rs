//! How far a target is from its next verdict, for whoever asks.

use std::time::Instant;

use super::{Outcome, Thresholds};
use crate::status::Health;

/// Everything that is known of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// In force.
    pub health: Health,
    /// When it came into force.
    pub since: Instant,
    /// Checks of this run have confirmed or changed it.
    pub judged: bool,
    /// What the latest conclusive results were (`true`: success), and how many of them in a row.
    pub run: Option<(bool, u32)>,
    /// How many are needed.
    pub thresholds: Thresholds,
    /// The latest result; none before the first.
    pub last: Option<Last>,
    /// When the next check is due; none while one is in flight.
    pub next: Option<Instant>,
}

/// The latest result of a target's checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// What it was.
    pub outcome: Outcome,
    /// When it came.
    pub at: Instant,
}
