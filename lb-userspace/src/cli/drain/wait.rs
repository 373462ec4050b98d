//! What to do after each reading of a draining backend.

use std::time::Duration;

use crate::status::DrainOutcome;

/// From the end of one reading to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// Readings in a row that have to say zero: a handshake that was under way when the drain began is no connection yet.
const ZEROS: u32 = 2;
/// Readings in a row that may fail: an agent that is restarted is back in less.
const MISSES: u32 = 3;

/// The wait for no connections; times are since its start.
#[derive(Debug)]
pub(super) struct Wait {
    deadline: Duration,
    zeros: u32,
    misses: u32,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read again at this time.
    Again(Duration),
    /// It is over.
    End(DrainOutcome),
}

impl Wait {
    /// Ends with the first reading at or after `deadline`.
    pub(super) fn new(deadline: Duration) -> Self {
        Self {
            deadline,
            zeros: 0,
            misses: 0,
        }
    }

    /// Takes connections, or why they are not known, as read at `now`.
    pub(super) fn take(&mut self, reading: Result<u64, String>, now: Duration) -> Step {
        let late = now >= self.deadline;
        self.zeros = if reading == Ok(0) { self.zeros + 1 } else { 0 };
        self.misses = if reading.is_err() { self.misses + 1 } else { 0 };
        match reading {
            Ok(0) if late || self.zeros == ZEROS => Step::End(DrainOutcome::Empty),
            Ok(connections) if late => Step::End(DrainOutcome::Timeout { connections }),
            Err(reason) if late || self.misses == MISSES => {
                Step::End(DrainOutcome::Unknown { reason })
            }
            Ok(_) | Err(_) => Step::Again(self.deadline.min(now + PAUSE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn outcome(readings: &[Result<u64, &str>]) -> Option<(DrainOutcome, usize)> {
        let mut wait = Wait::new(DEADLINE);
        let mut now = Duration::ZERO;
        for (count, reading) in readings.iter().enumerate() {
            match wait.take(reading.map_err(str::to_owned), now) {
                Step::Again(at) => {
                    assert!(at > now && at <= now + PAUSE, "{at:?} after {now:?}");
                    now = at;
                }
                Step::End(outcome) => return Some((outcome, count + 1)),
            }
        }
        None
    }

    #[test]
    fn every_way_to_end() {
        let unknown = |reason: &str| DrainOutcome::Unknown {
            reason: reason.into(),
        };
        for (case, readings, expected) in [
            (
                "empty from the start",
                &[Ok(0), Ok(0)][..],
                Some((DrainOutcome::Empty, 2)),
            ),
            ("one zero is not enough", &[Ok(0)], None),
            ("a late handshake", &[Ok(0), Ok(1), Ok(0)], None),
            (
                "falls to zero",
                &[Ok(2), Ok(1), Ok(0), Ok(0)],
                Some((DrainOutcome::Empty, 4)),
            ),
            ("a miss between zeros", &[Ok(0), Err("x"), Ok(0)], None),
            (
                "three misses",
                &[Err("x"), Err("y"), Err("z")],
                Some((unknown("z"), 3)),
            ),
            (
                "two misses and back",
                &[Err("x"), Err("y"), Ok(0), Ok(0)],
                Some((DrainOutcome::Empty, 4)),
            ),
            (
                "misses that are not in a row",
                &[Err("x"), Err("y"), Ok(1), Err("x"), Err("y")],
                None,
            ),
            (
                "too many for too long",
                &[Ok(3); 11],
                Some((DrainOutcome::Timeout { connections: 3 }, 11)),
            ),
        ] {
            assert_eq!(outcome(readings), expected, "{case}");
        }
    }

    #[test]
    fn the_last_reading_decides_at_the_deadline() {
        for (last, expected) in [
            (Ok(0), DrainOutcome::Empty),
            (Ok(1), DrainOutcome::Timeout { connections: 1 }),
            (
                Err("x".to_owned()),
                DrainOutcome::Unknown { reason: "x".into() },
            ),
        ] {
            let mut wait = Wait::new(DEADLINE);
            let almost = DEADLINE - Duration::from_millis(1);
            assert_eq!(wait.take(Ok(7), almost), Step::Again(DEADLINE));
            assert_eq!(wait.take(last, DEADLINE), Step::End(expected));
        }
    }
}
