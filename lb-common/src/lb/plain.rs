//! Tunnels that any host can end: GUE without private data, and IP in IP of both families.

use super::headers::{FrontIpv4, FrontIpv6, UdpIpv4, UdpIpv6, make_room};
use super::inner::Inner;
use super::{Choice, Exit};
use crate::abi::{Backend, Bank, ServiceEntry, encap};
use crate::exit::OrLeave as _;
use crate::packet::Transit;
use crate::tunnel::PlainHeader;
use crate::wire::{Be16, Ipv4, Ipv6, Udp, protocol, wire};

/// Puts the headers before the packet.
#[inline(always)]
pub(super) fn encapsulate<P: Transit>(
    packet: &mut P,
    bank: &Bank,
    first: &Backend,
    inner: &Inner,
    choice: &Choice<'_>,
) -> Result<(), Exit> {
    let task = Task {
        bank,
        first,
        length: inner.length,
        mtu: choice.service.tunnel_mtu,
        hash: choice.hash,
        gue: choice.service.encap == encap::GUE,
        kind: inner.kind,
        tos: inner.tos,
    };
    if first.address[0] == 0 {
        over_ipv4(packet, &task)
    } else {
        over_ipv6(packet, &task)
    }
}

/// Bytes of all headers before a packet of this service.
#[inline(always)]
pub(super) const fn overhead(first: &Backend, service: &ServiceEntry) -> u16 {
    let shim = if service.encap == encap::GUE { GUE } else { 0 };
    let ip = if first.address[0] == 0 {
        size_of::<Ipv4>()
    } else {
        size_of::<Ipv6>()
    };
    (ip + shim) as u16
}

/// All that decides about the headers.
struct Task<'b> {
    bank: &'b Bank,
    first: &'b Backend,
    length: u32,
    mtu: u16,
    hash: u64,
    gue: bool,
    kind: u8,
    tos: u8,
}

const GUE: usize = size_of::<Udp>() + size_of::<PlainHeader>();

impl Task<'_> {
    /// Bytes between the outer IP header and the inner packet.
    #[inline(always)]
    const fn shim(&self) -> u32 {
        if self.gue { GUE as u32 } else { 0 }
    }

    #[inline(always)]
    fn make_room<P: Transit>(&self, packet: &mut P, ip: usize) -> Result<(), Exit> {
        make_room(
            packet,
            ip as u32 + self.shim(),
            self.length,
            self.mtu,
            self.first,
        )
    }

    #[inline(always)]
    const fn gue(&self) -> PlainHeader {
        PlainHeader {
            variant_length: 0,
            protocol: self.kind,
            flags: Be16::new(0),
        }
    }
}

wire! {
    OverIpv4 {
        front: FrontIpv4,
        destination: Be16,
    }
    GueOverIpv4 {
        front: FrontIpv4,
        udp: UdpIpv4,
        header: PlainHeader,
    }
    GueOverIpv6 {
        front: FrontIpv6,
        udp: UdpIpv6,
        header: PlainHeader,
    }
}

#[inline(always)]
fn over_ipv4<P: Transit>(packet: &mut P, task: &Task<'_>) -> Result<(), Exit> {
    const IP: usize = size_of::<Ipv4>();
    task.make_room(packet, IP)?;
    let Task { first, tos, .. } = *task;
    let udp_length = task.shim() + task.length;
    let length = IP as u32 + udp_length;
    if task.gue {
        let outer = packet.get_mut::<GueOverIpv4>(0);
        let outer = outer.or_leave(Exit::NoHeadroom)?;
        outer.front.put(first, length, tos, protocol::UDP);
        outer.udp.put(first, task.hash, udp_length);
        outer.header = task.gue();
    } else {
        let outer = packet.get_mut::<OverIpv4>(0).or_leave(Exit::NoHeadroom)?;
        outer.front.put(first, length, tos, task.kind);
        outer.destination = Be16::new((first.udp >> 48) as u16);
    }
    Ok(())
}

#[inline(always)]
fn over_ipv6<P: Transit>(packet: &mut P, task: &Task<'_>) -> Result<(), Exit> {
    task.make_room(packet, size_of::<Ipv6>())?;
    let Task {
        bank, first, tos, ..
    } = *task;
    // Routers spread by the flow label where there are no ports (RFC 6438).
    let label = (task.hash >> 48) as u32;
    let length = task.shim() + task.length;
    if task.gue {
        let outer = packet.get_mut::<GueOverIpv6>(0);
        let outer = outer.or_leave(Exit::NoHeadroom)?;
        outer
            .front
            .put(first, bank, length, tos, label, protocol::UDP);
        outer.udp.put(first, task.hash, length);
        outer.header = task.gue();
    } else {
        let front = packet.get_mut::<FrontIpv6>(0).or_leave(Exit::NoHeadroom)?;
        front.put(first, bank, length, tos, label, task.kind);
    }
    Ok(())
}
