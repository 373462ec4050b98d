//! The tunnel of rows: GUE with every hop of the row.

use core::mem::offset_of;

use super::headers::{ethernet, make_room, outer_ipv4, outer_ipv6, source_port, udp};
use super::inner::Inner;
use super::{Choice, Exit, Mark};
use crate::abi::{Backend, Bank, Row};
use crate::exit::OrLeave as _;
use crate::packet::{Transit, View};
use crate::tunnel::{self, Header, Words};
use crate::wire::{
    Address6, Be16, Be32, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv4Words, Ipv6,
    Ipv6Words, Udp, UdpWord, protocol, wire,
};

/// Puts the headers before the packet.
#[inline(always)]
pub(super) fn encapsulate<P: Transit>(
    packet: &mut P,
    bank: &Bank,
    first: &Backend,
    inner: &Inner,
    &Choice { service, row, hash }: &Choice<'_>,
    mark: Mark,
) -> Result<(), Exit> {
    let hops = Hops {
        row,
        base: u32::from(service.first_backend),
    };
    let count = row.hop_count();
    let mut header = tunnel::First {
        kind: inner.kind,
        count: count as u8,
        address_words: 1,
        flags: service.tunnel_flags | mark.bits(tunnel::flags::PROBE),
    };
    let source_port = source_port(hash);
    let mtu = service.tunnel_mtu;
    if first.address[0] == 0 {
        over_ipv4(
            packet,
            bank,
            first,
            inner,
            &header,
            count,
            source_port,
            hops,
            mtu,
        )
    } else {
        header.address_words = 4;
        header.flags |= tunnel::flags::V6;
        over_ipv6(
            packet,
            bank,
            first,
            inner,
            &header,
            count,
            source_port,
            hops,
            mtu,
        )
    }
}

/// Bytes of all headers before a packet at most. A VIP has one MTU towards a client, whatever rows its flows have.
#[inline(always)]
pub(super) const fn overhead(first: &Backend) -> u16 {
    if first.address[0] == 0 {
        tunnel::OVERHEAD_V4
    } else {
        tunnel::OVERHEAD_V6
    }
}

#[derive(Clone, Copy)]
struct Hops {
    row: Row,
    base: u32,
}

impl Hops {
    #[inline(always)]
    fn backend(self, bank: &Bank, hop: u32) -> &Backend {
        bank.backend(self.base + self.row.hop(hop))
    }
}

wire! {
    /// All that is constant in length, over IPv4: one check against the end of the packet.
    OverIpv4 {
        ethernet: Ethernet,
        ip: Ipv4Words,
        udp: UdpWord,
        header: Words,
        first: Be32,
    }
    /// The same over IPv6.
    OverIpv6 {
        ethernet: Ethernet,
        ip: Ipv6Words,
        udp: UdpWord,
        header: Words,
        first: Address6,
    }
}

#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "inlined into the one packet function; a struct would be built on the stack"
)]
fn over_ipv4<P: Transit>(
    packet: &mut P,
    bank: &Bank,
    first: &Backend,
    inner: &Inner,
    header: &tunnel::First,
    count: u32,
    source_port: Be16,
    hops: Hops,
    mtu: u16,
) -> Result<(), Exit> {
    let udp_length = inner.length + (size_of::<Udp>() + Header::LENGTH) as u32 + 4 * count;
    let length = udp_length + size_of::<Ipv4>() as u32;
    make_room(packet, length - inner.length, inner.length, mtu, first)?;
    let outer = packet.get_mut::<OverIpv4>(0).or_leave(Exit::NoHeadroom)?;
    ethernet(&mut outer.ethernet, first, ETHERTYPE_IPV4);
    outer_ipv4(&mut outer.ip, bank, first, length, inner.tos, protocol::UDP);
    udp(&mut outer.udp, &bank.shared, source_port, udp_length);
    outer.header = header.words(bank.shared.header, bank.shared.generation);
    outer.first = Be32::from_raw(first.v4());
    const REST: usize = offset_of!(OverIpv4, first) + 4;
    put_rest(packet, REST, count, |hop| {
        Be32::from_raw(hops.backend(bank, hop).v4())
    })
}

#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "inlined into the one packet function; a struct would be built on the stack"
)]
fn over_ipv6<P: Transit>(
    packet: &mut P,
    bank: &Bank,
    first: &Backend,
    inner: &Inner,
    header: &tunnel::First,
    count: u32,
    source_port: Be16,
    hops: Hops,
    mtu: u16,
) -> Result<(), Exit> {
    let udp_length = inner.length + (size_of::<Udp>() + Header::LENGTH) as u32 + 16 * count;
    let length = udp_length + size_of::<Ipv6>() as u32;
    make_room(packet, length - inner.length, inner.length, mtu, first)?;
    let outer = packet.get_mut::<OverIpv6>(0).or_leave(Exit::NoHeadroom)?;
    ethernet(&mut outer.ethernet, first, ETHERTYPE_IPV6);
    let label = u32::from(inner.tos) << 20;
    outer_ipv6(&mut outer.ip, bank, first, udp_length, label, protocol::UDP);
    udp(&mut outer.udp, &bank.shared, source_port, udp_length);
    outer.header = header.words(bank.shared.header, bank.shared.generation);
    outer.first = Address6::of(first.address);
    const REST: usize = offset_of!(OverIpv6, first) + 16;
    put_rest(packet, REST, count, |hop| {
        Address6::of(hops.backend(bank, hop).address)
    })
}

/// The hops but the first: one check against the end of the packet.
#[inline(always)]
fn put_rest<P: Transit, A: View>(
    packet: &mut P,
    rest: usize,
    count: u32,
    hop: impl Fn(u32) -> A,
) -> Result<(), Exit> {
    if count == 4 {
        let place = packet.get_mut::<[A; 3]>(rest).or_leave(Exit::NoHeadroom)?;
        *place = [hop(1), hop(2), hop(3)];
    } else if count == 3 {
        let place = packet.get_mut::<[A; 2]>(rest).or_leave(Exit::NoHeadroom)?;
        *place = [hop(1), hop(2)];
    } else if count == 2 {
        *packet.get_mut::<A>(rest).or_leave(Exit::NoHeadroom)? = hop(1);
    }
    Ok(())
}
