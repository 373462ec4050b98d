//! VIPs that are prefixes: which one is the longest around an address.
//!
//! Their entries are in the index of VIPs, at the [`place`] of their first address and their length. A table says which lengths there
//! are, longest first: an address that has no entry of its own is looked up once for each of them. Nodes and backends do that in a
//! function of its own, which packets for VIPs that are addresses never enter (see [`crate::lb::aside`]).

use crate::abi::{self, VipBucket, VipEntry, kind, values};

/// Lengths that the VIPs of one family have at most.
pub const LENGTHS_MAX: usize = 8;

values! {
    /// A length that some VIP has.
    Length = 24 {
        /// Bits that an address of the VIP and the VIP have in common, as they lie on the wire.
        mask: [u64; 2],
        /// Kind of the entries of such VIPs; zero: no more lengths.
        kind: u32,
        /// Zero.
        reserved: u32,
    }
}

/// The lengths of IPv4 and those of IPv6, longest first.
pub type Lengths = [[Length; LENGTHS_MAX]; 2];

impl Length {
    /// The length of the entries of this kind.
    pub const fn of(kind: u32) -> Self {
        let bits = kind::length(kind);
        let (high, low) = if bits < 64 {
            (bits, 0)
        } else {
            (64, bits - 64)
        };
        Self {
            mask: [first_bits(high), first_bits(low)],
            kind,
            reserved: 0,
        }
    }
}

/// The lengths of the prefixes among these entries; of those that are too many the longest.
pub fn lengths<'e>(entries: impl IntoIterator<Item = &'e VipEntry>) -> Lengths {
    let mut lengths = Lengths::default();
    for entry in entries {
        if kind::is_prefix(entry.kind) {
            let family = &mut lengths[usize::from(entry.address[0] != 0)];
            enter(family, Length::of(entry.kind));
        }
    }
    lengths
}

/// Keeps the order.
fn enter(family: &mut [Length; LENGTHS_MAX], length: Length) {
    if family.contains(&length) {
        return;
    }
    let mut moved = length;
    for place in family.iter_mut().filter(|place| place.kind < length.kind) {
        core::mem::swap(place, &mut moved);
    }
}

/// So many, at most 64, as they lie on the wire.
const fn first_bits(count: u32) -> u64 {
    match u64::MAX.checked_shr(count) {
        Some(rest) => (!rest).to_be(),
        None => u64::MAX,
    }
}

/// Where an entry is in the index of VIPs under this seed, before [`abi::vip_bucket`]. Entries of addresses are where
/// [`abi::mix`] alone puts them.
pub const fn place(seed: u64, entry: &VipEntry) -> u64 {
    if kind::is_prefix(entry.kind) {
        place_of(seed, entry.kind, entry.address)
    } else {
        abi::mix(seed, entry.address)
    }
}

/// The same of an entry of this kind that is a prefix.
#[inline(always)]
pub(crate) const fn place_of(seed: u64, kind: u32, address: [u64; 2]) -> u64 {
    abi::mix(seed ^ (kind as u64), address)
}

/// The number of the VIP that is the longest prefix around an address; zero: there is none. `bucket`: that of a [`place`].
#[inline(always)]
pub fn find<'b>(
    lengths: &Lengths,
    seed: u64,
    [high, low]: [u64; 2],
    bucket: impl Fn(u64) -> Option<&'b VipBucket>,
) -> u32 {
    // IPv4 addresses in their IPv6 form are on no wire.
    let lengths = &lengths[usize::from(high != 0)];
    for length in lengths {
        if length.kind == kind::EMPTY {
            break;
        }
        let (high, low) = (high & length.mask[0], low & length.mask[1]);
        let Some(bucket) = bucket(place_of(seed, length.kind, [high, low])) else {
            continue;
        };
        for entry in &bucket.entries {
            let differs = entry.address[0] ^ high | entry.address[1] ^ low;
            if entry.kind == length.kind && differs == 0 {
                return entry.id;
            }
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::wire::{address_words, v4_mapped};

    fn v4(octets: [u8; 4]) -> [u64; 2] {
        v4_mapped(u32::from_ne_bytes(octets))
    }

    fn v6(groups: [u16; 8]) -> [u64; 2] {
        address_words(core::net::Ipv6Addr::from(groups).octets())
    }

    fn vip(address: [u64; 2], bits: u32, id: u32) -> VipEntry {
        VipEntry {
            address,
            kind: kind::prefix(bits),
            id,
        }
    }

    /// All in one bucket for each place.
    fn look_up(vips: &[VipEntry], lengths: &Lengths, address: [u64; 2]) -> u32 {
        let buckets: Vec<(u64, VipBucket)> = vips
            .iter()
            .map(|vip| {
                let mut bucket = VipBucket::default();
                bucket.entries[0] = *vip;
                (place(7, vip), bucket)
            })
            .collect();
        find(lengths, 7, address, |place| {
            let found = buckets.iter().find(|(at, _)| *at == place);
            found.map(|(_, bucket)| bucket)
        })
    }

    #[test]
    fn the_longest_prefix_counts() {
        let vips = [
            vip(v4([198, 51, 100, 0]), 96 + 24, 1),
            vip(v4([198, 51, 100, 0]), 96 + 28, 2),
            vip(v4([10, 0, 0, 0]), 96 + 8, 3),
            vip(v6([0x2001, 0xdb8, 1, 0, 0, 0, 0, 0]), 48, 4),
            vip(v6([0x2001, 0xdb8, 1, 2, 0, 0, 0, 0]), 64, 5),
            vip(v6([0x2001, 0xdb8, 1, 2, 0, 0, 1, 0]), 112, 6),
        ];
        let mut expected = Lengths::default();
        expected[0][..3]
            .copy_from_slice(&[124, 120, 104].map(|bits| Length::of(kind::prefix(bits))));
        expected[1][..3].copy_from_slice(&[112, 64, 48].map(|bits| Length::of(kind::prefix(bits))));
        let lengths = lengths(&vips);
        assert_eq!(lengths, expected);
        for (address, expected) in [
            (v4([198, 51, 100, 0]), 2),
            (v4([198, 51, 100, 15]), 2),
            (v4([198, 51, 100, 16]), 1),
            (v4([198, 51, 100, 255]), 1),
            (v4([198, 51, 101, 0]), 0),
            (v4([10, 255, 255, 255]), 3),
            (v4([11, 0, 0, 0]), 0),
            (v6([0x2001, 0xdb8, 1, 0xffff, 1, 2, 3, 4]), 4),
            (v6([0x2001, 0xdb8, 1, 2, 0xffff, 0, 0, 1]), 5),
            (v6([0x2001, 0xdb8, 1, 2, 0, 0, 1, 9]), 6),
            (v6([0x2001, 0xdb8, 1, 2, 0, 0, 2, 9]), 5),
            (v6([0x2001, 0xdb8, 2, 0, 0, 0, 0, 0]), 0),
        ] {
            assert_eq!(look_up(&vips, &lengths, address), expected, "{address:x?}");
        }
    }

    #[test]
    fn of_too_many_lengths_the_longest_are_left() {
        let vips: Vec<VipEntry> = (100..=112).map(|bits| vip(v4([0; 4]), bits, 1)).collect();
        let bits = lengths(&vips)[0].map(|length| kind::length(length.kind));
        assert_eq!(bits, [112, 111, 110, 109, 108, 107, 106, 105]);
    }

    #[test]
    fn a_mask_has_the_first_bits() {
        for bits in 0..=128 {
            let mask = Length::of(kind::prefix(bits)).mask.map(u64::from_be);
            let wide = u128::from(mask[0]) << 64 | u128::from(mask[1]);
            assert_eq!((wide.leading_ones(), wide.count_ones()), (bits, bits));
        }
    }
}
