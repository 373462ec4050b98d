//! The bounded walk over IPv6 extension headers.

use crate::packet::Packet;
use crate::wire::{Extension, FragmentHeader, protocol};

/// Extension headers in one packet at most.
pub const EXTENSIONS_MAX: usize = 4;

/// Protocol and offset of the upper-layer header, from the next-header value `first` and the offset behind the IPv6 header
/// (RFC 8200, section 4). Of a fragment it is the fragment header, unless that cuts nothing off (RFC 6946). `None` where the packet
/// ends first, or has more than [`EXTENSIONS_MAX`] headers.
#[inline(always)]
pub fn upper_layer<P: Packet>(packet: &P, first: u8, behind: usize) -> Option<(u8, usize)> {
    let (mut next, mut offset) = (first, behind);
    for _ in 0..EXTENSIONS_MAX {
        let unit = match next {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => 8,
            protocol::AUTHENTICATION => 4,
            protocol::FRAGMENT if is_whole(packet, offset)? => 0,
            _ => return Some((next, offset)),
        };
        let extension = packet.get_at::<Extension>(offset)?;
        next = extension.next_header;
        offset += usize::from(extension.length) * unit + 8;
    }
    match next {
        protocol::HOP_BY_HOP
        | protocol::ROUTING
        | protocol::DESTINATION_OPTIONS
        | protocol::AUTHENTICATION => None,
        _ => Some((next, offset)),
    }
}

#[inline(always)]
fn is_whole<P: Packet>(packet: &P, at: usize) -> Option<bool> {
    const RESERVED: u16 = 0x0006;
    let header = packet.get_at::<FragmentHeader>(at)?;
    Some(header.offset_more.value() & !RESERVED == 0)
}
