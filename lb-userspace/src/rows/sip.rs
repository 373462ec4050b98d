//! SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012) of a few bytes: the draws of a row, by the
//! hundred million. SipHash-2-4, for keys and digests, is in `lb_common::siphash`.

/// A 128-bit key as two little-endian words.
pub(super) type Key = [u64; 2];

/// SipHash-1-3 of at most seven bytes.
#[inline(always)]
pub(super) fn siphash_1_3<const N: usize>(key: Key, message: [u8; N]) -> u64 {
    const { assert!(N < 8, "one block") };
    let mut block = [0; 8];
    block[..N].copy_from_slice(&message);
    block[7] = N as u8;
    siphash_block::<1, 3>(key, u64::from_le_bytes(block))
}

/// SipHash-C-D of a message that fits one block, its length included.
#[inline(always)]
fn siphash_block<const C: usize, const D: usize>(key: Key, block: u64) -> u64 {
    // The paper's initial constants spell "somepseudorandomlygeneratedbytes".
    let mut state = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    state[3] ^= block;
    state = rounds::<C>(state);
    state[0] ^= block;
    state[2] ^= 0xff;
    let [a, b, c, d] = rounds::<D>(state);
    a ^ b ^ c ^ d
}

#[inline(always)]
fn rounds<const N: usize>([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    for _ in 0..N {
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32).wrapping_add(d);
        c = c.wrapping_add(b);
        d = d.rotate_left(21) ^ a;
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
    }
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use lb_common::siphash::siphash_2_4;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn with_more_rounds_it_is_siphash_2_4(key: Key, message: [u8; 4]) {
            let bytes: Vec<u8> = key.iter().flat_map(|word| word.to_le_bytes()).collect();
            let expected = siphash_2_4(bytes.try_into().expect("two words"), &message);
            let block = 4 << 56 | u64::from(u32::from_le_bytes(message));
            prop_assert_eq!(siphash_block::<2, 4>(key, block), expected);
        }
    }

    /// Made with another implementation.
    #[test]
    fn golden_values() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(siphash_1_3(key, []), 0xabac_0158_050f_c4dc);
        assert_eq!(siphash_1_3(key, [0, 1]), 0x82cb_9b02_4dc7_d44d);
        assert_eq!(siphash_1_3(key, [0, 1, 2, 3]), 0xcf75_5760_88d3_8328);
    }
}
