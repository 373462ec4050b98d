//! Randomness of the transmit interval.

use std::time::Duration;

/// RFC 5880 section 6.8.7: packets come up to a quarter earlier than the interval says; with a multiplier of 1, where the
/// peer would miss the first one that is late, at least a tenth.
#[derive(Clone, Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub fn new(seed: u64) -> Jitter {
        // Xorshift has the one fixed point 0.
        Jitter(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0.75 to 1 times `interval`, or to 0.9 times.
    pub fn apply(&mut self, interval: Duration, multiplier: u8) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let most = if multiplier == 1 { 900 } else { 1000 };
        interval * (750 + (self.0 >> 32) as u32 % (most - 750 + 1)) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_bounds_and_uses_them() {
        let second = Duration::from_secs(1);
        for (multiplier, most) in [(1, 900), (2, 1000), (3, 1000), (255, 1000)] {
            let mut jitter = Jitter::new(u64::from(multiplier));
            let drawn: Vec<u128> = (0..10_000)
                .map(|_| jitter.apply(second, multiplier).as_millis())
                .collect();
            assert_eq!(drawn.iter().min(), Some(&750), "x {multiplier}");
            assert_eq!(drawn.iter().max(), Some(&most), "x {multiplier}");
        }
    }
}
