//! The bounded walk over IPv6 extension headers.

use crate::packet::Packet;
use crate::wire::{Extension, protocol};

/// Extension headers in one packet at most.
pub const EXTENSIONS_MAX: usize = 4;

/// Why there is no upper-layer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoUpperLayer {
    /// A fragment header is in the way.
    Fragment,
    /// The packet ends first, or there are more than [`EXTENSIONS_MAX`] headers.
    Malformed,
}

/// Protocol and offset of the upper-layer header, from the next-header value `first` and the offset behind the IPv6 header
/// (RFC 8200, section 4).
#[inline(always)]
pub fn upper_layer<P: Packet>(
    packet: &P,
    first: u8,
    behind: usize,
) -> Result<(u8, usize), NoUpperLayer> {
    let (mut next, mut offset) = (first, behind);
    for _ in 0..EXTENSIONS_MAX {
        let unit = match next {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => 8,
            protocol::AUTHENTICATION => 4,
            protocol::FRAGMENT => return Err(NoUpperLayer::Fragment),
            _ => return Ok((next, offset)),
        };
        let extension = packet
            .get_at::<Extension>(offset)
            .ok_or(NoUpperLayer::Malformed)?;
        next = extension.next_header;
        offset += usize::from(extension.length) * unit + 8;
    }
    match next {
        protocol::HOP_BY_HOP
        | protocol::ROUTING
        | protocol::DESTINATION_OPTIONS
        | protocol::AUTHENTICATION => Err(NoUpperLayer::Malformed),
        protocol::FRAGMENT => Err(NoUpperLayer::Fragment),
        _ => Ok((next, offset)),
    }
}
