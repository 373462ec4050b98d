//! A token bucket that all CPUs share, in one word, by the jiffy.
//!
//! ```text
//! bits 0..32   jiffy of the last refill
//!     32..64   tokens, signed
//! ```
//!
//! A packet costs [`Rate::cost`] tokens, so that a jiffy may add less than a packet. Whoever sees a new jiffy stores the refilled word,
//! the same one as any other CPU that sees it at the moment; tokens are taken by an atomic addition. What a CPU takes between
//! another's look and its store is lost: a packet for each CPU and jiffy at most.

use crate::abi::values;

values! {
    /// How a bucket fills.
    Rate = 12 {
        /// Tokens that a jiffy adds.
        per_jiffy: u32,
        /// Tokens of one packet; zero: no limit.
        cost: u32,
        /// Tokens at most; below 2³¹.
        most: u32,
    }
    /// What a service is limited to.
    Rates = 32 {
        /// Of all that comes for it: bucket 0 of its own.
        service: Rate,
        /// Of what comes from each prefix: buckets from [`FIRST_SOURCE`] on, found by a hash, so that two may share one.
        source: Rate,
        /// How many buckets prefixes have, less one; a power of two less one.
        source_mask: u32,
        /// Length of those prefixes.
        prefix_v4: u8,
        /// The same of IPv6.
        prefix_v6: u8,
        /// See [`counts`].
        counts: u8,
        /// Zero.
        reserved: u8,
    }
}

/// The first bucket of a prefix: those before share a cache line with the service's.
pub const FIRST_SOURCE: u32 = 8;

/// Bits of [`Rates::counts`].
pub mod counts {
    /// Only SYNs count for the service.
    pub const SERVICE_OPENS: u8 = 0x01;
    /// Only SYNs count for a source.
    pub const SOURCE_OPENS: u8 = 0x02;
}

impl Rates {
    /// Buckets that they need; none without a limit.
    pub const fn buckets(&self) -> u32 {
        if self.source.cost != 0 {
            FIRST_SOURCE + self.source_mask + 1
        } else if self.service.cost != 0 {
            FIRST_SOURCE
        } else {
            0
        }
    }
}

impl Rate {
    /// So many packets per second, and up to `burst` of them at once after a pause, both at least one, and what two jiffies bring: with
    /// less the rate would not be reached. `jiffies_per_sec`: the kernel's tick.
    pub fn new(per_second: u32, burst: u32, jiffies_per_sec: u32) -> Self {
        let (per_second, burst) = (u64::from(per_second.max(1)), u64::from(burst.max(1)));
        let tick = u64::from(jiffies_per_sec.max(1));
        let most = i32::MAX as u64;
        let burst = burst.min(most);
        // As many tokens as make a packet's share of a jiffy a whole number, where they fit.
        let cost = tick.min(most / burst);
        let per_jiffy = (per_second * cost).div_ceil(tick).min(most);
        Self {
            per_jiffy: per_jiffy as u32,
            cost: cost as u32,
            most: (burst * cost).max(2 * per_jiffy).min(most) as u32,
        }
    }

    /// The bucket at the jiffy `now`, where that is a later one than its own.
    #[inline(always)]
    pub const fn refilled(&self, bucket: u64, now: u32) -> Option<u64> {
        let pause = now.wrapping_sub(bucket as u32);
        // Another CPU may have seen a jiffy that this one has not.
        if pause == 0 || pause >= LATE {
            return None;
        }
        let tokens = tokens(bucket) + pause as i64 * self.per_jiffy as i64;
        let most = self.most as i64;
        let tokens = if tokens < most { tokens } else { most };
        Some((tokens as u64) << 32 | now as u64)
    }

    /// What is added to the bucket, wrapping, for one packet; none where it has too little for one.
    #[inline(always)]
    pub const fn spend(&self, bucket: u64) -> Option<u64> {
        if tokens(bucket) < self.cost as i64 {
            return None;
        }
        Some(((self.cost as u64) << 32).wrapping_neg())
    }
}

/// Pauses from here on are moments before, not after.
const LATE: u32 = 0xffff_fff0;

#[inline(always)]
const fn tokens(bucket: u64) -> i64 {
    bucket as i64 >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(rate: &Rate, bucket: &mut u64, now: u32) -> bool {
        if let Some(refilled) = rate.refilled(*bucket, now) {
            *bucket = refilled;
        }
        match rate.spend(*bucket) {
            Some(change) => {
                *bucket = bucket.wrapping_add(change);
                true
            }
            None => false,
        }
    }

    fn drain(rate: &Rate, bucket: &mut u64, now: u32) -> u32 {
        (0..).take_while(|_| take(rate, bucket, now)).count() as u32
    }

    #[test]
    fn any_rate_holds_at_any_tick() {
        for tick in [100, 250, 300, 1000] {
            for (per_second, burst) in [
                (1, 1),
                (3, 10),
                (10, 10),
                (999, 1),
                (1000, 5000),
                (1_000_000, 1_000_000),
                (100_000_000, 100_000_000),
            ] {
                let rate = Rate::new(per_second, burst, tick);
                let mut bucket = 0;
                let start = 0xffff_ff80_u32;
                let tokens = |bucket: u64| (bucket as i64 >> 32) / i64::from(rate.cost);
                bucket = rate.refilled(bucket, start).expect("a later jiffy");
                assert!(tokens(bucket) >= i64::from(burst), "full at first");
                // Emptied at once, so that large ones are no long test.
                bucket &= 0xffff_ffff;
                let seconds = 20;
                let mut passed = 0_u64;
                for jiffy in 1..=seconds * tick {
                    bucket = rate
                        .refilled(bucket, start.wrapping_add(jiffy))
                        .expect("a later jiffy");
                    let all = (bucket as i64 >> 32) / i64::from(rate.cost);
                    passed += all as u64;
                    bucket -= (all as u64 * u64::from(rate.cost)) << 32;
                }
                let expected = u64::from(seconds) * u64::from(per_second);
                assert!(
                    passed.abs_diff(expected) <= expected / 100 + 1,
                    "{per_second}/s, burst {burst}, tick {tick}: {passed} of {expected}"
                );
            }
        }
    }

    #[test]
    fn a_bucket_fills_by_the_jiffy_up_to_its_burst() {
        let rate = Rate::new(500, 5, 250);
        let mut bucket = 0;
        for (now, left, why) in [
            (7_u32, 5, "the first packet finds it full"),
            (7, 0, "no jiffy has passed"),
            (8, 2, "one jiffy"),
            (6, 0, "a CPU that is behind"),
            (10, 4, "two jiffies"),
            (1_000, 5, "a long pause"),
            (0x9000_0000, 5, "half a turn of the clock and more"),
        ] {
            assert_eq!(drain(&rate, &mut bucket, now), left, "{why}");
        }
    }

    #[test]
    fn what_two_cpus_take_at_once_is_owed() {
        let rate = Rate::new(250, 1, 250);
        let mut bucket = rate.refilled(0, 9).expect("a later jiffy");
        assert!(take(&rate, &mut bucket, 9), "one of two");
        let (one, other) = (rate.spend(bucket), rate.spend(bucket));
        let mut bucket = bucket
            .wrapping_add(one.expect("one is there"))
            .wrapping_add(other.expect("the same one"));
        assert_eq!(drain(&rate, &mut bucket, 10), 0);
        assert_eq!(drain(&rate, &mut bucket, 11), 1);
    }
}
