//! From the node's key to the keys of ranks, walk and digest, so that no two uses share one.

use lb_common::siphash::siphash_2_4;

use super::ROWS;
use super::sip::{Key, siphash_1_3};
use crate::model::HashKey;

// A row's number is two bytes of a walk.
const _: () = assert!(ROWS == 1 << 16);

/// The keys of tables, all derived from one [`HashKey`].
#[derive(Clone, Copy)]
pub(super) struct Keys {
    rank: [u8; 16],
    walk: [u8; 16],
    digest: [u8; 16],
}

impl Keys {
    /// Derives them; the labels are part of the format.
    pub fn new(key: &HashKey) -> Self {
        Self {
            rank: subkey(key.0, b"anylb rows rank"),
            walk: subkey(key.0, b"anylb rows walk"),
            digest: subkey(key.0, b"anylb rows digest"),
        }
    }

    /// Key of one backend's draws.
    pub fn backend(&self, identity: [u8; 16]) -> Key {
        words(subkey(self.rank, &identity))
    }

    /// All rows in the order in which they are given out.
    pub fn walk(&self) -> Vec<u16> {
        let key = words(self.walk);
        let mut rows: Vec<(u64, u16)> = (0..=u16::MAX)
            .map(|row| (siphash_1_3(key, u32::from(row).to_le_bytes()), row))
            .collect();
        rows.sort_unstable();
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// 64-bit digest of a table's bytes. Keyed, so that it tells two keys apart and gives away none.
    pub fn digest(&self, bytes: &[u8]) -> u64 {
        siphash_2_4(self.digest, bytes)
    }
}

/// Two SipHash words of a message after a byte that tells them apart. No label of the flow hash begins with these bytes.
fn subkey(key: [u8; 16], message: &[u8]) -> [u8; 16] {
    let half = |half: u8| siphash_2_4(key, &[&[half], message].concat()).to_le_bytes();
    let mut subkey = [0; 16];
    subkey[..8].copy_from_slice(&half(0));
    subkey[8..].copy_from_slice(&half(1));
    subkey
}

fn words(key: [u8; 16]) -> Key {
    let (words, _) = key.as_chunks::<8>();
    [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_walk_visits_every_row_once_in_an_order_of_its_own() {
        let walk = Keys::new(&HashKey([7; 16])).walk();
        let mut sorted = walk.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..=u16::MAX));
        assert_ne!(walk, Keys::new(&HashKey([8; 16])).walk());
    }

    #[test]
    fn the_uses_of_a_key_share_nothing() {
        let keys = Keys::new(&HashKey([7; 16]));
        let all = [keys.rank, keys.walk, keys.digest].map(words).concat();
        let distinct: BTreeSet<u64> = all.iter().copied().collect();
        assert_eq!(distinct.len(), 6);
    }
}
