//! Choices that follow from the seed and from nothing else.

/// A small generator (SplitMix64; Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Begins a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A seed for the router's hash; never zero, which would mean a random one.
    pub fn multipath_seed(&mut self) -> u32 {
        (self.roll() >> 32) as u32 | 1
    }

    /// A hash key as its file has it.
    pub fn hash_key(&mut self) -> String {
        format!("{:016x}{:016x}\n", self.roll(), self.roll())
    }

    /// A number below `end`.
    ///
    /// # Panics
    /// When that is zero.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    /// One of `items`.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Two different ones of `items`.
    ///
    /// # Panics
    /// When there are fewer than two different ones.
    pub fn pick_two<T: Copy + PartialEq>(&mut self, items: &[T]) -> [T; 2] {
        let first = self.pick(items);
        let others: Vec<T> = items
            .iter()
            .copied()
            .filter(|item| *item != first)
            .collect();
        [first, self.pick(&others)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides() {
        assert_eq!(Dice::new(7).hash_key(), Dice::new(7).hash_key());
        assert_ne!(Dice::new(7).hash_key(), Dice::new(8).hash_key());
        assert_eq!(Dice::new(7).hash_key().trim().len(), 32);
        for seed in 0..100 {
            let [first, second] = Dice::new(seed).pick_two(&[1, 2, 3]);
            assert_ne!(first, second);
            assert_ne!(Dice::new(seed).multipath_seed(), 0);
        }
    }
}
