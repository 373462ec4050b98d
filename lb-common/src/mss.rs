//! Lowering the MSS in SYN-ACKs from a VIP to what fits the tunnel.
//!
//! Clients' segments come through the tunnel, servers' replies do not: the SYN-ACK is where a backend can tell its clients to
//! send less. Only the decision is here; checksums of outgoing packets may be left to the NIC, so the program lets the kernel
//! mend them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::backend::{Tables, find_vip};
use crate::packet::Packet;
use crate::wire::{
    Be16, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6, Tcp, protocol, tcp_flags, v4_mapped,
};

/// Options looked at before giving up. TCP stacks put the MSS first.
const OPTIONS_MAX: usize = 8;
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

const L3: usize = size_of::<Ethernet>();
const L4_V4: usize = L3 + size_of::<Ipv4>();
const L4_V6: usize = L3 + size_of::<Ipv6>();

/// What to change in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clamp {
    /// Offset of the MSS.
    pub offset: usize,
    /// The MSS to write there.
    pub mss: Be16,
    /// Offset of the TCP checksum.
    pub checksum_offset: usize,
    /// The word that the checksum loses, as it lies in the sum.
    pub before: u16,
    /// The word that it gains.
    pub after: u16,
}

/// First two bytes of an option that is not of one byte (RFC 9293, section 3.1).
#[repr(C, packed)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct OptionHead {
    kind: u8,
    length: u8,
}

/// What to change in an outgoing packet; `None`: nothing.
#[inline(always)]
pub fn clamp<P: Packet, T: Tables>(packet: &P, tables: &T) -> Option<Clamp> {
    let ethertype = packet.get::<Ethernet>(0)?.ethertype;
    if ethertype == ETHERTYPE_IPV4 {
        let ip = packet.get::<Ipv4>(L3)?;
        let header = usize::from(ip.version_ihl & 15) * 4;
        if ip.protocol != protocol::TCP || !is_syn_ack(packet, L3 + header) {
            return None;
        }
        let config = tables.config()?;
        find_vip(tables, config, v4_mapped(ip.source))?;
        lower(packet, L3 + header, config.mss_v4)
    } else if ethertype == ETHERTYPE_IPV6 {
        let ip = packet.get::<Ipv6>(L3)?;
        if ip.next_header != protocol::TCP || !is_syn_ack(packet, L4_V6) {
            return None;
        }
        let config = tables.config()?;
        find_vip(tables, config, ip.source)?;
        lower(packet, L4_V6, config.mss_v6)
    } else {
        None
    }
}

#[inline(always)]
fn is_syn_ack<P: Packet>(packet: &P, at: usize) -> bool {
    const BOTH: u8 = tcp_flags::SYN | tcp_flags::ACK;
    let tcp = match at {
        L4_V4 => packet.get::<Tcp>(L4_V4),
        L4_V6 => packet.get::<Tcp>(L4_V6),
        other => packet.get_at::<Tcp>(other),
    };
    tcp.is_some_and(|tcp| tcp.flags & BOTH == BOTH)
}

/// Walks the options to the MSS.
#[inline(always)]
fn lower<P: Packet>(packet: &P, tcp: usize, limit: u16) -> Option<Clamp> {
    if limit == 0 {
        return None;
    }
    let words = packet.get_at::<Tcp>(tcp)?.data_offset >> 4;
    let end = tcp + usize::from(words) * 4;
    let mut at = tcp + size_of::<Tcp>();
    for _ in 0..OPTIONS_MAX {
        if at + size_of::<OptionHead>() > end {
            return None;
        }
        let head = packet.get_at::<OptionHead>(at)?;
        match head.kind {
            END_OF_OPTIONS => return None,
            NO_OPERATION => at += 1,
            MAXIMUM_SEGMENT_SIZE if head.length == 4 && at + 4 <= end => {
                let offset = at + size_of::<OptionHead>();
                let before = *packet.get_at::<Be16>(offset)?;
                return (before.value() > limit)
                    .then(|| change(tcp, offset, before, Be16::new(limit)));
            }
            _ if head.length < 2 => return None,
            _ => at += usize::from(head.length),
        }
    }
    None
}

/// An option may begin anywhere: at an odd offset its bytes lie in the sum's words the other way round.
#[inline(always)]
fn change(tcp: usize, offset: usize, before: Be16, after: Be16) -> Clamp {
    const CHECKSUM: usize = core::mem::offset_of!(Tcp, checksum);
    let odd = (offset - tcp) & 1 == 1;
    let word = |value: Be16| {
        if odd {
            value.raw().swap_bytes()
        } else {
            value.raw()
        }
    };
    Clamp {
        offset,
        mss: after,
        checksum_offset: tcp + CHECKSUM,
        before: word(before),
        after: word(after),
    }
}
