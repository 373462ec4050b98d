//! A flow's headers.

use core::mem::size_of;

use super::Order;
use crate::packet::Packet;
use crate::wire::{Be16, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6, Udp, fold, halves};

/// Network of the sources, IPv4: 198.18.0.0/15.
pub const SOURCES_V4: u32 = 0xc612_0000;
/// First half of the sources, IPv6: 2001:2::/48.
pub const SOURCES_V6: u64 = 0x2001_0002_0000_0000;
/// The first source port.
pub const FIRST_PORT: u16 = 0x8000;

/// Hosts behind a source network.
const HOST_BITS: u32 = 17;
/// Odd, so that every host comes up once in 2^17 flows (Knuth's multiplier).
const SCATTER: u32 = 0x9e37_79b1;
/// Makes of the host a port that is no linear function of it.
const STIR: u32 = 0x85eb_ca6b;

/// Host part and port of a flow's source.
#[inline(always)]
const fn source(flow: u32) -> (u32, u16) {
    let host = flow.wrapping_mul(SCATTER) & ((1 << HOST_BITS) - 1);
    let port = (flow >> HOST_BITS).wrapping_add(host.wrapping_mul(STIR) >> 15);
    (host, FIRST_PORT | (port as u16 & (FIRST_PORT - 1)))
}

/// Writes the headers of a flow's packet; `None` where the packet is too short for them.
#[inline(always)]
pub fn write<P: Packet>(packet: &mut P, order: &Order, flow: u32) -> Option<()> {
    let (host, port) = source(flow);
    let ethernet = packet.get_mut::<Ethernet>(0)?;
    ethernet.macs_low = order.ethernet.macs_low;
    ethernet.macs_high = order.ethernet.macs_high;
    ethernet.ethertype = order.ethernet.ethertype;
    if order.ethernet.ethertype == ETHERTYPE_IPV6 {
        let low = u64::from(host).to_be();
        let high = SOURCES_V6.to_be();
        let ip = packet.get_mut::<Ipv6>(size_of::<Ethernet>())?;
        ip.version_class_label = order.ipv6.version_class_label;
        ip.payload_length = order.ipv6.payload_length;
        ip.next_header = order.ipv6.next_header;
        ip.hop_limit = order.ipv6.hop_limit;
        ip.set_addresses([high, low], order.ipv6.destination);
        let sum = halves(high as u32) + halves((high >> 32) as u32);
        let sum = sum + halves(low as u32) + halves((low >> 32) as u32);
        let at = size_of::<Ethernet>() + size_of::<Ipv6>();
        return write_udp(packet.get_mut::<Udp>(at)?, order, port, sum);
    }
    let source = (SOURCES_V4 | host).to_be();
    let ip = packet.get_mut::<Ipv4>(size_of::<Ethernet>())?;
    *ip = order.ipv4;
    ip.source = source;
    ip.checksum = !fold(order.header_sum + halves(source));
    let at = size_of::<Ethernet>() + size_of::<Ipv4>();
    write_udp(packet.get_mut::<Udp>(at)?, order, port, halves(source))
}

#[inline(always)]
fn write_udp(udp: &mut Udp, order: &Order, port: u16, address_sum: u32) -> Option<()> {
    let port = Be16::new(port);
    let checksum = !fold(order.datagram_sum + address_sum + u32::from(port.raw()));
    udp.ports.source = port;
    udp.ports.destination = order.udp.ports.destination;
    udp.length = order.udp.length;
    // Zero would say that there is none.
    udp.checksum = if checksum == 0 { 0xffff } else { checksum };
    Some(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::FLOWS_MAX;
    use super::super::testing::ORDER;
    use super::*;

    #[test]
    fn every_flow_has_a_source_of_its_own() {
        // Steps of a prime reach into every part of the range.
        let flows = (0..FLOWS_MAX).step_by(101);
        let sources: BTreeSet<(u32, u16)> = flows.clone().map(source).collect();
        assert_eq!(sources.len(), flows.count());
        let hosts: BTreeSet<u32> = (0..1 << HOST_BITS).map(|flow| source(flow).0).collect();
        assert_eq!(hosts.len(), 1 << HOST_BITS);
        assert!(hosts.iter().all(|host| *host < 1 << HOST_BITS));
        assert!(sources.iter().all(|(_, port)| *port >= FIRST_PORT));
    }

    #[test]
    fn a_packet_without_room_for_its_headers_is_not_written() {
        let mut short = crate::frame::Frame::new(&[0; 41]).unwrap();
        assert_eq!(write(&mut short, &ORDER, 0), None);
        let mut long = crate::frame::Frame::new(&[0; 50]).unwrap();
        assert_eq!(write(&mut long, &ORDER, 0), Some(()));
    }
}
