//! SipHash (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012), without an allocation or a table.

/// A 128-bit key as two words.
pub(super) type Key = [u64; 2];

#[derive(Clone, Copy)]
struct State([u64; 4]);

impl State {
    #[inline(always)]
    fn new(key: Key) -> Self {
        // The paper's initial constants spell "somepseudorandomlygeneratedbytes".
        Self([
            key[0] ^ 0x736f_6d65_7073_6575,
            key[1] ^ 0x646f_7261_6e64_6f6d,
            key[0] ^ 0x6c79_6765_6e65_7261,
            key[1] ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline(always)]
    fn rounds<const N: usize>(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
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
        self.0 = [a, b, c, d];
    }

    #[inline(always)]
    fn absorb<const C: usize>(&mut self, word: u64) {
        self.0[3] ^= word;
        self.rounds::<C>();
        self.0[0] ^= word;
    }

    #[inline(always)]
    fn finish<const D: usize>(mut self) -> u64 {
        self.0[2] ^= 0xff;
        self.rounds::<D>();
        self.0[0] ^ self.0[1] ^ self.0[2] ^ self.0[3]
    }
}

/// SipHash-C-D of a message.
pub(super) fn siphash<const C: usize, const D: usize>(key: Key, message: &[u8]) -> u64 {
    let mut state = State::new(key);
    let (words, rest) = message.as_chunks::<8>();
    for word in words {
        state.absorb::<C>(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = message.len() as u8;
    state.absorb::<C>(u64::from_le_bytes(last));
    state.finish::<D>()
}

/// SipHash-1-3 of a row number as four little-endian bytes: the inner loop of a build.
#[inline(always)]
pub(super) fn siphash_row(key: Key, row: u32) -> u64 {
    let mut state = State::new(key);
    state.absorb::<1>(4 << 56 | u64::from(row));
    state.finish::<3>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of the reference vectors: bytes 0 to 15.
    const KEY: Key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];

    #[test]
    fn siphash_2_4_gives_the_vectors_of_its_authors() {
        let message: Vec<u8> = (0..15).collect();
        for (length, expected) in [
            (0, 0x726f_db47_dd0e_0e31),
            (1, 0x74f8_39c5_93dc_67fd),
            (15, 0xa129_ca61_49be_45e5),
        ] {
            assert_eq!(
                siphash::<2, 4>(KEY, &message[..length]),
                expected,
                "{length} bytes"
            );
        }
    }

    #[test]
    fn the_row_form_is_siphash_1_3_of_four_bytes() {
        for row in [0, 1, 255, 256, 65_535, u32::MAX] {
            assert_eq!(
                siphash_row(KEY, row),
                siphash::<1, 3>(KEY, &row.to_le_bytes())
            );
        }
    }
}
