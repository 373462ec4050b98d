//! From the node's key to the keys of ranking, walk and digest, so that no two uses share one.

use std::net::IpAddr;

use super::ROWS;
use super::input::identity;
use super::sip::{Key, siphash, siphash_row};
use crate::model::HashKey;

/// The keys of tables, all derived from one [`HashKey`].
#[derive(Clone, Copy)]
pub(super) struct Keys {
    rank: Key,
    walk: Key,
    digest: Key,
}

impl Keys {
    /// Derives them; the labels are part of the format.
    pub fn new(key: &HashKey) -> Self {
        let (words, _) = key.0.as_chunks::<8>();
        let key = [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])];
        Self {
            rank: subkey(key, b"anylb rows rank"),
            walk: subkey(key, b"anylb rows walk"),
            digest: subkey(key, b"anylb rows digest"),
        }
    }

    /// Key of one backend's costs.
    pub fn backend(&self, address: IpAddr) -> Key {
        subkey(self.rank, &identity(address))
    }

    /// All rows in the order in which they are given out.
    pub fn walk(&self) -> Vec<u32> {
        let mut rows: Vec<(u64, u32)> = (0..ROWS as u32)
            .map(|row| (siphash_row(self.walk, row), row))
            .collect();
        rows.sort_unstable();
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// 64-bit digest of a table's bytes. Keyed, so that it tells two keys apart and gives away none.
    pub fn digest(&self, bytes: &[u8]) -> u64 {
        siphash::<2, 4>(self.digest, bytes)
    }
}

fn subkey(key: Key, message: &[u8]) -> Key {
    [0, 1].map(|half| {
        let bytes: Vec<u8> = std::iter::once(half)
            .chain(message.iter().copied())
            .collect();
        siphash::<2, 4>(key, &bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_visits_every_row_once_in_an_order_of_its_own() {
        let walk = Keys::new(&HashKey([7; 16])).walk();
        let mut sorted = walk.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..ROWS as u32));
        assert_ne!(walk, Keys::new(&HashKey([8; 16])).walk());
    }

    #[test]
    fn the_uses_of_a_key_share_nothing() {
        let keys = Keys::new(&HashKey([7; 16]));
        let words: std::collections::BTreeSet<u64> = [keys.rank, keys.walk, keys.digest]
            .concat()
            .into_iter()
            .collect();
        assert_eq!(words.len(), 6);
    }
}
