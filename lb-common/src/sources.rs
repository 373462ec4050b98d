//! Which sources no client has: addresses that the datapath knows, and those that only a host itself may use.
//!
//! Every packet is asked for its source and hardly any has such a one. So the answer is a byte of a few kilobytes that stay in the
//! first-level cache; only where it is set does a packet go on to the index of addresses.

use core::ops::RangeInclusive;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::{VipEntry, kind};
use crate::layout::shaped;
use crate::wire::v4_of;

/// Parts of the addresses of a family.
const PARTS: usize = 4096;

shaped! {
    /// A byte for each part of the addresses, set where a refused source may be in it.
    #[repr(C)]
    #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
    pub struct Sources {
        /// IPv4, by the twelve bits that are found without any computation: the first octet and half of the second.
        v4: [u8; PARTS],
        /// IPv6, by a hash of the first 64 bits.
        v6: [u8; PARTS],
    }
}

impl Sources {
    /// Of all addresses and prefixes that the datapath knows.
    pub fn of<'v>(known: impl IntoIterator<Item = &'v VipEntry>) -> Self {
        let mut sources = Self {
            v4: [0; PARTS],
            v6: [0; PARTS],
        };
        sources.enter_v4(0..=u16::MAX, is_special_v4);
        for entry in known {
            let bits = if kind::is_prefix(entry.kind) {
                kind::length(entry.kind)
            } else {
                128
            };
            if is_special_v6(entry.address) {
                let first = (u32::from_be(v4_of(entry.address)) >> 16) as u16;
                let last = first | u16::MAX.checked_shr(bits - 96).unwrap_or(0);
                sources.enter_v4(first..=last, |_| true);
            } else if bits < 64 {
                sources.v6 = [1; PARTS];
            } else {
                sources.v6[place_v6(entry.address)] = 1;
            }
        }
        sources
    }

    /// `halves`: the first ones of the addresses.
    fn enter_v4(&mut self, halves: RangeInclusive<u16>, refused: impl Fn(u32) -> bool) {
        for half in halves {
            let address = u32::to_be(u32::from(half) << 16);
            self.v4[place_v4(address)] |= u8::from(refused(address));
        }
    }

    /// Whether an IPv4 address, as it lies on the wire, may be one.
    #[inline(always)]
    pub const fn may_hold_v4(&self, address: u32) -> bool {
        self.v4[place_v4(address)] != 0
    }

    /// Whether an IPv6 address that is not special may be one.
    #[inline(always)]
    pub const fn may_hold_v6(&self, address: [u64; 2]) -> bool {
        self.v6[place_v6(address)] != 0
    }
}

#[inline(always)]
const fn place_v4(address: u32) -> usize {
    u32::from_le(address) as usize & (PARTS - 1)
}

#[inline(always)]
const fn place_v6([high, _]: [u64; 2]) -> usize {
    (high.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize & (PARTS - 1)
}

/// Unspecified, loopback, multicast and reserved (RFC 1122, section 3.2.1.3), as it lies on the wire.
#[inline(always)]
pub const fn is_special_v4(address: u32) -> bool {
    let [first, ..] = address.to_ne_bytes();
    first == 0 || first == 127 || first >= 224
}

/// Of `::/64`: unspecified, loopback, and IPv4 addresses in their IPv6 form, which are on no wire. The tables hold those for IPv4.
#[inline(always)]
pub const fn is_special_v6(address: [u64; 2]) -> bool {
    address[0] == 0
}

#[cfg(test)]
mod tests {
    use core::net::Ipv6Addr;

    use super::*;
    use crate::wire::{address_words, v4_mapped};

    fn v4(octets: [u8; 4]) -> u32 {
        u32::from_ne_bytes(octets)
    }

    #[test]
    fn what_is_special_may_be_one_always() {
        let none = Sources::of(&[]);
        for first in 0..=255 {
            for rest in [[0, 0, 0], [17, 3, 9], [255, 255, 255]] {
                let address = v4([first, rest[0], rest[1], rest[2]]);
                assert_eq!(none.may_hold_v4(address), is_special_v4(address));
                assert_eq!(
                    is_special_v4(address),
                    [0, 127].contains(&first) || first > 223
                );
            }
        }
    }

    #[test]
    fn every_known_address_may_be_one_and_few_others_are() {
        let mut known = std::vec::Vec::new();
        for number in 0..100_u8 {
            for address in [
                v4_mapped(v4([10, number, 7, 1])),
                address_words(Ipv6Addr::new(0x2001, 0xdb8, number.into(), 7, 0, 0, 0, 1).octets()),
            ] {
                known.push(VipEntry {
                    address,
                    kind: kind::OWN,
                    id: 0,
                });
            }
        }
        let sources = Sources::of(&known);
        for VipEntry { address, .. } in &known {
            assert!(match is_special_v6(*address) {
                true => sources.may_hold_v4(v4_of(*address)),
                false => sources.may_hold_v6(*address),
            });
        }
        assert!(!sources.may_hold_v4(v4([11, 1, 7, 1])));
        let clients = (0..10_000_u64).map(|client| [(0x2a00 + client).to_be(), 1]);
        let taken = clients
            .filter(|client| sources.may_hold_v6(*client))
            .count();
        assert!(taken < 500, "{taken} of 10,000");
    }

    #[test]
    fn all_of_a_prefix_may_be() {
        let of = |address: [u64; 2], bits: u32| {
            Sources::of(&[VipEntry {
                address,
                kind: kind::prefix(bits),
                id: 1,
            }])
        };
        let wide = of(v4_mapped(v4([10, 0, 0, 0])), 96 + 8);
        for second in 0..=255 {
            assert!(wide.may_hold_v4(v4([10, second, 3, 3])));
        }
        assert!(!wide.may_hold_v4(v4([11, 0, 0, 0])) && !wide.may_hold_v4(v4([9, 255, 0, 0])));
        let narrow = of(v4_mapped(v4([203, 0, 113, 0])), 96 + 24);
        assert!(narrow.may_hold_v4(v4([203, 0, 113, 255])));
        assert!(!narrow.may_hold_v4(v4([203, 1, 113, 0])));
        let between = of(v4_mapped(v4([203, 64, 0, 0])), 96 + 10);
        assert!((64..128).all(|second| between.may_hold_v4(v4([203, second, 7, 7]))));
        let all = of(v4_mapped(0), 96);
        assert!((0..=255).all(|first| all.may_hold_v4(v4([first, 9, 9, 9]))));

        let v6 = |third: u16, fourth: u16| {
            address_words(Ipv6Addr::new(0x2001, 0xdb8, third, fourth, 0, 0, 0, 9).octets())
        };
        assert!((0..999).all(|fourth| of(v6(7, 0), 48).may_hold_v6(v6(7, fourth))));
        let one = of(v6(7, 8), 64);
        assert!(one.may_hold_v6(v6(7, 8)));
        assert!(
            (9..999)
                .filter(|fourth| one.may_hold_v6(v6(7, *fourth)))
                .count()
                < 9
        );
    }
}
