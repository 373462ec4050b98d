//! Tunnels that any host can end: GUE without private data, and IP in IP of both families.

use super::headers::{ethernet, make_room, outer_ipv4, outer_ipv6, source_port, udp};
use super::inner::Inner;
use super::{Choice, Exit, L3, L4_V4, L4_V6};
use crate::abi::{Backend, Bank, ServiceEntry, encap};
use crate::exit::OrLeave as _;
use crate::packet::Transit;
use crate::tunnel::PlainHeader;
use crate::wire::{
    Be16, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv4Words, Ipv6, Ipv6Words, Udp, UdpWord,
    protocol,
};

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

    /// What the outer IP header says follows.
    #[inline(always)]
    const fn payload(&self) -> u8 {
        if self.gue { protocol::UDP } else { self.kind }
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
    fn gue<P: Transit>(&self, packet: &mut P, at: usize) -> Result<(), Exit> {
        let source_port = source_port(self.hash);
        let length = self.shim() + self.length;
        let header = packet.get_mut::<UdpWord>(at).or_leave(Exit::NoHeadroom)?;
        udp(header, &self.bank.shared, source_port, length);
        *packet
            .get_mut::<PlainHeader>(at + size_of::<Udp>())
            .or_leave(Exit::NoHeadroom)? = PlainHeader {
            variant_length: 0,
            protocol: self.kind,
            flags: Be16::new(0),
        };
        Ok(())
    }
}

#[inline(always)]
fn over_ipv4<P: Transit>(packet: &mut P, task: &Task<'_>) -> Result<(), Exit> {
    const IP: usize = size_of::<Ipv4>();
    task.make_room(packet, IP)?;
    let frame = packet.get_mut::<Ethernet>(0).or_leave(Exit::NoHeadroom)?;
    ethernet(frame, task.first, ETHERTYPE_IPV4);
    let length = IP as u32 + task.shim() + task.length;
    outer_ipv4(
        packet.get_mut::<Ipv4Words>(L3).or_leave(Exit::NoHeadroom)?,
        task.bank,
        task.first,
        length,
        task.tos,
        task.payload(),
    );
    if task.gue {
        task.gue(packet, L4_V4)
    } else {
        Ok(())
    }
}

#[inline(always)]
fn over_ipv6<P: Transit>(packet: &mut P, task: &Task<'_>) -> Result<(), Exit> {
    task.make_room(packet, size_of::<Ipv6>())?;
    let frame = packet.get_mut::<Ethernet>(0).or_leave(Exit::NoHeadroom)?;
    ethernet(frame, task.first, ETHERTYPE_IPV6);
    // Routers spread by the flow label where there are no ports (RFC 6438).
    let label = u32::from(task.tos) << 20 | (task.hash >> 48) as u32;
    let length = task.shim() + task.length;
    let ip = packet.get_mut::<Ipv6Words>(L3).or_leave(Exit::NoHeadroom)?;
    outer_ipv6(ip, task.bank, task.first, length, label, task.payload());
    if task.gue {
        task.gue(packet, L4_V6)
    } else {
        Ok(())
    }
}
