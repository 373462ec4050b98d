//! The tunnel of rows: GUE with every hop of the row.

use super::headers::{FrontIpv4, FrontIpv6, UdpIpv4, UdpIpv6, make_room};
use super::inner::Inner;
use super::{Choice, Exit, Mark};
use crate::abi::{Backend, Bank, Row};
use crate::exit::OrLeave as _;
use crate::packet::Transit;
use crate::tunnel::{self, HOPS_MAX, Header, Words, flags, start};
use crate::wire::{Address6, Be32, Be64, Ipv4, Ipv6, Udp, protocol, wire};

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
    let start = bank.shared.header
        + start::protocol(inner.kind)
        + start::flags(service.tunnel_flags)
        + mark.or_zero(start::flags(flags::PROBE));
    let mtu = service.tunnel_mtu;
    if first.address[0] == 0 {
        over_ipv4(packet, bank, first, inner, start, count, hash, hops, mtu)
    } else {
        let start = start + start::flags(flags::V6);
        over_ipv6(packet, bank, first, inner, start, count, hash, hops, mtu)
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
    /// All headers over IPv4. Where there are fewer hops, the packet goes on there: shorter than the other hops it is not.
    OverIpv4 {
        front: FrontIpv4,
        udp: UdpIpv4,
        header: Words,
        hops: [Be32; HOPS_MAX],
    }
    /// All that is constant in length, over IPv6.
    OverIpv6 {
        front: FrontIpv6,
        udp: UdpIpv6,
        header: Words,
        first: Address6,
    }
}

/// Of the private data's header, UDP and GUE.
const SHIM: u32 = (size_of::<Udp>() + Header::LENGTH) as u32;

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
    start: u64,
    count: u32,
    hash: u64,
    hops: Hops,
    mtu: u16,
) -> Result<(), Exit> {
    let udp_length = inner.length + SHIM + 4 * count;
    let length = udp_length + size_of::<Ipv4>() as u32;
    make_room(packet, length - inner.length, inner.length, mtu, first)?;
    let outer = packet.get_mut::<OverIpv4>(0).or_leave(Exit::NoHeadroom)?;
    outer.front.put(first, length, inner.tos, protocol::UDP);
    outer.udp.put(first, hash, udp_length);
    outer.header = words(bank, start + u64::from(count) * start::ADDRESS_V4);
    let hop = |hop| Be32::from_raw(hops.backend(bank, hop).v4());
    outer.hops[0] = Be32::from_raw(first.v4());
    if count == 4 {
        (outer.hops[1], outer.hops[2], outer.hops[3]) = (hop(1), hop(2), hop(3));
    } else if count == 3 {
        (outer.hops[1], outer.hops[2]) = (hop(1), hop(2));
    } else if count == 2 {
        outer.hops[1] = hop(1);
    }
    Ok(())
}

const _: () = assert!(size_of::<Ipv4>() >= (HOPS_MAX - 1) * size_of::<Be32>());

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
    start: u64,
    count: u32,
    hash: u64,
    hops: Hops,
    mtu: u16,
) -> Result<(), Exit> {
    let udp_length = inner.length + SHIM + 16 * count;
    let length = udp_length + size_of::<Ipv6>() as u32;
    make_room(packet, length - inner.length, inner.length, mtu, first)?;
    let outer = packet.get_mut::<OverIpv6>(0).or_leave(Exit::NoHeadroom)?;
    let tos = inner.tos;
    outer
        .front
        .put(first, bank, udp_length, tos, 0, protocol::UDP);
    outer.udp.put(first, hash, udp_length);
    outer.header = words(bank, start + u64::from(count) * start::ADDRESS_V6);
    outer.first = Address6::of(first.address);
    put_rest(packet, count, |hop| {
        Address6::of(hops.backend(bank, hop).address)
    })
}

#[inline(always)]
const fn words(bank: &Bank, start: u64) -> Words {
    Words {
        start: Be64::new(start),
        rest: bank.shared.generation,
    }
}

/// The hops but the first: one check against the end of the packet.
#[inline(always)]
fn put_rest<P: Transit>(
    packet: &mut P,
    count: u32,
    hop: impl Fn(u32) -> Address6,
) -> Result<(), Exit> {
    const REST: usize = size_of::<OverIpv6>();
    if count == 4 {
        let place = packet.get_mut::<[Address6; 3]>(REST);
        *place.or_leave(Exit::NoHeadroom)? = [hop(1), hop(2), hop(3)];
    } else if count == 3 {
        let place = packet.get_mut::<[Address6; 2]>(REST);
        *place.or_leave(Exit::NoHeadroom)? = [hop(1), hop(2)];
    } else if count == 2 {
        let place = packet.get_mut::<Address6>(REST);
        *place.or_leave(Exit::NoHeadroom)? = hop(1);
    }
    Ok(())
}
