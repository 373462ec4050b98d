//! The LB node's decision: is it for a VIP, which row, which hops; then the headers.
//!
//! One packet goes once through [`run`]: address, service, source, row, backend, headers. Foreign packets leave at the
//! first address that is no VIP, untouched.

use crate::abi::{self, Backend, Bank, ServiceEntry, Shared, VipEntry, backend_flags, kind};
use crate::exit::{OrLeave as _, exits, leave};
use crate::flow::FlowHash;
use crate::ipv6::{NoUpperLayer, upper_layer};
use crate::packet::{Packet, View};
use crate::tunnel::{self, Header};
use crate::wire::{
    Be16, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, IPV4_DF, IPV4_FRAGMENT_MASK, Ipv4, Ipv6, Tcp,
    Udp, fold, halves, protocol, tcp_flags, v4_mapped, v4_of,
};
use crate::wire::{Be32, Ports};

/// The maps, as the decision sees them. Indexes are those of [`crate::abi`].
pub trait Tables {
    /// The bank in use.
    fn bank(&self) -> Option<&Bank>;
    /// A packed row.
    fn row(&self, table: u32, row: u32) -> Option<u64>;
    /// Counts one packet of a service.
    fn count_service(&self, counter: u32, bytes: u32, new_flow: bool);
    /// Counts one packet of a backend as first hop.
    fn count_backend(&self, counter: u32, bytes: u32);
}

exits! {
    /// Neither IPv4 nor IPv6, or too short to tell.
    NotIp = "not_ip", Pass, "";
    /// The destination is no VIP.
    NotVip = "not_vip", Pass, "";
    /// No agent has applied anything yet.
    NoRoot = "no_root", Pass, "start the agent";
    /// A node's own probe; its real exit went to the prober.
    Probe = "probe", Pass, "";
    /// Sent to the first hop.
    Sent = "sent", Transmit, "";
    /// Lengths or header fields lie.
    Malformed = "malformed", Drop, "broken sender, or an attack";
    /// The source is a VIP, a node, a backend, loopback or multicast.
    BadSource = "bad_source", Drop, "spoofed sources: filter them at the edge; nodes and backends cannot be clients of a VIP";
    /// The VIP has no such service.
    NoService = "no_service", Drop, "clients use a port or protocol that no [[service]] has";
    /// A fragment.
    Fragment = "fragment", Drop, "fragments to a VIP are not supported in this version: lower the clients' path MTU";
    /// TTL or hop limit is used up.
    TtlExceeded = "ttl_exceeded", Drop, "a traceroute, or a routing loop";
    /// It does not fit the tunnel.
    TooBig = "too_big", Drop, "let [backend] mss = \"auto\" lower the MSS, or raise the MTU between nodes and backends";
    /// The service's table is not there.
    NoTable = "no_table", Drop, "the agent's maps do not agree: restart the agent";
    /// The row names no backend.
    NoBackend = "no_backend", Drop, "the pool has no backend";
    /// The backend's next hop is not resolved.
    NoNextHop = "no_next_hop", Drop, "no route or neighbour towards the backend: see `anylb backend list`";
    /// No headroom for the headers.
    NoHeadroom = "no_headroom", Drop, "the driver leaves too little room before a packet";
}

/// A packet for a VIP, as far as the parser has come.
#[derive(Clone, Copy)]
struct Inner {
    protocol: u8,
    /// DSCP and ECN.
    tos: u8,
    /// Offset of the transport header.
    transport: usize,
    /// IP header and payload, bytes.
    length: u32,
    /// 4 or 41, as the tunnel header names it.
    kind: u8,
}

/// Decides about one packet and, where it is ours, puts the tunnel headers before it.
#[inline(always)]
pub fn run<P: Packet, T: Tables>(packet: &mut P, tables: &T, probe: bool) -> Exit {
    match decide(packet, tables, probe) {
        Ok(exit) | Err(exit) => exit,
    }
}

const L3: usize = size_of::<Ethernet>();
const L4_V4: usize = L3 + size_of::<Ipv4>();
const L4_V6: usize = L3 + size_of::<Ipv6>();

#[inline(always)]
fn decide<P: Packet, T: Tables>(packet: &mut P, tables: &T, probe: bool) -> Result<Exit, Exit> {
    let ethertype = packet.get::<Ethernet>(0).or_leave(Exit::NotIp)?.ethertype;
    if ethertype == ETHERTYPE_IPV4 {
        let ip = packet.get::<Ipv4>(L3).or_leave(Exit::NotIp)?;
        let bank = tables.bank().or_leave(Exit::NoRoot)?;
        let vip = find_vip(bank, v4_mapped(ip.destination))?;
        let inner = ipv4(packet, ip)?;
        let addresses = (ip.source, ip.destination);
        if inner.protocol == protocol::TCP {
            flow_v4::<Tcp, _, _>(packet, tables, bank, vip, &inner, addresses, probe)
        } else if inner.protocol == protocol::UDP {
            flow_v4::<Udp, _, _>(packet, tables, bank, vip, &inner, addresses, probe)
        } else {
            leave(Exit::NoService)
        }
    } else if ethertype == ETHERTYPE_IPV6 {
        let ip = packet.get::<Ipv6>(L3).or_leave(Exit::NotIp)?;
        let bank = tables.bank().or_leave(Exit::NoRoot)?;
        let vip = find_vip(bank, ip.destination)?;
        let inner = ipv6(packet, ip)?;
        let addresses = (ip.source, ip.destination);
        if inner.protocol == protocol::TCP {
            flow_v6::<Tcp, _, _>(packet, tables, bank, vip, &inner, addresses, probe)
        } else if inner.protocol == protocol::UDP {
            flow_v6::<Udp, _, _>(packet, tables, bank, vip, &inner, addresses, probe)
        } else {
            leave(Exit::NoService)
        }
    } else {
        leave(Exit::NotIp)
    }
}

/// A transport header with ports. Each has code of its own to the end: joined behind the header, a packet cost 4 ns more.
trait Transport: View {
    const PROTOCOL: u8;
    fn ports(&self) -> Ports;
    /// Of TCP.
    fn flags(&self) -> u8;
}

impl Transport for Tcp {
    const PROTOCOL: u8 = protocol::TCP;

    #[inline(always)]
    fn ports(&self) -> Ports {
        self.ports
    }

    #[inline(always)]
    fn flags(&self) -> u8 {
        self.flags
    }
}

impl Transport for Udp {
    const PROTOCOL: u8 = protocol::UDP;

    #[inline(always)]
    fn ports(&self) -> Ports {
        self.ports
    }

    #[inline(always)]
    fn flags(&self) -> u8 {
        0
    }
}

#[inline(always)]
fn flow_v4<H: Transport, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    bank: &Bank,
    vip: Vip,
    inner: &Inner,
    (source, destination): (u32, u32),
    probe: bool,
) -> Result<Exit, Exit> {
    let (ports, flags) = transport::<H, P>(packet, inner, L4_V4)?;
    let flow = &bank.shared.flow;
    let hash = flow.ipv4(source, destination, ports, H::PROTOCOL);
    let choice = choose(tables, bank, vip, H::PROTOCOL, ports, hash)?;
    check_source_v4(bank, source)?;
    age_ipv4(packet)?;
    forward(packet, tables, bank, inner, &choice, flags, probe)
}

#[inline(always)]
fn flow_v6<H: Transport, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    bank: &Bank,
    vip: Vip,
    inner: &Inner,
    (source, destination): ([u64; 2], [u64; 2]),
    probe: bool,
) -> Result<Exit, Exit> {
    let (ports, flags) = transport::<H, P>(packet, inner, L4_V6)?;
    let flow = &bank.shared.flow;
    let hash = flow.ipv6(source, destination, ports, H::PROTOCOL);
    let choice = choose(tables, bank, vip, H::PROTOCOL, ports, hash)?;
    check_source_v6(bank, source)?;
    age_ipv6(packet)?;
    forward(packet, tables, bank, inner, &choice, flags, probe)
}

/// A VIP of the bank.
#[derive(Clone, Copy)]
struct Vip {
    id: u32,
    /// Its place in the indexes.
    mixed: u64,
}

/// The VIP, or the way out for packets that are not ours.
#[inline(always)]
fn find_vip(bank: &Bank, address: [u64; 2]) -> Result<Vip, Exit> {
    let mixed = bank.mix(address);
    match bank.find_address(address, mixed) {
        Some(VipEntry {
            kind: kind::VIP,
            id,
            ..
        }) => Ok(Vip { id: *id, mixed }),
        _ => leave(Exit::NotVip),
    }
}

#[inline(always)]
fn ipv4<P: Packet>(packet: &P, ip: &Ipv4) -> Result<Inner, Exit> {
    let header = usize::from(ip.version_ihl & 15) * 4;
    if ip.version_ihl >> 4 != 4 || header < size_of::<Ipv4>() {
        return leave(Exit::Malformed);
    }
    if ip.fragment.value() & IPV4_FRAGMENT_MASK != 0 {
        return leave(Exit::Fragment);
    }
    let length = usize::from(ip.total_length.value());
    if length < header || L3 + length > packet.len() {
        return leave(Exit::Malformed);
    }
    Ok(Inner {
        protocol: ip.protocol,
        tos: ip.tos,
        transport: L3 + header,
        length: length as u32,
        kind: protocol::IPV4,
    })
}

#[inline(always)]
fn ipv6<P: Packet>(packet: &P, ip: &Ipv6) -> Result<Inner, Exit> {
    let label = ip.version_class_label.value();
    if label >> 28 != 6 {
        return leave(Exit::Malformed);
    }
    let length = size_of::<Ipv6>() + usize::from(ip.payload_length.value());
    if L3 + length > packet.len() {
        return leave(Exit::Malformed);
    }
    let (protocol, transport) = match upper_layer(packet, ip.next_header, L4_V6) {
        Ok(found) => found,
        Err(NoUpperLayer::Fragment) => return leave(Exit::Fragment),
        Err(NoUpperLayer::Malformed) => return leave(Exit::Malformed),
    };
    Ok(Inner {
        protocol,
        tos: (label >> 20) as u8,
        transport,
        length: length as u32,
        kind: protocol::IPV6,
    })
}

/// Ports and TCP flags of a packet whose IP header is sound; the transport header lies inside the IP packet, at the constant
/// offset `usual` where there are no options.
#[inline(always)]
fn transport<H: Transport, P: Packet>(
    packet: &P,
    inner: &Inner,
    usual: usize,
) -> Result<(Ports, u8), Exit> {
    if inner.transport + size_of::<H>() > L3 + inner.length as usize {
        return leave(Exit::Malformed);
    }
    let header = if inner.transport == usual {
        packet.get::<H>(usual)
    } else {
        packet.get_at::<H>(inner.transport)
    };
    let header = header.or_leave(Exit::Malformed)?;
    Ok((header.ports(), header.flags()))
}

/// Where a packet goes.
struct Choice<'b> {
    service: &'b ServiceEntry,
    row: u64,
    /// For the outer source port.
    entropy: u16,
}

/// The row is read as early as can be: it is the one read that misses the first-level cache, and what follows hides a part of
/// that.
#[inline(always)]
fn choose<'b, T: Tables>(
    tables: &T,
    bank: &'b Bank,
    vip: Vip,
    protocol: u8,
    ports: Ports,
    hash: FlowHash,
) -> Result<Choice<'b>, Exit> {
    let key = abi::service_key(vip.id, protocol, ports.destination.value());
    let service = bank
        .find_service(key, vip.mixed)
        .or_leave(Exit::NoService)?;
    let row = tables
        .row(service.table, hash.hash as u32 & (abi::ROWS - 1))
        .or_leave(Exit::NoTable)?;
    Ok(Choice {
        service,
        row,
        entropy: hash.entropy,
    })
}

/// No client has an address that only this host may use, or that the datapath knows.
#[inline(always)]
fn check_source_v4(bank: &Bank, source: u32) -> Result<(), Exit> {
    let first = source & u32::from_be(0xff00_0000);
    if first == u32::from_be(0x7f00_0000)
        || first == 0
        || source & u32::from_be(0xe000_0000) == u32::from_be(0xe000_0000)
    {
        return leave(Exit::BadSource);
    }
    check_source(bank, v4_mapped(source))
}

#[inline(always)]
fn check_source_v6(bank: &Bank, source: [u64; 2]) -> Result<(), Exit> {
    let [high, low] = source;
    let loopback_or_unspecified = high == 0 && u64::from_be(low) <= 1;
    if loopback_or_unspecified || high.to_be() >> 56 == 0xff {
        return leave(Exit::BadSource);
    }
    check_source(bank, source)
}

#[inline(always)]
fn check_source(bank: &Bank, source: [u64; 2]) -> Result<(), Exit> {
    if bank.find_address(source, bank.mix(source)).is_some() {
        return leave(Exit::BadSource);
    }
    Ok(())
}

/// Takes one from the TTL (RFC 791, RFC 1624).
#[inline(always)]
fn age_ipv4<P: Packet>(packet: &mut P) -> Result<(), Exit> {
    let ip = packet.get_mut::<Ipv4>(L3).or_leave(Exit::Malformed)?;
    if ip.ttl <= 1 {
        return leave(Exit::TtlExceeded);
    }
    ip.ttl -= 1;
    let sum = u32::from(ip.checksum) + u32::from(0x0100_u16.to_be());
    ip.checksum = (sum + u32::from(sum >= 0xffff)) as u16;
    Ok(())
}

#[inline(always)]
fn age_ipv6<P: Packet>(packet: &mut P) -> Result<(), Exit> {
    let ip = packet.get_mut::<Ipv6>(L3).or_leave(Exit::Malformed)?;
    if ip.hop_limit <= 1 {
        return leave(Exit::TtlExceeded);
    }
    ip.hop_limit -= 1;
    Ok(())
}

/// Hops, headers, counters.
#[inline(always)]
fn forward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    bank: &Bank,
    inner: &Inner,
    &Choice {
        service,
        row,
        entropy,
    }: &Choice<'_>,
    flags: u8,
    probe: bool,
) -> Result<Exit, Exit> {
    if row as u16 == abi::ABSENT {
        return leave(Exit::NoBackend);
    }
    let hops = Hops {
        row,
        base: service.first_backend,
    };
    let first = hops.backend(bank, 0);
    if first.address[1] == 0 {
        return leave(Exit::NoBackend);
    }
    if first.flags & backend_flags::REACHABLE == 0 {
        return leave(Exit::NoNextHop);
    }
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
    let source_port = Be16::new(0xc000 | entropy & 0x3fff);
    if first.address[0] == 0 {
        header.variant_length = Header::length_words(header.count(), 1);
        over_ipv4(
            packet,
            bank,
            first,
            inner,
            &header,
            source_port,
            hops,
            u32::from(service.tunnel_mtu),
        )?;
    } else {
        header.variant_length = Header::length_words(header.count(), 4);
        header.flags |= tunnel::flags::V6;
        over_ipv6(
            packet,
            bank,
            first,
            inner,
            &header,
            source_port,
            hops,
            u32::from(service.tunnel_mtu),
        )?;
    }
    if !probe {
        let new_flow = flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN;
        tables.count_service(service.service_counter, inner.length, new_flow);
        tables.count_backend(service.first_counter + (row & 0xffff) as u32, inner.length);
    }
    Ok(Exit::Sent)
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
    mtu: u32,
) -> Result<(), Exit> {
    let count = header.count();
    let udp_length =
        inner.length + (size_of::<Udp>() + Header::LENGTH) as u32 + 4 * u32::from(count);
    let length = udp_length + size_of::<Ipv4>() as u32;
    if length > mtu {
        return leave(Exit::TooBig);
    }
    if !packet.grow((length - inner.length) as i32) {
        return leave(Exit::NoHeadroom);
    }
    ethernet(packet, first, ETHERTYPE_IPV4)?;
    let ip = packet.get_mut::<Ipv4>(L3).or_leave(Exit::NoHeadroom)?;
    let length = Be16::new(length as u16);
    let sum =
        first.checksum + u32::from(length.raw()) + u32::from(Be16::new(u16::from(inner.tos)).raw());
    *ip = Ipv4 {
        version_ihl: 0x45,
        tos: inner.tos,
        total_length: length,
        identification: Be16::new(0),
        fragment: Be16::new(IPV4_DF),
        ttl: 64,
        protocol: protocol::UDP,
        checksum: !fold(sum),
        source: bank.shared.source_v4,
        destination: v4_of(first.address),
    };
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
    mtu: u32,
) -> Result<(), Exit> {
    let count = header.count();
    let udp_length =
        inner.length + (size_of::<Udp>() + Header::LENGTH) as u32 + 16 * u32::from(count);
    let length = udp_length + size_of::<Ipv6>() as u32;
    if length > mtu {
        return leave(Exit::TooBig);
    }
    if !packet.grow((length - inner.length) as i32) {
        return leave(Exit::NoHeadroom);
    }
    ethernet(packet, first, ETHERTYPE_IPV6)?;
    let ip = packet.get_mut::<Ipv6>(L3).or_leave(Exit::NoHeadroom)?;
    ip.version_class_label = Be32::new(6 << 28 | u32::from(inner.tos) << 20);
    ip.payload_length = Be16::new(udp_length as u16);
    ip.next_header = protocol::UDP;
    ip.hop_limit = 64;
    ip.set_addresses(bank.shared.source_v6, first.address);
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

#[repr(C, packed)]
#[derive(
    Clone,
    Copy,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
    zerocopy::Unaligned,
)]
struct Address6 {
    high: u64,
    low: u64,
}

#[inline(always)]
fn put_v6<P: Packet>(packet: &mut P, offset: usize, address: [u64; 2]) -> Result<(), Exit> {
    let [high, low] = address;
    let place = packet
        .get_mut::<Address6>(offset)
        .or_leave(Exit::NoHeadroom)?;
    place.high = high;
    place.low = low;
    Ok(())
}

#[inline(always)]
fn ethernet<P: Packet>(packet: &mut P, to: &Backend, ethertype: Be16) -> Result<(), Exit> {
    let ethernet = packet.get_mut::<Ethernet>(0).or_leave(Exit::NoHeadroom)?;
    ethernet.macs_low = to.macs_low;
    ethernet.macs_high = to.macs_high;
    ethernet.ethertype = ethertype;
    Ok(())
}

#[inline(always)]
fn udp<P: Packet>(
    packet: &mut P,
    offset: usize,
    shared: &Shared,
    source_port: Be16,
    length: u32,
) -> Result<(), Exit> {
    *packet.get_mut::<Udp>(offset).or_leave(Exit::NoHeadroom)? = Udp {
        ports: Ports {
            source: source_port,
            destination: Be16::from_raw(shared.tunnel_port),
        },
        length: Be16::new(length as u16),
        checksum: 0,
    };
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
