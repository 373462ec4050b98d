//! Headers as they lie in a packet.
//!
//! Byte order lives in the type: [`Be16`] to [`Be64`] are big-endian on the wire; addresses are opaque words, loaded as
//! they lie and only compared, hashed and copied.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

macro_rules! big_endian {
    ($(#[$doc:meta] $name:ident($raw:ty);)*) => { $(
        #[$doc]
        #[repr(C, packed)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        pub struct $name($raw);
        impl $name {
            /// From a number.
            #[inline(always)]
            pub const fn new(value: $raw) -> Self {
                Self(value.to_be())
            }
            /// The number.
            #[inline(always)]
            pub const fn value(self) -> $raw {
                <$raw>::from_be(self.0)
            }
            /// From the bits as they lie in memory.
            #[inline(always)]
            pub const fn from_raw(raw: $raw) -> Self {
                Self(raw)
            }
            /// The bits as they lie in memory.
            #[inline(always)]
            pub const fn raw(self) -> $raw {
                self.0
            }
        }
    )* };
}

big_endian! {
    /// 16 bits, big-endian on the wire.
    Be16(u16);
    /// 32 bits, big-endian on the wire.
    Be32(u32);
    /// 64 bits, big-endian on the wire.
    Be64(u64);
}

/// Headers as they lie in a packet, at any address.
macro_rules! wire {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)* })*) => { $(
        $(#[$doc])*
        #[repr(C, packed)]
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout, zerocopy::Unaligned,
        )]
        pub struct $name { $($(#[$field_doc])* pub $field: $ty,)* }
    )* };
}
pub(crate) use wire;

wire! {
    /// Ethernet II. The two addresses are kept as one pair of words: copying six bytes twice costs the BPF compiler a call.
    Ethernet {
        /// Destination (6 bytes) and the first two bytes of the source.
        macs_low: u64,
        /// The last four bytes of the source.
        macs_high: u32,
        /// EtherType.
        ethertype: Be16,
    }
    /// IPv4 without options (RFC 791).
    Ipv4 {
        /// Version and header length in words.
        version_ihl: u8,
        /// DSCP and ECN.
        tos: u8,
        /// Header and payload, bytes.
        total_length: Be16,
        /// Identification.
        identification: Be16,
        /// Flags (reserved, DF, MF) and fragment offset.
        fragment: Be16,
        /// Time to live.
        ttl: u8,
        /// Payload protocol.
        protocol: u8,
        /// Header checksum, as it lies.
        checksum: u16,
        /// Source address, as it lies.
        source: u32,
        /// Destination address, as it lies.
        destination: u32,
    }
    /// IPv6 (RFC 8200).
    Ipv6 {
        /// Version, traffic class, flow label.
        version_class_label: Be32,
        /// Payload after this header, bytes.
        payload_length: Be16,
        /// Protocol or extension header that follows.
        next_header: u8,
        /// Hop limit.
        hop_limit: u8,
        /// Source address, as it lies.
        source: [u64; 2],
        /// Destination address, as it lies.
        destination: [u64; 2],
    }
    /// The addresses of Ethernet II with a VLAN tag behind them (IEEE 802.1Q): the EtherType of what follows comes after it.
    Tagged {
        /// As in [`Ethernet`].
        macs_low: u64,
        /// As in [`Ethernet`].
        macs_high: u32,
        /// EtherType of the tag, priority and VLAN identifier, as they lie.
        tag: u32,
    }
    /// An IPv6 address by itself, as it lies. Words, not an array: that is copied byte by byte.
    Address6 {
        /// The first eight bytes.
        high: u64,
        /// The last eight bytes.
        low: u64,
    }
    /// First two bytes of an IPv6 extension header.
    Extension {
        /// What follows.
        next_header: u8,
        /// Length, in units of the header's own.
        length: u8,
    }
    /// IPv6 fragment header (RFC 8200, section 4.5).
    FragmentHeader {
        /// What the fragmentable part begins with.
        next_header: u8,
        /// Zero.
        reserved: u8,
        /// Offset in units of eight bytes, in the upper 13 bits; the last bit: more fragments.
        offset_more: Be16,
        /// Of the packet that was cut.
        identification: Be32,
    }
    /// The first four bytes of TCP and UDP.
    Ports {
        /// Source port.
        source: Be16,
        /// Destination port.
        destination: Be16,
    }
    /// TCP without options (RFC 9293).
    Tcp {
        /// Both ports.
        ports: Ports,
        /// Sequence number.
        sequence: Be32,
        /// Acknowledgment number.
        acknowledgment: Be32,
        /// Header length in words, in the upper four bits.
        data_offset: u8,
        /// CWR to FIN.
        flags: u8,
        /// Window.
        window: Be16,
        /// Checksum, as it lies.
        checksum: u16,
        /// Urgent pointer.
        urgent: Be16,
    }
    /// UDP (RFC 768).
    Udp {
        /// Both ports.
        ports: Ports,
        /// Header and payload, bytes.
        length: Be16,
        /// Checksum, as it lies; zero: none.
        checksum: u16,
    }
    /// ICMP and ICMPv6: the eight bytes before a quoted packet.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Checksum, as it lies.
        checksum: u16,
        /// Depends on the type.
        rest: Be32,
    }
}

impl Ethernet {
    /// Whether a VLAN tag follows.
    #[inline(always)]
    pub fn is_tagged(&self) -> bool {
        let ethertype = self.ethertype;
        ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ
    }

    /// Both addresses in each other's place.
    #[inline(always)]
    pub const fn swapped(&self) -> (u64, u32) {
        let (low, high) = (self.macs_low.to_le(), self.macs_high.to_le());
        (
            u64::from_le(low >> 48 | (high as u64) << 16 | low << 48),
            u32::from_le((low >> 16) as u32),
        )
    }
}

impl Address6 {
    /// From its words.
    #[inline(always)]
    pub const fn of([high, low]: [u64; 2]) -> Self {
        Self { high, low }
    }
}

impl Ipv6 {
    /// Sets both addresses, word by word: the assignment of an array in a packed structure copies bytes.
    #[inline(always)]
    pub fn set_addresses(&mut self, source: [u64; 2], destination: [u64; 2]) {
        self.source[0] = source[0];
        self.source[1] = source[1];
        self.destination[0] = destination[0];
        self.destination[1] = destination[1];
    }
}

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: Be16 = Be16::new(0x0800);
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: Be16 = Be16::new(0x86dd);
/// EtherType of a VLAN tag (IEEE 802.1Q).
pub const ETHERTYPE_VLAN: Be16 = Be16::new(0x8100);
/// EtherType of the outer one of two VLAN tags (IEEE 802.1ad).
pub const ETHERTYPE_QINQ: Be16 = Be16::new(0x88a8);

/// Protocol and next-header numbers (IANA).
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP.
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP.
    pub const IPV6: u8 = 41;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// Bits of [`Tcp::flags`].
pub mod tcp_flags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// ACK.
    pub const ACK: u8 = 0x10;
}

/// Don't fragment, in [`Ipv4::fragment`].
pub const IPV4_DF: u16 = 0x4000;
/// More fragments, in [`Ipv4::fragment`].
pub const IPV4_MORE_FRAGMENTS: u16 = 0x2000;
/// More fragments and the offset: what makes a packet a fragment.
pub const IPV4_FRAGMENT_MASK: u16 = 0x3fff;

/// An IPv4 address as it lies in a packet, as the 16 bytes of `::ffff:a.b.c.d`.
#[inline(always)]
pub const fn v4_mapped(raw: u32) -> [u64; 2] {
    [0, u64::from_le(0xffff_0000) | widen(raw)]
}

/// The IPv4 address in a v4-mapped one, as it lies in a packet.
#[inline(always)]
pub const fn v4_of(address: [u64; 2]) -> u32 {
    if cfg!(target_endian = "little") {
        (address[1] >> 32) as u32
    } else {
        address[1] as u32
    }
}

const fn widen(raw: u32) -> u64 {
    if cfg!(target_endian = "little") {
        (raw as u64) << 32
    } else {
        raw as u64
    }
}

/// The words of an address as decision code holds it, from its 16 bytes.
#[inline(always)]
pub const fn address_words(bytes: [u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    [
        u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
    ]
}

/// Adds the 16-bit halves of a one's complement sum until it fits 16 bits.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// One's complement sum of the two halves of a word, to add up before [`fold`].
#[inline(always)]
pub const fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

/// A checksum after a change of an octet that is the first of its word (RFC 1624, equation 3).
#[inline(always)]
pub const fn with_high_octet(checksum: u16, before: u8, after: u8) -> u16 {
    let before = Be16::new((before as u16) << 8).raw();
    let after = Be16::new((after as u16) << 8).raw();
    !fold(!checksum as u32 + !before as u32 + after as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn mapped_address_has_the_bytes_of_its_ipv6_form() {
        let v4 = Ipv4Addr::new(192, 0, 2, 7);
        let raw = u32::from_ne_bytes(v4.octets());
        assert_eq!(v4_mapped(raw), address_words(v4.to_ipv6_mapped().octets()));
        assert_eq!(v4_of(v4_mapped(raw)), raw);
    }

    #[test]
    fn words_are_the_bytes_in_order() {
        let address: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let words = address_words(address.octets());
        assert_eq!(words.as_bytes(), address.octets());
    }

    #[test]
    fn big_endian_on_the_wire() {
        assert_eq!(Be16::new(0x1234).as_bytes(), [0x12, 0x34]);
        assert_eq!(Be32::new(0x1234_5678).value(), 0x1234_5678);
    }
}
