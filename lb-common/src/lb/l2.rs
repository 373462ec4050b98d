//! Backends on the node's own link: the frame goes on with other MAC addresses, and the packet as it came.

use super::Exit;
use super::headers::make_room;
use super::inner::Inner;
use crate::abi::Backend;
use crate::exit::{OrLeave as _, leave};
use crate::packet::Transit;
use crate::wire::Ethernet;

/// Addresses the frame to the backend.
///
/// A backend without the VIP on `lo` may route the packet, and it comes back: what comes from the backend itself is dropped at
/// once, and every other loop ends with the TTL, of which each pass takes one.
#[inline(always)]
pub(super) fn readdress<P: Transit>(
    packet: &mut P,
    first: &Backend,
    inner: &Inner,
    mtu: u16,
) -> Result<(), Exit> {
    let frame = packet.get::<Ethernet>(0).or_leave(Exit::Malformed)?;
    if sender(frame.macs_low, frame.macs_high) == receiver(first) {
        return leave(Exit::L2Loop);
    }
    let ethertype = frame.ethertype;
    make_room(packet, 0, inner.length, mtu, first)?;
    let frame = packet.get_mut::<Ethernet>(0).or_leave(Exit::NoHeadroom)?;
    frame.macs_low = first.macs_low;
    frame.macs_high = first.macs_high();
    frame.ethertype = ethertype;
    Ok(())
}

/// The source address of a frame with these words of addresses.
#[inline(always)]
const fn sender(macs_low: u64, macs_high: u32) -> u64 {
    (macs_low.to_le() >> 48 | (macs_high.to_le() as u64) << 16) & MAC
}

/// The backend's address.
#[inline(always)]
const fn receiver(to: &Backend) -> u64 {
    to.macs_low.to_le() & MAC
}

const MAC: u64 = 0xffff_ffff_ffff;
