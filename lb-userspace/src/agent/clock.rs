//! Whether somebody has set the wall clock. Pure.
//!
//! What is remembered must outlive a reboot, so it is dated by the wall clock; how long ago that was must not change where the clock is
//! set. A jump is what the wall clock does beyond the monotonic one.

use std::time::Instant;

use super::core::Core;

/// Smaller ones are ignored: both clocks are read in whole seconds, and corrections of a few seconds matter to nobody's memory.
const JUMP_SECS: u64 = 5;

/// Both clocks as they were last.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall_secs: u64,
    at: Instant,
}

impl Clock {
    /// `wall_secs` since the epoch at `now`.
    pub fn new(wall_secs: u64, now: Instant) -> Self {
        Self { wall_secs, at: now }
    }

    /// Seconds by which the wall clock was set since the last look; none where it went with time.
    pub fn jump(&mut self, wall_secs: u64, now: Instant) -> Option<i64> {
        let passed = now.saturating_duration_since(self.at).as_secs();
        let expected = self.wall_secs.saturating_add(passed);
        *self = Self::new(wall_secs, now);
        let by = i64::try_from(wall_secs.abs_diff(expected)).unwrap_or(i64::MAX);
        let by = if wall_secs < expected { -by } else { by };
        (by.unsigned_abs() >= JUMP_SECS).then_some(by)
    }
}

impl Core {
    /// The wall clock was set by so many seconds: what is remembered is as old as it was.
    pub fn clock_was_set(&mut self, by_secs: i64) {
        for history in self.state.histories.values_mut() {
            history.shift(by_secs);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_that_passes_is_no_jump_and_each_jump_is_told_once() {
        let begin = Instant::now();
        let at = |secs| begin + Duration::from_secs(secs);
        let mut clock = Clock::new(1_000_000, begin);
        for (about, wall, now, expected) in [
            ("a second", 1_000_001, 1, None),
            ("a day, stopped", 1_086_401, 86_401, None),
            ("rounded", 1_086_403, 86_402, None),
            ("a correction", 1_086_408, 86_403, None),
            ("an hour on", 1_090_009, 86_404, Some(3_600)),
            ("it stays", 1_090_010, 86_405, None),
            ("two hours back", 1_082_811, 86_406, Some(-7_200)),
            ("before the epoch, almost", 0, 86_407, Some(-1_082_812)),
            ("from there", 1_790_000_000, 86_408, Some(1_789_999_999)),
        ] {
            assert_eq!(clock.jump(wall, at(now)), expected, "{about}");
        }
    }
}
