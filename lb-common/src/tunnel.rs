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

use crate::wire::{Be16, wire};

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
        /// All up to the site.
        low: u64,
        /// The rest.
        high: u32,
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

    /// The same bytes.
    #[inline(always)]
    pub const fn words(&self) -> Words {
        let low = self.variant_length as u64
            | (self.protocol as u64) << 8
            | (u16::from_le(self.gue_flags.raw()) as u64) << 16
            | (self.version as u64) << 32
            | (self.index_count as u64) << 40
            | (self.flags as u64) << 48
            | (self.site as u64) << 56;
        let high = u16::from_le(self.generation.raw()) as u32
            | (u16::from_le(self.reserved.raw()) as u32) << 16;
        Words {
            low: low.to_le(),
            high: high.to_le(),
        }
    }

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

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

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
    fn sizes_on_the_wire() {
        assert_eq!((OVERHEAD_V4, OVERHEAD_V6), (56, 124));
    }
}
