//! Tunnel header v1: GUE variant 0 (draft-ietf-intarea-gue) whose private data carries every hop of the row.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---+-+---------+---------------+-------------------------------+
//! | 0 |C|  length |   protocol    |         GUE flags = 0         |   length in words: what follows these four bytes
//! +---+-+---------+---------------+---------------+---------------+
//! |  version = 1  | index | count |     flags     |      site     |
//! +---------------+-------+-------+---------------+---------------+
//! |          generation           |         reserved = 0          |
//! +-------------------------------+-------------------------------+
//! |               count addresses of 4 or 16 bytes                |
//! +---------------------------------------------------------------+
//! ```
//!
//! `protocol` is 4 or 41: what the tunnel carries. `index` is the hop that the packet is on its way to; `hop[0]` is in the list.
//! A receiver drops an unknown version and ignores unknown flags. The generation is diagnostic only.

use crate::wire::{Be16, Be64, wire};

/// UDP destination port of the tunnel, unless configured.
pub const PORT: u16 = 6080;
/// Version in the header.
pub const VERSION: u8 = 1;
/// Hops in a header at most.
pub const HOPS_MAX: usize = 4;
/// Headers before the inner packet, over IPv4, with all hops: IPv4, UDP, GUE, private data, addresses.
pub const OVERHEAD_V4: u16 = 20 + 8 + 4 + 8 + 4 * HOPS_MAX as u16;
/// The same over IPv6.
pub const OVERHEAD_V6: u16 = 40 + 8 + 4 + 8 + 16 * HOPS_MAX as u16;

/// Bits of [`Header::flags`].
pub mod flags {
    /// The addresses are IPv6.
    pub const V6: u8 = 0x01;
    /// Accept here, whatever the sockets say.
    pub const FINAL: u8 = 0x02;
    /// The node's table has just changed: unknown flows are dropped at the last hop, not reset.
    pub const SETTLING: u8 = 0x04;
    /// A node's own probe.
    pub const PROBE: u8 = 0x08;
    /// Between sites; not used by this version.
    pub const SITE: u8 = 0x10;
    /// Its service is under attack: no SYN is accepted, and at the last hop nothing that has no socket.
    pub const KNOWN_ONLY: u8 = 0x20;
}

wire! {
    /// The GUE header and the fixed part of the private data.
    Header {
        /// Variant, control bit, and the length of all that follows the first four bytes, in words.
        variant_length: u8,
        /// 4 or 41.
        protocol: u8,
        /// Zero.
        gue_flags: Be16,
        /// [`VERSION`].
        version: u8,
        /// Index in the upper four bits, count in the lower four.
        index_count: u8,
        /// See [`flags`].
        flags: u8,
        /// Where the packet entered.
        site: u8,
        /// The sender's table generation, low 16 bits.
        generation: Be16,
        /// Zero.
        reserved: Be16,
    }
    /// A [`Header`] to be written: a byte at a time takes longer.
    Words {
        /// All up to the site: see [`start`].
        start: Be64,
        /// The generation and two bytes that are zero, as they lie.
        rest: u32,
    }
    /// The GUE header without private data, which any host's decapsulation understands.
    PlainHeader {
        /// Zero.
        variant_length: u8,
        /// 4 or 41.
        protocol: u8,
        /// Zero.
        flags: Be16,
    }
}

impl Header {
    /// Bytes of this struct.
    pub const LENGTH: usize = size_of::<Self>();

    /// The hop that the packet is on its way to.
    #[inline(always)]
    pub const fn index(&self) -> u8 {
        self.index_count >> 4
    }

    /// Hops in the list.
    #[inline(always)]
    pub const fn count(&self) -> u8 {
        self.index_count & 0x0f
    }

    /// Length of all that follows the first four bytes, in words, for `count` addresses of `address_words` words.
    #[inline(always)]
    pub const fn length_words(count: u8, address_words: u8) -> u8 {
        2 + count * address_words
    }
}

/// The first eight bytes of a [`Header`] on its way to the first hop, as a number in the order of the wire: a sum of what all
/// headers of a bank share ([`common`]) and of these.
pub mod start {
    /// An IPv4 address in the list.
    pub const ADDRESS_V4: u64 = 1 << 56 | 1 << 16;
    /// An IPv6 address in the list, of which all are.
    pub const ADDRESS_V6: u64 = 4 << 56 | 1 << 16;

    /// What the tunnel carries: 4 or 41.
    #[inline(always)]
    pub const fn protocol(protocol: u8) -> u64 {
        (protocol as u64) << 48
    }

    /// Flags that no other part of the sum has.
    #[inline(always)]
    pub const fn flags(flags: u8) -> u64 {
        (flags as u64) << 8
    }
}

/// What all headers of a bank share: version, flags and site; and that there are as many words as without addresses.
pub const fn common(flags: u8, site: u8) -> u64 {
    2 << 56 | (VERSION as u64) << 24 | start::flags(flags) | site as u64
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromBytes as _, IntoBytes as _};

    use super::*;

    #[test]
    fn golden_header() {
        let header = Header {
            variant_length: Header::length_words(4, 1),
            protocol: 4,
            gue_flags: Be16::new(0),
            version: VERSION,
            index_count: 0x14,
            flags: flags::SETTLING,
            site: 7,
            generation: Be16::new(0x1234),
            reserved: Be16::new(0),
        };
        assert_eq!(
            header.as_bytes(),
            [6, 4, 0, 0, 1, 0x14, 4, 7, 0x12, 0x34, 0, 0]
        );
        assert_eq!((header.index(), header.count()), (1, 4));
    }

    #[test]
    fn what_is_written_reads_as_a_header() {
        let start = common(flags::SETTLING, 7)
            + start::protocol(41)
            + start::flags(flags::V6)
            + 3 * start::ADDRESS_V6;
        let words = Words {
            start: Be64::new(start),
            rest: u32::from_ne_bytes([0x12, 0x34, 0, 0]),
        };
        let header = Header::read_from_bytes(words.as_bytes()).unwrap();
        let expected = Header {
            variant_length: Header::length_words(3, 4),
            protocol: 41,
            gue_flags: Be16::new(0),
            version: VERSION,
            index_count: 3,
            flags: flags::V6 | flags::SETTLING,
            site: 7,
            generation: Be16::new(0x1234),
            reserved: Be16::new(0),
        };
        assert_eq!(header, expected);
    }

    #[test]
    fn sizes_on_the_wire() {
        assert_eq!((OVERHEAD_V4, OVERHEAD_V6), (56, 124));
    }
}
