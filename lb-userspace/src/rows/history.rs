//! The inputs of one pool that live flows may still need. Pure: seconds since the epoch are passed in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Input;

/// Most previous inputs that are remembered; beyond it the oldest goes, however young.
pub const REMEMBERED_MAX: usize = 64;

/// The current input and, newest first and without repetition, those before it. Goes to the state file as it is.
///
/// A change back to an earlier input makes that one current again and remembers the one just left, so that `drain` and
/// `ready` in turn fill nothing up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    current: Option<Current>,
    #[serde(default)]
    previous: Vec<Previous>,
}

/// In force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Current {
    since_secs: u64,
    input: Input,
}

/// No longer in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Previous {
    until_secs: u64,
    input: Input,
}

impl History {
    /// Makes `input` the current one. True where that is a change.
    pub fn remember(&mut self, input: &Input, now_secs: u64) -> bool {
        if self.current() == Some(input) {
            return false;
        }
        self.previous.retain(|previous| previous.input != *input);
        let next = Current {
            since_secs: now_secs,
            input: input.clone(),
        };
        if let Some(last) = self.current.replace(next) {
            self.previous.insert(
                0,
                Previous {
                    until_secs: now_secs,
                    input: last.input,
                },
            );
            self.previous.truncate(REMEMBERED_MAX);
        }
        true
    }

    /// Forgets inputs that stopped being current `flow_memory` ago. True where one was forgotten.
    pub fn expire(&mut self, now_secs: u64, flow_memory: Duration) -> bool {
        let before = self.previous.len();
        self.previous.retain(|previous| {
            now_secs < previous.until_secs.saturating_add(flow_memory.as_secs())
        });
        self.previous.len() < before
    }

    /// When [`Self::expire`] will next forget one.
    pub fn next_expiry_secs(&self, flow_memory: Duration) -> Option<u64> {
        self.previous
            .iter()
            .map(|previous| previous.until_secs.saturating_add(flow_memory.as_secs()))
            .min()
    }

    /// The input in force.
    pub fn current(&self) -> Option<&Input> {
        self.current.as_ref().map(|current| &current.input)
    }

    /// Since when it is.
    pub fn since_secs(&self) -> Option<u64> {
        self.current.as_ref().map(|current| current.since_secs)
    }

    /// All remembered inputs but the current one, newest first: what [`super::build`] takes as previous ones.
    pub fn previous(&self) -> Vec<&Input> {
        self.previous
            .iter()
            .map(|previous| &previous.input)
            .collect()
    }
}
