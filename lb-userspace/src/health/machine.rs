//! Rise and fall of one target.
//!
//! | verdict | success | `rise` successes in a row | failure | `fall` failures in a row |
//! |---|---|---|---|---|
//! | Unknown | stays | Up | stays | Down |
//! | Up | stays | stays, judged | stays | Down |
//! | Down | stays | Up | stays | stays, judged |
//!
//! A cold start begins at Unknown, which counts as down: nothing is announced on the strength of a guess, and the
//! first verdict needs the same evidence as every later one. An adopted start begins at the verdict of the process
//! before, which stays in force until `rise` or `fall` results in a row speak against it.
//!
//! *Judged* means that the verdict is this process's own. It is set when a run of equal results reaches its threshold
//! (confirming or changing the verdict), or, for a target that keeps alternating, when as many results are in as the
//! larger threshold: so the first round is always over after `max(rise, fall)` results.

use crate::status::Health;

/// How many equal results in a row change a verdict. Zero is taken as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes until up.
    pub rise: u32,
    /// Failures until down.
    pub fall: u32,
}

/// The state of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    health: Health,
    /// What the latest results were, and how many of them in a row.
    run: Option<(bool, u32)>,
    /// Results since the start.
    seen: u32,
    judged: bool,
}

impl Machine {
    /// `Unknown` for a cold start, a verdict for an adopted one.
    pub fn new(initial: Health) -> Self {
        Machine {
            health: initial,
            run: None,
            seen: 0,
            judged: false,
        }
    }

    /// The verdict in force.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Whether the verdict is this process's own.
    pub fn judged(&self) -> bool {
        self.judged
    }

    /// What the latest results were (`true`: success), and how many of them in a row.
    pub fn run(&self) -> Option<(bool, u32)> {
        self.run
    }

    /// Takes one result; returns the new verdict when it changes.
    pub fn observe(&mut self, success: bool, thresholds: Thresholds) -> Option<Health> {
        let length = match self.run {
            Some((last, length)) if last == success => length.saturating_add(1),
            Some(_) | None => 1,
        };
        self.run = Some((success, length));
        self.seen = self.seen.saturating_add(1);

        let (needed, outcome) = if success {
            (thresholds.rise, Health::Up)
        } else {
            (thresholds.fall, Health::Down)
        };
        let decided = length >= needed.max(1);
        self.judged |= decided || self.seen >= thresholds.rise.max(thresholds.fall);
        if !decided || self.health == outcome {
            return None;
        }
        self.health = outcome;
        Some(outcome)
    }

    /// The check now tries something else: the verdict stays in force, its evidence is void.
    pub fn void_evidence(&mut self) {
        *self = Machine::new(self.health);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RISE_2_FALL_3: Thresholds = Thresholds { rise: 2, fall: 3 };

    fn run(initial: Health, results: &str, thresholds: Thresholds) -> (Health, bool) {
        let mut machine = Machine::new(initial);
        for result in results.chars() {
            machine.observe(result == '+', thresholds);
        }
        (machine.health(), machine.judged())
    }

    #[test]
    fn whole_table() {
        use Health::{Down, Unknown, Up};
        for (what, initial, results, health, judged) in [
            ("nothing seen", Unknown, "", Unknown, false),
            (
                "one success is too few to rise",
                Unknown,
                "+",
                Unknown,
                false,
            ),
            ("rise from a cold start", Unknown, "++", Up, true),
            (
                "two failures are too few to fall",
                Unknown,
                "--",
                Unknown,
                false,
            ),
            ("fall from a cold start", Unknown, "---", Down, true),
            (
                "alternating from a cold start: judged, and still not up",
                Unknown,
                "+-+",
                Unknown,
                true,
            ),
            (
                "a failure breaks the run of successes",
                Unknown,
                "+-+-+",
                Unknown,
                true,
            ),
            ("a run later on still decides", Unknown, "+-++", Up, true),
            ("adopted up, nothing seen", Up, "", Up, false),
            ("adopted up, one failure", Up, "-", Up, false),
            ("adopted up, confirmed", Up, "++", Up, true),
            ("adopted up, falls", Up, "---", Down, true),
            (
                "adopted up, fall broken by a success",
                Up,
                "--+--",
                Up,
                true,
            ),
            ("adopted down, one success", Down, "+", Down, false),
            ("adopted down, rises", Down, "++", Up, true),
            ("adopted down, confirmed", Down, "---", Down, true),
            ("down and up again", Unknown, "++---++", Up, true),
            ("up, down, and one success", Unknown, "++---+", Down, true),
        ] {
            assert_eq!(
                run(initial, results, RISE_2_FALL_3),
                (health, judged),
                "{what}"
            );
        }
    }

    #[test]
    fn thresholds_of_zero_are_taken_as_one() {
        let zero = Thresholds { rise: 0, fall: 0 };
        assert_eq!(run(Health::Unknown, "+", zero), (Health::Up, true));
        assert_eq!(run(Health::Up, "-", zero), (Health::Down, true));
    }

    #[test]
    fn only_a_change_is_reported() {
        let mut machine = Machine::new(Health::Unknown);
        let once = Thresholds { rise: 1, fall: 1 };
        assert_eq!(machine.observe(true, once), Some(Health::Up));
        assert_eq!(machine.observe(true, once), None);
        assert_eq!(machine.observe(false, once), Some(Health::Down));
        assert_eq!(machine.observe(false, once), None);
    }

    #[test]
    fn void_evidence_keeps_the_verdict_and_asks_again() {
        let mut machine = Machine::new(Health::Unknown);
        machine.observe(true, RISE_2_FALL_3);
        machine.observe(true, RISE_2_FALL_3);
        machine.observe(false, RISE_2_FALL_3);
        machine.void_evidence();
        assert_eq!((machine.health(), machine.judged()), (Health::Up, false));
        machine.observe(false, RISE_2_FALL_3);
        machine.observe(false, RISE_2_FALL_3);
        assert_eq!(
            machine.health(),
            Health::Up,
            "the failure before is forgotten"
        );
    }

    fn any_health() -> impl Strategy<Value = Health> {
        prop_oneof![Just(Health::Unknown), Just(Health::Up), Just(Health::Down)]
    }

    proptest! {
        /// The verdict is what the last run that reached its threshold said, or the initial one.
        #[test]
        fn verdict_follows_the_last_decisive_run(
            initial in any_health(),
            rise in 1u32..5,
            fall in 1u32..5,
            results in proptest::collection::vec(any::<bool>(), 0..60),
        ) {
            let thresholds = Thresholds { rise, fall };
            let mut machine = Machine::new(initial);
            for (i, &result) in results.iter().enumerate() {
                let before = machine.clone();
                let changed = machine.observe(result, thresholds);

                let seen = &results[..=i];
                let run = seen.iter().rev().take_while(|&&r| r == result).count() as u32;
                let decisive = run >= if result { rise } else { fall };
                let says = if result { Health::Up } else { Health::Down };
                let expected = if decisive { says } else { before.health() };
                prop_assert_eq!(machine.health(), expected);
                prop_assert_eq!(changed.is_some(), expected != before.health());
                prop_assert!(machine.judged() || !before.judged(), "judged is never taken back");
                if i + 1 >= rise.max(fall) as usize {
                    prop_assert!(machine.judged(), "the first round ends after max(rise, fall) results");
                }
                if machine.health() != initial {
                    prop_assert!(machine.judged(), "a verdict of our own is judged");
                }
            }
        }
    }
}
