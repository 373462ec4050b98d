//! The number a backend draws in each row: uniform over the rows as a die, and evenly as a deck of cards.
//!
//! Independent draws would make the rows a backend wins vary like a binomial, 4 % at a hundred backends, and every backend
//! over its cap is a reason for rows to move that have nothing to do with a change. So the upper 16 bits are a secret
//! permutation of the row number, each value once: half the variance is gone, a third as many backends reach their caps,
//! and removing one of a hundred moves a quarter of the rows it moved. The lower 48 bits are a hash.

use super::sip::{Key, siphash_1_3};

/// Rounds of the permutation.
const ROUNDS: usize = 4;

/// Draws of one backend.
///
/// The permutation is a balanced Feistel network over the two bytes of a row number (Luby, Rackoff, 1988): four rounds
/// `(left, right) = (right, left ^ F(right))`. `F` of round `r` at `x` is byte `x mod 8` (little endian) of
/// `SipHash-1-3(key, [r, x / 8])`.
#[derive(Clone)]
pub(super) struct Score {
    key: Key,
    rounds: Box<[[u8; 256]; ROUNDS]>,
}

impl Score {
    pub fn new(key: Key) -> Self {
        let mut rounds = Box::new([[0; 256]; ROUNDS]);
        for (r, round) in (0..).zip(rounds.iter_mut()) {
            for (block, bytes) in (0..).zip(round.as_chunks_mut::<8>().0) {
                *bytes = siphash_1_3(key, [r, block]).to_le_bytes();
            }
        }
        Self { key, rounds }
    }

    /// The upper 16 bits of the draw.
    #[inline(always)]
    pub fn upper(&self, row: u32) -> u64 {
        let (mut left, mut right) = ((row >> 8) as u8, row as u8);
        for round in self.rounds.iter() {
            (left, right) = (right, left ^ round[usize::from(right)]);
        }
        u64::from(left) << 8 | u64::from(right)
    }

    /// The draw with these upper 16 bits.
    #[inline(always)]
    pub fn with_lower(&self, upper: u64, row: u32) -> u64 {
        upper << 48 | siphash_1_3(self.key, row.to_le_bytes()) >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::super::ROWS;
    use super::*;

    #[test]
    fn every_upper_half_is_drawn_once() {
        let score = Score::new([1, 2]);
        let mut drawn: Vec<u64> = (0..ROWS as u32).map(|row| score.upper(row)).collect();
        drawn.sort_unstable();
        assert!(drawn.into_iter().eq(0..ROWS as u64));
    }

    #[test]
    fn two_backends_draw_independently() {
        // Of 65,536 rows, pairs of draws that agree in the upper four bits: binomial with mean 4,096, deviation 62.
        let deck = |key| Score::new(key);
        for other in 1..20 {
            let (a, b) = (deck([0, 7]), deck([other, 7]));
            let agree = (0..ROWS as u32)
                .filter(|&row| a.upper(row) >> 12 == b.upper(row) >> 12)
                .count();
            assert!(agree.abs_diff(4096) < 310, "{other}: {agree}");
        }
    }
}
