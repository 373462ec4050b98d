//! What an ICMP error quotes: the start of a packet that its receiver sent (RFC 792; RFC 4443, section 2.4).

use crate::ipv6::EXTENSIONS_MAX;
use crate::packet::{OFFSET_MASK, Packet};
use crate::wire::{Be32, Extension, FragmentHeader, Icmp, Ipv4, Ipv6, Ports, protocol, wire};

/// Destination unreachable, time exceeded, parameter problem (RFC 792).
#[inline(always)]
pub const fn is_error_v4(kind: u8) -> bool {
    matches!(kind, 3 | 11 | 12)
}

/// The lower half of the types (RFC 4443, section 2.1).
#[inline(always)]
pub const fn is_error_v6(kind: u8) -> bool {
    kind < 128
}

wire! {
    /// All of a transport header that an ICMP error must quote (RFC 792: eight bytes).
    Quoted {
        /// Source and destination of the quoted packet.
        ports: Ports,
        /// Of TCP.
        sequence: Be32,
    }
}

/// The IP header of a quoted packet that is sound.
#[derive(Clone, Copy)]
pub struct Quote<A> {
    /// Who sent the quoted packet, as it lies on the wire.
    pub source: A,
    /// Whom it went to.
    pub destination: A,
    /// Protocol of the transport header.
    pub protocol: u8,
    /// Offset of the transport header; zero where there is none, in a fragment that is not the first.
    transport: usize,
    /// Offset where the error ends.
    end: usize,
}

impl<A> Quote<A> {
    /// Whether the quoted packet was a fragment that says nothing of ports.
    #[inline(always)]
    pub const fn is_later_fragment(&self) -> bool {
        self.transport == 0
    }

    /// The start of the transport header; `None` where that was not quoted.
    #[inline(always)]
    pub fn transport<'p, P: Packet>(&self, packet: &'p P) -> Option<&'p Quoted> {
        if self.transport + size_of::<Quoted>() > self.end {
            return None;
        }
        packet.get_at::<Quoted>(self.transport)
    }
}

/// The IPv4 packet that an error quotes, whose ICMP header is at `icmp` and which ends at `end`; `None` where it is not sound.
#[inline(always)]
pub fn quoted_v4<P: Packet>(packet: &P, icmp: usize, end: usize) -> Option<Quote<u32>> {
    const OFFSET_MASK: u16 = 0x1fff;
    let at = icmp + size_of::<Icmp>();
    let ip = packet.get_at::<Ipv4>(at)?;
    let header = usize::from(ip.version_ihl & 15) * 4;
    if ip.version_ihl >> 4 != 4 || header < size_of::<Ipv4>() || at + header > end {
        return None;
    }
    let is_first = ip.fragment.value() & OFFSET_MASK == 0;
    Some(Quote {
        source: ip.source,
        destination: ip.destination,
        protocol: ip.protocol,
        transport: if is_first { at + header } else { 0 },
        end,
    })
}

/// Like [`quoted_v4`], behind the quoted extension headers.
#[inline(always)]
pub fn quoted_v6<P: Packet>(packet: &P, icmp: usize, end: usize) -> Option<Quote<[u64; 2]>> {
    let at = icmp + size_of::<Icmp>();
    let ip = packet.get_at::<Ipv6>(at)?;
    let behind = at + size_of::<Ipv6>();
    if ip.version_class_label.value() >> 28 != 6 || behind > end {
        return None;
    }
    let (source, destination, first) = (ip.source, ip.destination, ip.next_header);
    let (protocol, transport) = upper_layer(packet, first, behind)?;
    Some(Quote {
        source,
        destination,
        protocol,
        transport,
        end,
    })
}

/// Protocol and offset of the transport header; offset zero in a fragment that is not the first. Unlike a packet's own, a quoted
/// fragment header is walked over.
#[inline(always)]
fn upper_layer<P: Packet>(packet: &P, first: u8, behind: usize) -> Option<(u8, usize)> {
    let (mut next, mut offset) = (first, behind);
    for _ in 0..EXTENSIONS_MAX {
        // Or the verifier looks at what follows once for every kind of header on the way here.
        offset = P::settle(offset as u64) as usize & OFFSET_MASK;
        let unit = match next {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => 8,
            protocol::AUTHENTICATION => 4,
            protocol::FRAGMENT => {
                let fragment = packet.get_at::<FragmentHeader>(offset)?;
                if fragment.offset_more.value() >> 3 != 0 {
                    return Some((fragment.next_header, 0));
                }
                0
            }
            _ => return Some((next, offset)),
        };
        let extension = packet.get_at::<Extension>(offset)?;
        next = extension.next_header;
        offset += usize::from(extension.length) * unit + 8;
    }
    match next {
        protocol::TCP | protocol::UDP => Some((next, offset)),
        _ => None,
    }
}
