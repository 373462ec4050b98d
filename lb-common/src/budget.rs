//! A token bucket that one CPU keeps for itself, by the jiffy.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of a per-CPU map.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Budget {
    /// Packets left.
    pub tokens: u64,
    /// Jiffy of the last refill.
    pub refilled: u64,
}

impl Budget {
    /// Takes one token at the jiffy `now`; false where none is left. The bucket fills by `per_jiffy` up to `most`.
    #[inline(always)]
    pub fn take(&mut self, per_jiffy: u32, most: u32, now: u64) -> bool {
        if now != self.refilled {
            // A pause longer than this fills any bucket; the bound keeps the product inside 64 bits.
            let pause = if now.wrapping_sub(self.refilled) < 0xffff_ffff {
                now.wrapping_sub(self.refilled)
            } else {
                0xffff_ffff
            };
            let tokens = self
                .tokens
                .wrapping_add(pause.wrapping_mul(u64::from(per_jiffy)));
            let most = u64::from(most);
            self.tokens = if tokens < most { tokens } else { most };
            self.refilled = now;
        }
        if self.tokens == 0 {
            return false;
        }
        self.tokens -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(budget: &mut Budget, now: u64) -> usize {
        core::iter::from_fn(|| budget.take(2, 5, now).then_some(())).count()
    }

    #[test]
    fn fills_by_the_jiffy_up_to_its_maximum() {
        let mut budget = Budget::default();
        for (now, left, why) in [
            (1_u64 << 33, 5, "the first packet finds it full"),
            (1 << 33, 0, "no jiffy has passed"),
            ((1 << 33) + 1, 2, "one jiffy"),
            ((1 << 33) + 3, 4, "two jiffies"),
            ((1 << 33) + 100, 5, "a long pause"),
        ] {
            assert_eq!(drain(&mut budget, now), left, "{why}");
        }
    }
}
