//! The inputs of one pool that live flows may still need. Pure: seconds since the epoch are passed in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Input;

/// Most previous inputs that are remembered; beyond it the oldest goes, however young.
pub const REMEMBERED_MAX: usize = 64;

/// The current input and, newest first and without repetition, those before it. Goes to the state file as it is.
///
/// A change back to an earlier input makes that one current again and remembers the one just left, so that `drain` and
/// `ready` in turn fill nothing up. Tables look at the newest [`super::PREVIOUS_MAX`] and keep the distinct owners of each
/// row, so that inputs that follow each other in a minute push out nobody: three backends removed one by one are found as
/// if removed at once. What is lost are rows with more owners than hops, and flows older than the inputs looked at;
/// [`super::Builder::uncovered`] tells how many rows, for every remembered input. To try a change: clone, remember, build.
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

    /// The clock that `now_secs` comes from was set by so many seconds: everything stays as old as it is.
    pub fn shift(&mut self, by_secs: i64) {
        let current = self
            .current
            .iter_mut()
            .map(|current| &mut current.since_secs);
        let previous = self
            .previous
            .iter_mut()
            .map(|previous| &mut previous.until_secs);
        for secs in current.chain(previous) {
            *secs = secs.saturating_add_signed(by_secs);
        }
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::Member;
    use super::*;
    use crate::model::AdminState;

    const MEMORY: Duration = Duration::from_secs(100);

    /// A pool of one backend that is told apart by its weight.
    fn input(weight: u16) -> Input {
        let address: IpAddr = "192.0.2.1".parse().expect("a literal");
        Input::new([Member {
            address,
            weight,
            admin: AdminState::Ready,
        }])
        .expect("one member")
    }

    fn weights(history: &History) -> Vec<u16> {
        history
            .previous()
            .iter()
            .map(|input| input.members()[0].weight)
            .collect()
    }

    #[test]
    fn remembers_newest_first_and_each_once() {
        let mut history = History::default();
        assert!(history.remember(&input(1), 10));
        assert!(!history.remember(&input(1), 20), "no change");
        assert_eq!(
            (history.since_secs(), weights(&history)),
            (Some(10), vec![])
        );
        for (now, weight) in [(30, 2), (40, 3), (50, 2)] {
            assert!(history.remember(&input(weight), now));
        }
        assert_eq!(history.current(), Some(&input(2)));
        assert_eq!(
            (history.since_secs(), weights(&history)),
            (Some(50), vec![3, 1])
        );
    }

    #[test]
    fn a_clock_that_is_set_makes_nothing_older_or_younger() {
        for by in [3_600, -3_600] {
            let mut history = History::default();
            history.remember(&input(1), 10_000);
            history.remember(&input(2), 10_010);
            history.shift(by);
            let now = |secs: u64| secs.saturating_add_signed(by);
            assert_eq!(history.since_secs(), Some(now(10_010)));
            assert!(!history.expire(now(10_109), MEMORY), "{by}");
            assert!(history.expire(now(10_110), MEMORY), "{by}");
        }
        let mut history = History::default();
        history.remember(&input(1), 10);
        history.shift(-3_600);
        assert_eq!(history.since_secs(), Some(0), "no time before the epoch");
    }

    #[test]
    fn forgets_flow_memory_after_an_input_stopped_being_current() {
        let mut history = History::default();
        for (now, weight) in [(0, 1), (1000, 2), (1050, 3)] {
            history.remember(&input(weight), now);
        }
        assert_eq!(history.next_expiry_secs(MEMORY), Some(1100));
        assert!(!history.expire(1099, MEMORY));
        assert!(history.expire(1100, MEMORY));
        assert_eq!(weights(&history), [2]);
        assert!(history.expire(5000, MEMORY));
        assert_eq!(
            (history.current(), history.next_expiry_secs(MEMORY)),
            (Some(&input(3)), None)
        );
    }

    #[test]
    fn a_clock_that_went_back_forgets_nothing() {
        let mut history = History::default();
        history.remember(&input(1), 1000);
        history.remember(&input(2), 500);
        assert!(!history.expire(0, Duration::MAX));
        assert_eq!(weights(&history), [1]);
    }

    #[test]
    fn is_bounded() {
        let mut history = History::default();
        for n in 1..=REMEMBERED_MAX as u16 + 10 {
            history.remember(&input(n), u64::from(n));
        }
        assert_eq!(weights(&history).len(), REMEMBERED_MAX);
        assert_eq!(weights(&history)[0], REMEMBERED_MAX as u16 + 9);
    }

    #[test]
    fn golden_state() {
        let mut history = History::default();
        history.remember(&input(1), 10);
        history.remember(&input(2), 20);
        let member =
            |weight| format!(r#"[{{"address":"192.0.2.1","weight":{weight},"admin":"ready"}}]"#);
        let json = format!(
            r#"{{"current":{{"since_secs":20,"input":{}}},"previous":[{{"until_secs":20,"input":{}}}]}}"#,
            member(2),
            member(1)
        );
        assert_eq!(serde_json::to_string(&history).expect("plain data"), json);
        assert_eq!(
            serde_json::from_str::<History>(&json).expect("its own words"),
            history
        );
    }
}
