//! Flow hash v1: which row a flow has.
//!
//! Frozen: every node, site and version must put a flow into the same row. The canonical tuple is ten 32-bit words, each
//! the little-endian value of four bytes as they lie on the wire; IPv4 addresses are v4-mapped:
//!
//! ```text
//! s0..s3 source address | d0..d3 destination address | p source port, destination port | q protocol
//!
//! sum  = (s0+k0)(d0+k1) + (s1+k2)(d1+k3) + (s2+k4)(d2+k5) + (s3+k6)(d3+k7) + (p+k8)(q+k9)    32-bit sums, 64-bit products
//! hash = mix(sum ^ f0),  mix(x): x ^= x>>32; x *= M1; x ^= x>>29; x *= M2; x ^= x>>32
//! row  = hash mod rows,  tunnel source port = 0xc000 + hash / 2^50
//! ```
//!
//! The sum is NH of UMAC (RFC 4418, section 5.2.2; Black et al., CRYPTO 1999): for two tuples chosen without the key the
//! chance that they collide is at most 2^-32, whatever the tuples. The mixer is a bijection under a key of its own that spreads
//! the sum over the row bits. A client who does not know the key cannot aim at a backend without trying. For IPv4 the first
//! three products depend on the key alone and are kept in the key schedule, so that IPv4 costs two multiplications.
//!
//! k0..k9 and f0 come from the 128-bit key by SipHash-2-4 of the label `anylb flow v1` and a counter byte.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::shaped;
use crate::siphash::siphash_2_4;
use crate::wire::Ports;

/// Version of the hash; part of every table hash.
pub const FLOW_HASH_VERSION: u8 = 1;

const LABEL: [u8; 14] = *b"anylb flow v1\0";
const M1: u64 = 0xd6e8_feb8_6659_fd93;
const M2: u64 = 0x9e37_79b9_7f4a_7c15;
/// From this bit on, the hash is the tunnel's source port: of the bits that the row has no part in, the best mixed.
pub const SOURCE_PORT: u32 = 50;

shaped! {
    /// The key schedule, as the datapath holds it.
    #[repr(C)]
    #[derive(
        Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
    )]
    pub struct FlowKey {
        /// k0..k9.
        words: [u32; 10],
        /// Sum of the first three products of every IPv4 flow.
        ipv4_base: u64,
        /// Key of the mixer.
        mixer: u64,
        /// Key of places in the flow table, which the row must tell nothing about.
        table: u64,
    }
}

/// A flow: addresses of 16 bytes, as they lie on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source address; IPv4 is v4-mapped.
    pub source: [u64; 2],
    /// Destination address.
    pub destination: [u64; 2],
    /// Both ports.
    pub ports: Ports,
    /// IP protocol.
    pub protocol: u8,
}

impl Flow {
    /// The flow that all flows of the same source, destination and protocol are taken for.
    #[inline(always)]
    #[must_use]
    pub fn of_pair(self) -> Self {
        Self {
            ports: Ports::default(),
            ..self
        }
    }

    /// The flow that all flows of the same source are taken for, whatever the VIP and the protocol.
    #[inline(always)]
    #[must_use]
    pub fn of_source(self) -> Self {
        Self {
            destination: [0; 2],
            ports: Ports::default(),
            protocol: 0,
            ..self
        }
    }
}

impl FlowKey {
    /// The key schedule of a 128-bit key.
    pub const fn new(key: [u8; 16]) -> Self {
        let mut words = [0; 10];
        let mut i = 0;
        while i < 10 {
            words[i] = derive(key, i as u8) as u32;
            i += 1;
        }
        let [k0, k1, k2, k3, k4, k5, ..] = words;
        let mapped = 0xffff_0000_u32;
        let ipv4_base = product(k0, k1)
            .wrapping_add(product(k2.wrapping_add(0), k3))
            .wrapping_add(product(k4.wrapping_add(mapped), k5.wrapping_add(mapped)));
        Self {
            words,
            ipv4_base,
            mixer: derive(key, 10),
            table: derive(key, 12),
        }
    }

    /// Hash of an IPv4 flow; `source` and `destination` as they lie in the packet.
    #[inline(always)]
    pub fn ipv4(&self, source: u32, destination: u32, ports: Ports, protocol: u8) -> u64 {
        let k = &self.words;
        let addresses = product(
            u32::from_le(source).wrapping_add(k[6]),
            u32::from_le(destination).wrapping_add(k[7]),
        );
        self.finish(self.ipv4_base.wrapping_add(addresses), ports, protocol)
    }

    /// Hash of an IPv6 flow; addresses as they lie in the packet.
    #[inline(always)]
    pub fn ipv6(&self, source: [u64; 2], destination: [u64; 2], ports: Ports, protocol: u8) -> u64 {
        let k = &self.words;
        let [s0, s1, s2, s3] = words(source);
        let [d0, d1, d2, d3] = words(destination);
        let sum = product(s0.wrapping_add(k[0]), d0.wrapping_add(k[1]))
            .wrapping_add(product(s1.wrapping_add(k[2]), d1.wrapping_add(k[3])))
            .wrapping_add(product(s2.wrapping_add(k[4]), d2.wrapping_add(k[5])))
            .wrapping_add(product(s3.wrapping_add(k[6]), d3.wrapping_add(k[7])));
        self.finish(sum, ports, protocol)
    }

    /// Hash of any flow. Equal to [`FlowKey::ipv4`] for v4-mapped addresses.
    #[inline(always)]
    pub fn hash(&self, flow: &Flow) -> u64 {
        self.ipv6(flow.source, flow.destination, flow.ports, flow.protocol)
    }

    /// Where a flow of this hash is in the flow table: independent of the row to anyone without the key.
    #[inline(always)]
    pub fn place(&self, hash: u64) -> u64 {
        mix(hash ^ self.table)
    }

    #[inline(always)]
    fn finish(&self, sum: u64, ports: Ports, protocol: u8) -> u64 {
        let k = &self.words;
        let both = u32::from_le(ports.source.raw() as u32 | (ports.destination.raw() as u32) << 16);
        let sum = sum.wrapping_add(product(
            both.wrapping_add(k[8]),
            u32::from(protocol).wrapping_add(k[9]),
        ));
        mix(sum ^ self.mixer)
    }
}

#[inline(always)]
const fn product(a: u32, b: u32) -> u64 {
    (a as u64).wrapping_mul(b as u64)
}

#[inline(always)]
const fn words(address: [u64; 2]) -> [u32; 4] {
    let [high, low] = [u64::from_le(address[0]), u64::from_le(address[1])];
    [
        high as u32,
        (high >> 32) as u32,
        low as u32,
        (low >> 32) as u32,
    ]
}

#[inline(always)]
const fn step(x: u64, shift: u32, multiplier: u64) -> u64 {
    (x ^ (x >> shift)).wrapping_mul(multiplier)
}

#[inline(always)]
const fn mix(x: u64) -> u64 {
    let x = step(step(x, 32, M1), 29, M2);
    x ^ (x >> 32)
}

const fn derive(key: [u8; 16], counter: u8) -> u64 {
    let mut message = LABEL;
    message[LABEL.len() - 1] = counter;
    siphash_2_4(key, &message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Be16, address_words, v4_mapped};
    use core::net::IpAddr;
    use std::vec::Vec;

    const ZEROES: [u8; 16] = [0; 16];
    const COUNTING: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn flow(source: &str, destination: &str, ports: (u16, u16), protocol: u8) -> Flow {
        let words = |text: &str| match text.parse().expect("an address in a test") {
            IpAddr::V4(v4) => v4_mapped(u32::from_ne_bytes(v4.octets())),
            IpAddr::V6(v6) => address_words(v6.octets()),
        };
        Flow {
            source: words(source),
            destination: words(destination),
            ports: Ports {
                source: Be16::new(ports.0),
                destination: Be16::new(ports.1),
            },
            protocol,
        }
    }

    /// Computed from the module's text by a program of another language. They never change.
    #[test]
    fn golden_vectors() {
        for (key, source, destination, ports, protocol, hash) in [
            (
                ZEROES,
                "192.0.2.1",
                "198.51.100.1",
                (40000, 80),
                6,
                0x4f26_cfce_a288_851d,
            ),
            (
                COUNTING,
                "192.0.2.1",
                "198.51.100.1",
                (40000, 80),
                6,
                0xab53_6c57_9859_22ee,
            ),
            (
                COUNTING,
                "192.0.2.1",
                "198.51.100.1",
                (40001, 80),
                6,
                0xa7f8_81de_6364_77a7,
            ),
            (
                COUNTING,
                "255.255.255.255",
                "0.0.0.0",
                (65535, 0),
                17,
                0x3a7c_879a_61a5_fe59,
            ),
            (
                COUNTING,
                "2001:db8:c::7",
                "2001:db8:100::1",
                (40000, 443),
                6,
                0x64c7_f703_df1a_4272,
            ),
        ] {
            let found = FlowKey::new(key).hash(&flow(source, destination, ports, protocol));
            assert_eq!(found, hash, "{source} {destination} {ports:?}");
        }
    }

    #[test]
    fn ipv4_is_the_hash_of_its_mapped_form() {
        let key = FlowKey::new(COUNTING);
        let flow = flow("203.0.113.9", "198.51.100.1", (1, 2), 6);
        let v4 = key.ipv4(
            crate::wire::v4_of(flow.source),
            crate::wire::v4_of(flow.destination),
            flow.ports,
            6,
        );
        assert_eq!(v4, key.hash(&flow));
    }

    /// A client that counts its ports up, or changes single bits of anything, gets rows and source ports as if by chance.
    #[test]
    fn structured_tuples_spread_evenly() {
        let key = FlowKey::new(COUNTING);
        let base = flow("2001:db8:c::7", "2001:db8:100::1", (40000, 443), 6);
        let mut rows = Vec::new();
        let mut ports = Vec::new();
        for high in 0..64 {
            for low in 0..1024 {
                let mut flow = base;
                flow.source[1] ^= 1 << high;
                flow.ports.source = Be16::new(low);
                let hash = key.hash(&flow);
                rows.push(hash as usize % 256);
                ports.push((hash >> SOURCE_PORT) as usize % 256);
            }
        }
        for (what, values) in [("rows", rows), ("source ports", ports)] {
            let mut load = [0_u32; 256];
            values.into_iter().for_each(|value| load[value] += 1);
            // 65,536 in 256 cells of 256: five standard deviations are 80.
            assert!(
                load.iter().all(|&cell| cell.abs_diff(256) < 80),
                "{what}: {load:?}"
            );
        }
    }

    /// Differences that cancel in a hash whose key is only added: they must not collide under any of many keys.
    #[test]
    fn differences_in_two_words_do_not_cancel_whatever_the_key() {
        let base = flow("2001:db8:c::7", "2001:db8:100::1", (40000, 443), 6);
        let mut collisions = 0;
        for seed in 0_u8..32 {
            let key = FlowKey::new([seed; 16]);
            let expected = key.hash(&base);
            for a in 0..64 {
                for b in 0..64 {
                    let mut other = base;
                    other.source[1] ^= 1 << a;
                    other.source[0] ^= 1 << b;
                    collisions += u32::from(key.hash(&other) == expected);
                }
            }
        }
        assert_eq!(collisions, 0);
    }
}
