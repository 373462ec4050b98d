//! The tunnel of rows: GUE with every hop of the row.

use super::headers::{ethernet, make_room, outer_ipv4, outer_ipv6, put_v6, source_port, udp};
use super::inner::Inner;
use super::{Choice, Exit, L3, L4_V4, L4_V6};
use crate::abi::{self, Backend, Bank};
use crate::exit::OrLeave as _;
use crate::packet::Packet;
use crate::tunnel::{self, Header};
use crate::wire::{Be16, Be32, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ipv4, Ipv6, Udp, protocol, v4_of};

/// Puts the headers before the packet.
#[inline(always)]
pub(super) fn encapsulate<P: Packet>(
    packet: &mut P,
    bank: &Bank,
    first: &Backend,
    inner: &Inner,
    &Choice {
        service,
        row,
        entropy,
    }: &Choice<'_>,
    probe: bool,
) -> Result<(), Exit> {
    let hops = Hops {
        row,
        base: service.first_backend,
    };
    let mut header = Header {
        variant_length: 0,
        protocol: inner.kind,
        gue_flags: Be16::new(0),
        version: tunnel::VERSION,
        index_count: hop_count(row),
        flags: bank.shared.tunnel_flags
            | service.tunnel_flags
            | if probe { tunnel::flags::PROBE } else { 0 },
        site: bank.shared.site,
        generation: Be16::from_raw(bank.shared.generation),
        reserved: Be16::new(0),
    };
    let source_port = source_port(entropy);
    let mtu = service.tunnel_mtu;
    if first.address[0] == 0 {
        header.variant_length = Header::length_words(header.count(), 1);
        over_ipv4(packet, bank, first, inner, &header, source_port, hops, mtu)
    } else {
        header.variant_length = Header::length_words(header.count(), 4);
        header.flags |= tunnel::flags::V6;
        over_ipv6(packet, bank, first, inner, &header, source_port, hops, mtu)
    }
}

#[derive(Clone, Copy)]
struct Hops {
    row: u64,
    base: u32,
}

impl Hops {
    #[inline(always)]
    fn backend(self, bank: &Bank, hop: u32) -> &Backend {
        bank.backend(self.base + ((self.row >> (16 * hop)) as u32 & 0xffff))
    }

    #[inline(always)]
    fn address(self, bank: &Bank, hop: u32) -> [u64; 2] {
        self.backend(bank, hop).address
    }
}

/// Hops that are there; absent ones are all at the end.
#[inline(always)]
const fn hop_count(row: u64) -> u8 {
    let absent = abi::ABSENT as u64;
    1 + ((row >> 16) & 0xffff != absent) as u8
        + ((row >> 32) & 0xffff != absent) as u8
        + (row >> 48 != absent) as u8
}

const GUE_V4: usize = L3 + size_of::<Ipv4>() + size_of::<Udp>();
const GUE_V6: usize = L3 + size_of::<Ipv6>() + size_of::<Udp>();

#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "inlined into the one packet function; a struct would be built on the stack"
)]
fn over_ipv4<P: Packet>(
    packet: &mut P,
    bank: &Bank,
    first: &Backend,
    inner: &Inner,
    header: &Header,
    source_port: Be16,
    hops: Hops,
    mtu: u16,
) -> Result<(), Exit> {
    let count = header.count();
    let udp_length =
        inner.length + (size_of::<Udp>() + Header::LENGTH) as u32 + 4 * u32::from(count);
    let length = udp_length + size_of::<Ipv4>() as u32;
    make_room(packet, length - inner.length, inner.length, mtu)?;
    ethernet(packet, first, ETHERTYPE_IPV4)?;
    outer_ipv4(packet, bank, first, length, inner.tos, protocol::UDP)?;
    udp(packet, L4_V4, &bank.shared, source_port, udp_length)?;
    *packet
        .get_mut::<Header>(GUE_V4)
        .or_leave(Exit::NoHeadroom)? = *header;
    const FIRST: usize = GUE_V4 + Header::LENGTH;
    *packet.get_mut::<Be32>(FIRST).or_leave(Exit::NoHeadroom)? =
        Be32::from_raw(v4_of(first.address));
    if count > 1 {
        *packet
            .get_mut::<Be32>(FIRST + 4)
            .or_leave(Exit::NoHeadroom)? = Be32::from_raw(v4_of(hops.address(bank, 1)));
    }
    if count > 2 {
        *packet
            .get_mut::<Be32>(FIRST + 8)
            .or_leave(Exit::NoHeadroom)? = Be32::from_raw(v4_of(hops.address(bank, 2)));
    }
    if count > 3 {
        *packet
            .get_mut::<Be32>(FIRST + 12)
            .or_leave(Exit::NoHeadroom)? = Be32::from_raw(v4_of(hops.address(bank, 3)));
    }
    Ok(())
}

#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "inlined into the one packet function; a struct would be built on the stack"
)]
fn over_ipv6<P: Packet>(
    packet: &mut P,
    bank: &Bank,
    first: &Backend,
    inner: &Inner,
    header: &Header,
    source_port: Be16,
    hops: Hops,
    mtu: u16,
) -> Result<(), Exit> {
    let count = header.count();
    let udp_length =
        inner.length + (size_of::<Udp>() + Header::LENGTH) as u32 + 16 * u32::from(count);
    let length = udp_length + size_of::<Ipv6>() as u32;
    make_room(packet, length - inner.length, inner.length, mtu)?;
    ethernet(packet, first, ETHERTYPE_IPV6)?;
    let label = u32::from(inner.tos) << 20;
    outer_ipv6(packet, bank, first, udp_length, label, protocol::UDP)?;
    udp(packet, L4_V6, &bank.shared, source_port, udp_length)?;
    *packet
        .get_mut::<Header>(GUE_V6)
        .or_leave(Exit::NoHeadroom)? = *header;
    const FIRST: usize = GUE_V6 + Header::LENGTH;
    put_v6(packet, FIRST, first.address)?;
    if count > 1 {
        put_v6(packet, FIRST + 16, hops.address(bank, 1))?;
    }
    if count > 2 {
        put_v6(packet, FIRST + 32, hops.address(bank, 2))?;
    }
    if count > 3 {
        put_v6(packet, FIRST + 48, hops.address(bank, 3))?;
    }
    Ok(())
}
