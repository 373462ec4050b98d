//! Spread of the checks in time, so that nodes and backends do not march in step.

use std::time::Duration;

/// A tenth: checks start within 0.9 and 1.1 times their interval after the one before.
const SHARE: u32 = 10;

/// Deterministic from its seed (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Jitter {
    state: u64,
}

impl Jitter {
    /// Two nodes should have two seeds.
    pub fn new(seed: u64) -> Self {
        Jitter { state: seed }
    }

    /// Time to the next check: `interval` give or take a tenth.
    pub fn around(&mut self, interval: Duration) -> Duration {
        interval - interval / SHARE + self.below(interval / SHARE * 2)
    }

    /// Delay of the first check: all of a new set within a tenth of its interval.
    pub fn first(&mut self, interval: Duration) -> Duration {
        self.below(interval / SHARE)
    }

    /// Uniform in `0..limit`; zero for a limit of zero.
    fn below(&mut self, limit: Duration) -> Duration {
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let scaled = (u128::from(self.next()) * u128::from(limit_ns)) >> 64;
        // Below limit_ns, so it fits.
        Duration::from_nanos(scaled as u64)
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_a_tenth_and_uses_all_of_it() {
        let mut jitter = Jitter::new(7);
        let interval = Duration::from_secs(2);
        let drawn: Vec<Duration> = (0..10_000).map(|_| jitter.around(interval)).collect();
        let (min, max) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
        assert!(
            *min >= Duration::from_millis(1800) && *min < Duration::from_millis(1802),
            "{min:?}"
        );
        assert!(
            *max < Duration::from_millis(2200) && *max > Duration::from_millis(2198),
            "{max:?}"
        );
        let mean = drawn.iter().sum::<Duration>() / 10_000;
        assert!(
            mean.abs_diff(interval) < Duration::from_millis(5),
            "{mean:?}"
        );
    }

    #[test]
    fn first_checks_come_within_a_tenth() {
        let mut jitter = Jitter::new(7);
        assert!(
            (0..10_000).all(|_| jitter.first(Duration::from_secs(2)) < Duration::from_millis(200))
        );
        assert_eq!(jitter.first(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn two_seeds_are_not_in_step() {
        let draw = |seed| Jitter::new(seed).around(Duration::from_secs(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(draw(1), draw(1));
    }
}
