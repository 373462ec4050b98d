//! `-log2` in fixed point: 57 fraction bits, for the 64 values before the point that a 64-bit hash can reach.
//!
//! With `u = (h + 1) / 2^64 = m * 2^-k`, `1 <= m < 2`, the result is `k - log2(m)`. For `log2(m)`, `m` is cut to the
//! start `b` of its 256th of the octave: `log2(m) = log2(b) + ln(1 + t) / ln 2` with `t = (m - b) / b < 2^-8`, of which
//! six terms of the series are enough. `log2(b)` comes from a table made by repeated squaring, `1 / b` from another.
//! Every product and quotient rounds down; the result is right to within four units in the last place.

/// Fraction bits of a result.
pub(super) const FRACTION_BITS: u32 = 57;

/// Cuts of an octave, as a power of two.
const CUT_BITS: u32 = 8;
const CUTS: usize = 1 << CUT_BITS;

/// `1 / ln 2` with 63 fraction bits.
const LOG2_E: u64 = 0xb8aa_3b29_5c17_f0bb;

static CUT_LOG2: [u64; CUTS] = log2_of_cuts();
static CUT_RECIPROCAL: [u64; CUTS] = reciprocals_of_cuts();

/// `-log2((h + 1) / 2^64)`; 0 for the largest hash, 64 for the smallest.
pub(super) fn neg_log2(h: u64) -> u64 {
    let Some(above) = h.checked_add(1) else {
        return 0;
    };
    let zeros = above.leading_zeros();
    (u64::from(zeros + 1) << FRACTION_BITS) - log2_mantissa(above << zeros)
}

/// Never above `neg_log2(h)`, and near it for the large hashes that rank first: `1.25 * (1 - u)`, where the logarithm is
/// at least `1.44 * (1 - u)`. It spares the logarithm for nearly all backends of a row.
#[inline(always)]
pub(super) fn neg_log2_at_least(h: u64) -> u64 {
    (!h >> 7) + (!h >> 9)
}

/// `log2(m)` of `1 <= m < 2` given with 63 fraction bits; at most 1.
fn log2_mantissa(m: u64) -> u64 {
    let cut_shift = 63 - CUT_BITS;
    let cut = (m >> cut_shift) as usize % CUTS;
    let beyond = m & ((1 << cut_shift) - 1);
    // Everything from here has 64 fraction bits. `beyond` has 63 and so has the reciprocal.
    let t = high(beyond << 2, CUT_RECIPROCAL[cut]);
    let mut series = u64::MAX / 6;
    for k in [5, 4, 3, 2] {
        series = u64::MAX / k - high(t, series);
    }
    let ln = t - high(t, high(t, series));
    CUT_LOG2[cut] + (high(ln, LOG2_E) >> (63 - FRACTION_BITS))
}

/// The upper half of a product.
fn high(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

/// `log2(1 + i / 256)` with 57 fraction bits, a bit of the result per squaring.
const fn log2_of_cuts() -> [u64; CUTS] {
    let mut cuts = [0; CUTS];
    let mut i = 0;
    while i < CUTS {
        let mut x = ((CUTS + i) as u128) << (63 - CUT_BITS);
        let mut bit = 0;
        while bit < FRACTION_BITS {
            x = (x * x) >> 63;
            cuts[i] <<= 1;
            if x >= 1 << 64 {
                cuts[i] |= 1;
                x >>= 1;
            }
            bit += 1;
        }
        i += 1;
    }
    cuts
}

/// `1 / (1 + i / 256)` with 63 fraction bits.
const fn reciprocals_of_cuts() -> [u64; CUTS] {
    let mut cuts = [0; CUTS];
    let mut i = 0;
    while i < CUTS {
        cuts[i] = ((1_u128 << (63 + CUT_BITS)) / (CUTS + i) as u128) as u64;
        i += 1;
    }
    cuts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: u64 = 1 << FRACTION_BITS;

    #[test]
    fn powers_of_two_are_exact() {
        for k in 0..64 {
            let u = 1_u64 << k;
            assert_eq!(neg_log2(u - 1), (64 - k) * ONE, "2^{k}");
        }
        assert_eq!(neg_log2(u64::MAX), 0);
    }

    /// Made with another implementation.
    #[test]
    fn golden_values() {
        for (h, expected) in [
            (u64::MAX - 1, 0x1),
            (0xfff0_0000_0000_0000, 0x2e2c_002e_3197),
            (0xc000_0000_0000_0000, 0xd4_7fcb_8c08_52f1),
            (0x9e37_79b9_7f4a_7c15, 0x163_73ad_151c_a686),
            (0x0123_4567_89ab_cdef, 0xfa0_a7ed_a4c1_12d0),
        ] {
            assert_eq!(neg_log2(h), expected, "{h:#x}");
        }
    }

    #[test]
    fn the_bound_holds_where_both_are_tiny() {
        for below_max in 0..1 << 16 {
            let h = u64::MAX - below_max;
            assert!(neg_log2_at_least(h) <= neg_log2(h), "{h:#x}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_floating_point(h: u64) {
            let expected = -((h as f64 + 1.0) / 2_f64.powi(64)).log2();
            let found = neg_log2(h) as f64 / ONE as f64;
            prop_assert!((found - expected).abs() <= 1e-14 * expected.max(1.0), "{found} {expected}");
        }

        #[test]
        fn the_bound_holds(h: u64, shift in 0_u32..64) {
            let h = !(h >> shift);
            prop_assert!(neg_log2_at_least(h) <= neg_log2(h));
        }

        #[test]
        fn falls_as_the_hash_grows(h: u64) {
            // A few units in the last place may be out of order where two cuts meet; thousands may not.
            let step = 1 << 20;
            prop_assert!(neg_log2(h.saturating_add(step)) <= neg_log2(h));
        }
    }
}
