//! Choices that follow from a seed, or from the bytes of a fuzzer, and from nothing else.

/// Where choices come from.
#[derive(Clone, Debug)]
pub enum Dice<'a> {
    /// SplitMix64 (Steele, Lea, Flood 2014).
    Seed(u64),
    /// Byte by byte; behind the last one every choice is the first.
    Script(&'a [u8]),
}

impl Dice<'_> {
    /// The dice of the packet `number` of a run: each packet can be made alone.
    pub fn of(seed: u64, number: u64) -> Self {
        Self::Seed(seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    fn roll(&mut self, bytes: usize) -> u64 {
        match self {
            Self::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut word = *state;
                word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                word ^ (word >> 31)
            }
            Self::Script(rest) => {
                let (now, later) = rest.split_at(bytes.min(rest.len()));
                *rest = later;
                now.iter()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte))
            }
        }
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll(if end > 256 { 2 } else { 1 }) % end as u64) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) + 1 == n
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.roll(1) as u8
    }

    /// Any 32 bits.
    pub fn word(&mut self) -> u32 {
        self.roll(4) as u32
    }

    /// One of `items`, of which there must be one.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_and_number_decide() {
        let first = |seed, number| Dice::of(seed, number).bytes(8);
        assert_eq!(first(7, 1), first(7, 1));
        assert_ne!(first(7, 1), first(7, 2));
        assert_ne!(first(7, 1), first(8, 1));
    }

    #[test]
    fn a_script_ends_in_first_choices() {
        let mut dice = Dice::Script(&[5, 1, 2]);
        assert_eq!((dice.below(4), dice.below(1000)), (1, 258));
        assert_eq!((dice.below(9), dice.once_in(2), dice.word()), (0, false, 0));
    }
}
