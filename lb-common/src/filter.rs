//! Verdicts about source addresses: a search tree over ranges.
//!
//! The prefixes of a service's lists cut the addresses of each family into ranges, every one with the verdict of the longest prefix
//! around it. The agent puts the ranges into a tree, level by level; a look-up is one node for each level, at most [`LEVELS_V4`] or
//! [`LEVELS_V6`] of them, whatever the prefixes are. A million scattered IPv4 prefixes are two million ranges: six levels, 9 MiB.
//!
//! ```text
//! node of IPv4, 64 bytes    word 0  end of range 0 | end of range 1 << 32    ...    word 7  end of range 14 | tail << 32
//! node of IPv6, 128 bytes   word 0  end of range 0, upper half   1  lower half    ...    word 14  tail    15  zero
//! ```
//!
//! Ends are addresses as numbers, ascending, and belong to their range; an end that is not there is the last address of all. Range
//! `n` of a node is the first whose end is not below the address. The tail of a node in the last level has the verdict of range `n`
//! in bits `2n`; else it is the number of the node for range 0, and that for range `n` is `n` further on.

use crate::abi::values;
use crate::wire::v4_of;

/// Ranges of a node of IPv4.
pub const RANGES_V4: usize = 16;
/// Ranges of a node of IPv6.
pub const RANGES_V6: usize = 8;
/// Levels at most: more ranges than a map can hold.
pub const LEVELS_V4: u32 = 7;
/// The same for IPv6.
pub const LEVELS_V6: u32 = 9;

/// An [`Element`] as the map has it.
pub type Words = [u64; 16];

values! {
    /// An entry of a filter's map: one node of IPv6, or two of IPv4.
    Element = 128 {
        /// See the module.
        words: Words,
    }
    /// Where a service's filter is.
    Filter = 16 {
        /// The same for the same tree, and for hardly another; zero: no filter.
        fingerprint: u64,
        /// Index of its map in the outer map.
        slot: u16,
        /// Levels of IPv4, whose root is node 0.
        levels_v4: u8,
        /// Levels of IPv6.
        levels_v6: u8,
        /// Number of the root of IPv6, in elements.
        root_v6: u32,
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass = 0,
    /// A prefix of the deny list is the longest around its source.
    Denied = 1,
    /// The service has an allow list, and no prefix of it is.
    NotAllowed = 2,
}

impl Verdict {
    #[inline(always)]
    const fn of(bits: u64) -> Self {
        match bits & 3 {
            1 => Self::Denied,
            2 => Self::NotAllowed,
            _ => Self::Pass,
        }
    }
}

impl Element {
    /// The same words.
    #[inline(always)]
    pub fn of(words: &Words) -> &Self {
        zerocopy::transmute_ref!(words)
    }
}

impl Filter {
    /// The verdict about `source`, v4-mapped and as it lies on the wire; `element` reads the filter's map. None where the tree is not
    /// what this says.
    #[inline(always)]
    pub fn verdict<'e>(
        &self,
        source: [u64; 2],
        v4: bool,
        element: impl Fn(u32) -> Option<&'e Element>,
    ) -> Option<Verdict> {
        if v4 {
            self.verdict_v4(v4_of(source).to_be(), element)
        } else {
            self.verdict_v6(source[0].to_be(), source[1].to_be(), element)
        }
    }

    #[inline(always)]
    fn verdict_v4<'e>(
        &self,
        address: u32,
        element: impl Fn(u32) -> Option<&'e Element>,
    ) -> Option<Verdict> {
        let mut node = 0;
        for level in 1..=LEVELS_V4 {
            let words = &element(node / 2)?.words;
            let half = 8 * (node as usize & 1);
            let mut range = 0;
            while range < RANGES_V4 - 1 {
                let word = words[half + range / 2];
                let end = if range % 2 == 0 { word } else { word >> 32 };
                if address <= end as u32 {
                    break;
                }
                range += 1;
            }
            let tail = words[half + 7] >> 32;
            if level >= u32::from(self.levels_v4) {
                return Some(Verdict::of(tail >> (2 * range)));
            }
            node = (tail as u32).wrapping_add(range as u32);
        }
        None
    }

    #[inline(always)]
    fn verdict_v6<'e>(
        &self,
        upper: u64,
        lower: u64,
        element: impl Fn(u32) -> Option<&'e Element>,
    ) -> Option<Verdict> {
        let mut node = self.root_v6;
        for level in 1..=LEVELS_V6 {
            let words = &element(node)?.words;
            let mut range = 0;
            while range < RANGES_V6 - 1 {
                let (end_upper, end_lower) = (words[2 * range], words[2 * range + 1]);
                if upper < end_upper || (upper == end_upper && lower <= end_lower) {
                    break;
                }
                range += 1;
            }
            let tail = words[14];
            if level >= u32::from(self.levels_v6) {
                return Some(Verdict::of(tail >> (2 * range)));
            }
            node = (tail as u32).wrapping_add(range as u32);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{address_words, v4_mapped};

    /// A node of IPv4 with two children, and one of IPv6 by itself.
    fn elements() -> [Element; 3] {
        let mut all = [Element::default(); 3];
        // Up to 9.255.255.255 the second node, from there on the third.
        all[0].words[..7].fill(u64::MAX);
        all[0].words[0] = 0x09ff_ffff | 0xffff_ffff << 32;
        all[0].words[7] = 0xffff_ffff | 1 << 32;
        // Node 1 is the other half: everything is denied.
        all[0].words[8..15].fill(u64::MAX);
        all[0].words[15] = 0xffff_ffff | 1 << 32;
        // Node 2: 10.0.0.0/8 passes, the rest is not allowed.
        all[1].words[..7].fill(u64::MAX);
        all[1].words[0] = 0x0aff_ffff | 0xffff_ffff << 32;
        all[1].words[7] = 0xffff_ffff | (2 << 2) << 32;
        // IPv6: 2001:db8::/64 is denied.
        all[2].words[..14].fill(u64::MAX);
        all[2].words[..4].copy_from_slice(&[
            0x2001_0db7_ffff_ffff,
            u64::MAX,
            0x2001_0db8_0000_0000,
            u64::MAX,
        ]);
        all[2].words[14] = 1 << 2;
        all
    }

    const FILTER: Filter = Filter {
        fingerprint: 1,
        slot: 0,
        levels_v4: 2,
        levels_v6: 1,
        root_v6: 2,
    };

    #[test]
    fn an_end_belongs_to_its_range() {
        let all = elements();
        let at = |index: u32| all.get(index as usize);
        for (address, expected) in [
            ([0, 0, 0, 0], Verdict::Denied),
            ([9, 255, 255, 255], Verdict::Denied),
            ([10, 0, 0, 0], Verdict::Pass),
            ([10, 255, 255, 255], Verdict::Pass),
            ([11, 0, 0, 0], Verdict::NotAllowed),
            ([255, 255, 255, 255], Verdict::NotAllowed),
        ] {
            let source = v4_mapped(u32::from_ne_bytes(address));
            let verdict = FILTER.verdict(source, true, at);
            assert_eq!(verdict, Some(expected), "{address:?}");
        }
        for (address, expected) in [
            ("::", Verdict::Pass),
            ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", Verdict::Pass),
            ("2001:db8::", Verdict::Denied),
            ("2001:db8::ffff:ffff:ffff:ffff", Verdict::Denied),
            ("2001:db8:0:1::", Verdict::Pass),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Verdict::Pass),
        ] {
            let bytes: std::net::Ipv6Addr = address.parse().expect("an address");
            let verdict = FILTER.verdict(address_words(bytes.octets()), false, at);
            assert_eq!(verdict, Some(expected), "{address}");
        }
    }

    #[test]
    fn a_tree_that_is_not_there_has_no_verdict() {
        let all = elements();
        let source = v4_mapped(u32::from_ne_bytes([10, 0, 0, 1]));
        let short = |index: u32| all[..1].get(index as usize);
        assert_eq!(FILTER.verdict(source, true, short), None);
        let deep = Filter {
            levels_v4: u8::MAX,
            ..FILTER
        };
        let same = |_: u32| Some(&all[0]);
        assert_eq!(deep.verdict(source, true, same), None, "no endless walk");
    }
}
