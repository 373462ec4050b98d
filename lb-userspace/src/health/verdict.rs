//! What the checks say, as the rest of the agent reads it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use crate::model::PoolName;
use crate::status::Health;

/// One backend of one pool. A backend of two pools is checked once for each: their checks may differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The pool whose check is used.
    pub pool: PoolName,
    /// The backend.
    pub address: IpAddr,
}

/// What is known of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// In force. `Unknown` counts as down.
    pub health: Health,
    /// Words of the last failed check; none while up.
    pub reason: Option<String>,
    /// When this verdict came into force here: the change, or the adoption.
    pub since: Instant,
    /// The verdict is this process's own: checks of this run have confirmed or changed it.
    pub judged: bool,
}

/// The verdicts on all targets, published together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Exactly the targets of the last update that was taken up.
    pub by_target: BTreeMap<Target, Verdict>,
}

impl Verdicts {
    /// Health of a target; `Unknown` for one that is not checked (yet).
    pub fn health(&self, target: &Target) -> Health {
        self.by_target
            .get(target)
            .map_or(Health::Unknown, |verdict| verdict.health)
    }

    /// Whether the first full round is over for all of `targets`: until then an adopted verdict may be stale and
    /// `Unknown` may only mean "not asked yet".
    pub fn judged<'a>(&self, targets: impl IntoIterator<Item = &'a Target>) -> bool {
        targets.into_iter().all(|target| {
            self.by_target
                .get(target)
                .is_some_and(|verdict| verdict.judged)
        })
    }

    /// Whether the first full round is over for every target that is checked; true when there is none.
    pub fn full_round(&self) -> bool {
        self.by_target.values().all(|verdict| verdict.judged)
    }

    /// What to keep with the pins, so that the next process can adopt it.
    pub fn to_keep(&self) -> BTreeMap<Target, Health> {
        self.by_target
            .iter()
            .map(|(target, verdict)| (target.clone(), verdict.health))
            .collect()
    }
}
