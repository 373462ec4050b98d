//! Headers that tunnels have in common.

use super::Exit;
use crate::abi::{Backend, Bank, Shared, TAG};
use crate::exit::{OrLeave as _, leave};
use crate::flow;
use crate::packet::Transit;
use crate::wire::{
    Be16, Be32, Ethernet, IPV4_DF, Ipv4, Ipv4Words, Ipv6, Ipv6Words, Ports, Tagged, Udp, UdpWord,
    fold, halves, protocol,
};

#[inline(always)]
pub(super) fn ethernet(at: &mut Ethernet, to: &Backend, ethertype: Be16) {
    at.macs_low = to.macs_low;
    at.macs_high = to.macs_high;
    at.ethertype = ethertype;
}

#[inline(always)]
pub(super) fn udp(at: &mut UdpWord, shared: &Shared, source_port: Be16, length: u32) {
    *at = Udp {
        ports: Ports {
            source: source_port,
            destination: Be16::from_raw(shared.tunnel_port),
        },
        length: Be16::new(length as u16),
        checksum: 0,
    }
    .word();
}

/// The outer IPv4 header (RFC 2003, RFC 6040: DSCP and ECN are those of the inner one). `length`: all of the packet.
#[inline(always)]
pub(super) fn outer_ipv4(
    at: &mut Ipv4Words,
    bank: &Bank,
    first: &Backend,
    length: u32,
    tos: u8,
    payload: u8,
) {
    let length = Be16::new(length as u16);
    let mut sum =
        first.checksum + u32::from(length.raw()) + u32::from(Be16::new(u16::from(tos)).raw());
    if payload != protocol::UDP {
        // The backend's part of the sum has UDP in it.
        sum += u32::from(!Be16::new(u16::from(protocol::UDP)).raw());
        sum += u32::from(Be16::new(u16::from(payload)).raw());
    }
    *at = Ipv4 {
        version_ihl: 0x45,
        tos,
        total_length: length,
        identification: Be16::new(0),
        fragment: Be16::new(IPV4_DF),
        ttl: 64,
        protocol: payload,
        checksum: !fold(sum),
        source: bank.shared.source_v4,
        destination: first.v4(),
    }
    .words();
}

/// The outer IPv6 header (RFC 2473). `length`: what follows it; `label`: traffic class and flow label.
#[inline(always)]
pub(super) fn outer_ipv6(
    at: &mut Ipv6Words,
    bank: &Bank,
    first: &Backend,
    length: u32,
    label: u32,
    payload: u8,
) {
    let (source, destination) = (bank.shared.source_v6, first.address);
    *at = Ipv6 {
        version_class_label: Be32::new(6 << 28 | label),
        payload_length: Be16::new(length as u16),
        next_header: payload,
        hop_limit: 64,
        source,
        destination,
    }
    .words();
}

/// Makes room for so many bytes of headers before a packet of `length` bytes, where both fit the tunnel; and before them for the
/// next hop's VLAN tag, which [`tag`] fills in the end.
#[inline(always)]
pub(super) fn make_room<P: Transit>(
    packet: &mut P,
    headers: u32,
    length: u32,
    mtu: u16,
    to: &Backend,
) -> Result<(), Exit> {
    if headers + length > u32::from(mtu) {
        return leave(Exit::TooBig);
    }
    // A number, for which neither the processor nor the verifier goes two ways.
    let tag = to.tag_bytes & TAG;
    // Skipped tags go as well.
    if !packet.grow((headers + tag) as i32) {
        return leave(Exit::NoHeadroom);
    }
    packet.skip(tag as usize);
    Ok(())
}

/// The tunnel's source port: part of the flow's hash, among the ports that no service has.
#[inline(always)]
pub(super) const fn source_port(hash: u64) -> Be16 {
    Be16::new(0xc000 | (hash >> flow::SOURCE_PORT) as u16)
}

/// Fills the room for the next hop's VLAN tag. The EtherType is where it must be; the addresses move to the front.
#[inline(always)]
pub(super) fn tag<P: Transit>(packet: &mut P, to: &Backend) -> Result<(), Exit> {
    packet.unskip();
    let tagged = packet.get_mut::<Tagged>(0).or_leave(Exit::NoHeadroom)?;
    tagged.macs_low = to.macs_low;
    tagged.macs_high = to.macs_high;
    tagged.tag = to.vlan;
    Ok(())
}

/// Sum of the outer IPv4 header's words that no packet changes, for [`Backend::checksum`]: version, identification, flags,
/// TTL and protocol, source, destination.
pub const fn outer_checksum(source: u32, destination: u32) -> u32 {
    let constant = Be16::new(0x4500).raw() as u32
        + Be16::new(IPV4_DF).raw() as u32
        + Be16::new(0x4000 | protocol::UDP as u16).raw() as u32;
    constant + halves(source) + halves(destination)
}
