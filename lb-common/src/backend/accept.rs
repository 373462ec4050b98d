//! Taking the tunnel's headers off.

use super::outer::{L3, Outer};
use super::{Exit, ecn};
use crate::packet::Packet;
use crate::wire::{
    Be32, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6, fold, halves, protocol,
};

/// Makes the inner packet the packet, with the frame's own MAC addresses and the congestion mark of RFC 6040.
#[inline(always)]
pub(super) fn decapsulate<P: Packet>(
    packet: &mut P,
    outer: &Outer,
    inner_ecn: u8,
) -> Result<(), Exit> {
    let mark = ecn::combine(inner_ecn, outer.ecn).ok_or(Exit::EcnCongested)?;
    let ethernet = packet.get::<Ethernet>(0).ok_or(Exit::Malformed)?;
    let (macs_low, macs_high) = (ethernet.macs_low, ethernet.macs_high);
    let v4 = outer.kind == protocol::IPV4;
    if !packet.strip(outer.inner - L3, v4) {
        return Err(Exit::NoHeadroom);
    }
    let ethernet = packet.get_mut::<Ethernet>(0).ok_or(Exit::Malformed)?;
    ethernet.macs_low = macs_low;
    ethernet.macs_high = macs_high;
    ethernet.ethertype = if v4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    if mark == inner_ecn {
        Ok(())
    } else if v4 {
        mark_v4(packet, mark)
    } else {
        mark_v6(packet, mark)
    }
}

#[inline(always)]
fn mark_v4<P: Packet>(packet: &mut P, mark: u8) -> Result<(), Exit> {
    let ip = packet.get_mut::<Ipv4>(L3).ok_or(Exit::Malformed)?;
    let before = u16::from_ne_bytes([ip.version_ihl, ip.tos]);
    ip.tos = ip.tos & !3 | mark;
    let after = u16::from_ne_bytes([ip.version_ihl, ip.tos]);
    // RFC 1624, equation 3.
    ip.checksum = !fold(u32::from(!ip.checksum) + u32::from(!before) + u32::from(after));
    Ok(())
}

#[inline(always)]
fn mark_v6<P: Packet>(packet: &mut P, mark: u8) -> Result<(), Exit> {
    let ip = packet.get_mut::<Ipv6>(L3).ok_or(Exit::Malformed)?;
    let before = ip.version_class_label;
    let label = before.value() & !(3 << 20) | u32::from(mark) << 20;
    ip.version_class_label = Be32::new(label);
    packet.resum(halves(!before.raw()) + halves(Be32::new(label).raw()));
    Ok(())
}
