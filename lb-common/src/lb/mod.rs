//! The LB node's decision: is it for a VIP, which row, which hops; then the headers.
//!
//! | file | holds |
//! |---|---|
//! | this | the way of a packet: address, service, source, row, backend, headers, counters |
//! | `inner` | what the client sent |
//! | `rows` | the tunnel with every hop of the row |
//! | `plain` | tunnels that any host can end |
//! | `l2` | no tunnel: other MAC addresses |
//! | `headers` | what tunnels have in common |
//! | `icmp` | ICMP to a VIP: errors to the backend of the quoted flow |
//! | `echo` | pings of a VIP |
//! | `fragment` | fragments |
//! | [`prefix`] | VIPs that are prefixes |
//! | `aside` | what is done in a function of its own |
//! | [`extra`] | what a service has beyond the common way |
//! | `too_big` | answers about what does not fit the tunnel |
//! | [`Mark`] | which packets are probes |
//! | [`trace`] | which packets `anylb trace` tells of |
//!
//! One packet goes once through [`run`]. Foreign packets leave at the first address that is no VIP, untouched.

pub mod aside;
mod echo;
pub mod extra;
mod fragment;
mod headers;
pub mod icmp;
mod inner;
mod l2;
mod mark;
mod plain;
pub mod prefix;
mod rows;
mod too_big;
pub mod trace;

pub use headers::prepare;

use crate::abi::{self, Backend, Bank, Row, ServiceEntry, VipEntry, backend_flags, encap, kind};
use crate::exit::{OrLeave as _, exits, leave};
use crate::filter::Element;
use crate::flow::Flow;
use crate::flow_table::{Bucket, Outcome};
use crate::packet::{Transit, is_zero};
use crate::rate::Rate;
use crate::sources::{is_special_v4, is_special_v6};
use crate::wire::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, Ethernet, Ipv4, Ipv6, Tcp, Udp, protocol,
    v4_mapped, wire,
};
use extra::Case;
use inner::{Inner, Transport};
pub use mark::Mark;

/// The maps, as the decision sees them. Indexes are those of [`crate::abi`].
pub trait Tables {
    /// Whether this box may be a backend as well, to which packets go without leaving.
    const BACKEND: bool;
    /// The bank in use.
    fn bank(&self) -> Option<&Bank>;
    /// A row. `table` lies in the bank or in a case.
    fn row(&self, table: &u32, row: u32) -> Option<Row>;
    /// Elements of the filter in this slot, by their index.
    fn filter<'t>(&'t self, slot: u32) -> Option<impl Fn(u32) -> Option<&'t Element>>;
    /// Takes one packet from a bucket of the service with this counter; true as well where there is no bucket.
    fn take(&self, service: u32, bucket: u32, rate: &Rate) -> bool;
    /// [`extra::run`], in a function of its own.
    fn extra(&self, bank: &Bank, case: &Case) -> u64;
    /// [`prefix::number`], in a function of its own.
    fn prefix(&self, bank: &Bank, address: [u64; 2]) -> u32;
    /// Buckets of the flow table that each CPU has; zero: there is none.
    fn flow_buckets(&self) -> u32;
    /// Works on one of this CPU's; none where it has none of that number.
    fn flow_bucket<R>(&self, number: u32, work: impl FnOnce(&mut Bucket) -> R) -> Option<R>;
    /// The present tick of the flow table.
    fn tick(&self) -> u16;
    /// Counts what became of a packet there.
    fn count_flow(&self, outcome: Outcome);
    /// Counts a flow of a service that a packet opens.
    fn count_new_flow(&self, service: u32);
    /// Counts one packet of a service and its first hop.
    fn count_backend(&self, counter: u32, bytes: u32);
    /// Counts one ICMP error for a VIP that was sent to a backend; `error`: its place in [`icmp::ERRORS`].
    fn count_error(&self, ingress: u32, error: u32);
    /// Takes one from the budget of packets that the node itself answers; false where it is used up.
    fn may_answer(&self, bank: &Bank) -> bool;
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
    /// Sent to the first hop, by the interface that the packet came in by.
    Sent = "sent", Transmit, "";
    /// Sent to the first hop by another interface.
    Redirected = "redirected", Redirect, "";
    /// A ping of a VIP, answered.
    EchoReply = "echo_reply", Transmit, "";
    /// A ping of a VIP, one too many.
    EchoLimited = "echo_limited", Drop, "more pings to VIPs than a CPU answers per second: somebody measures often, or a flood";
    /// ICMP to a VIP that is neither a ping nor an error about TCP or UDP.
    Icmp = "icmp", Drop, "VIPs answer pings and take errors about their flows; nothing else is of use to them";
    /// Lengths or header fields lie.
    Malformed = "malformed", Drop, "broken sender, or an attack";
    /// The source is a VIP, a node, a backend, loopback or multicast.
    BadSource = "bad_source", Drop, "spoofed sources: filter them at the edge; nodes and backends cannot be clients of a VIP";
    /// The VIP has no such service.
    NoService = "no_service", Drop, "clients use a port or protocol that no [[service]] has";
    /// A fragment that no service takes.
    Fragment = "fragment", Drop, "no service of the VIP takes fragments: `fragments = true` at one of UDP, and of TCP with `hash = \"src-dst\"`";
    /// A first fragment without the whole transport header, or one that would write over it.
    TinyFragment = "tiny_fragment", Drop, "nobody cuts packets so small but to hide what they are";
    /// TTL or hop limit is used up.
    TtlExceeded = "ttl_exceeded", Drop, "a traceroute, or a routing loop";
    /// An ICMP message that does not fit the tunnel: it is not answered.
    TooBig = "too_big", Drop, "raise the MTU between nodes and backends";
    /// The service's table is not there.
    NoTable = "no_table", Drop, "the agent's maps do not agree: restart the agent";
    /// The row names no backend.
    NoBackend = "no_backend", Drop, "the pool has no backend";
    /// The backend's next hop is not resolved.
    NoNextHop = "no_next_hop", Drop, "no route or neighbour towards the backend: see `anylb backend list`";
    /// A frame from the backend that it would be sent to.
    L2Loop = "l2_loop", Drop, "a backend of an `encap = \"l2\"` pool routes the VIP instead of having it on lo: ip address add VIP dev lo";
    /// No headroom for the headers.
    NoHeadroom = "no_headroom", Drop, "the driver leaves too little room before a packet";
    /// The first hop is this box, which is a backend as well.
    Local = "local", Local, "";
    /// The first hop is this box, and its backend's program is not there.
    NoLocalBackend = "no_local_backend", Drop, "the backend's program is not loaded: restart the agent";
    /// It does not fit the tunnel; the sender was told what does.
    TooBigAnswered = "too_big_answered", Transmit, "";
    /// It does not fit the tunnel and must not be fragmented; more such packets than are answered.
    TooBigLimited = "too_big_limited", Drop, "let [backend] mss = \"auto\" lower the MSS, or raise the MTU between nodes and backends";
    /// It does not fit the tunnel, and its sender wants no answer: IPv4 without DF.
    TooBigNoDf = "too_big_no_df", Drop, "raise the MTU between nodes and backends, or keep clients' datagrams small: nodes do not fragment";
    /// An ICMP error about a packet that the VIP did not send.
    QuotesOther = "quotes_other", Drop, "a forged error, or a router that rewrites addresses";
    /// An ICMP error about a fragment that is not the first: it names no flow.
    QuotesFragment = "quotes_fragment", Drop, "servers send datagrams larger than the path's MTU: keep them small";
    /// A prefix of the service's deny list is the longest around the source.
    Denied = "denied", Drop, "sources that the service's `deny` names";
    /// The service has an allow list, and the source is not in it.
    NotAllowed = "not_allowed", Drop, "sources that the service's `allow` does not name: add them, or somebody tries what is not for him";
    /// More packets to the service than its `rate_limit`.
    RateLimited = "rate_limited", Drop, "more than the service's `rate_limit`: raise it, or there is a flood";
    /// More packets from the source's prefix than the service's `rate_limit_source`.
    SourceLimited = "source_limited", Drop, "sources that send more than `rate_limit_source`: raise it for large networks behind one address, or raise `node.rate_buckets` where few send so much";
    /// It opens a connection to a service that takes known flows only.
    AttackSyn = "attack_syn", Drop, "the service has `attack = true`: its clients open no new connections until that is taken back";
    /// A fragment for such a service, of no flow that the node remembers by its fragments.
    AttackFragment = "attack_fragment", Drop, "the service has `attack = true`, and a fragment does not say which flow it is of";
    /// The node remembers no such flow of such a service.
    AttackUnknown = "attack_unknown", Drop, "the service has `attack = true`: a flood, or flows that came to another node or CPU before";
}

const _: () = assert!(Exit::ALL.len() <= (abi::EXITS_MAX - abi::ERRORS_MAX) as usize);

impl Exit {
    /// Where a client's packet would have left whose probe has left here.
    #[must_use]
    pub const fn of_client(self) -> Self {
        match self {
            Self::Probe => Self::Sent,
            exit => exit,
        }
    }
}

/// Decides about one packet and, where it is ours, puts the tunnel headers before it.
#[inline(always)]
pub fn run<P: Transit, T: Tables>(packet: &mut P, tables: &T, mark: Mark) -> Exit {
    match decide(packet, tables, mark) {
        Ok(exit) | Err(exit) => exit,
    }
}

const L3: usize = size_of::<Ethernet>();
const L4_V4: usize = L3 + size_of::<Ipv4>();
const L4_V6: usize = L3 + size_of::<Ipv6>();

#[inline(always)]
fn decide<P: Transit, T: Tables>(packet: &mut P, tables: &T, mark: Mark) -> Result<Exit, Exit> {
    // Views of their own: seen through one, every packet would be checked a second time behind the tags.
    let plain = *packet;
    let untagged;
    let mut front = plain.get::<Front>(0).or_leave(Exit::NotIp)?;
    if front.ethernet.is_tagged() {
        skip_tags(packet)?;
        untagged = *packet;
        front = untagged.get(0).or_leave(Exit::NotIp)?;
    }
    let Front { ethernet, ip } = front;
    let ethertype = ethernet.ethertype;
    let (bank, vip, inner) = if ethertype == ETHERTYPE_IPV4 {
        let bank = tables.bank().or_leave(Exit::NoRoot)?;
        let vip = find_vip(tables, bank, v4_mapped(ip.destination))?;
        let inner = inner::ipv4(packet, ip)?;
        let addresses = (ip.source, ip.destination);
        if inner.is(protocol::TCP) {
            return flow_v4::<Tcp, _, _>(packet, tables, bank, vip, &inner, addresses, mark);
        } else if inner.is(protocol::UDP) {
            return flow_v4::<Udp, _, _>(packet, tables, bank, vip, &inner, addresses, mark);
        }
        inner::check_length(&inner)?;
        if !inner.is(protocol::ICMP) && !inner.is_fragment() {
            return leave(Exit::NoService);
        }
        check_source_v4(tables, bank, ip.source)?;
        (bank, vip, inner)
    } else if ethertype == ETHERTYPE_IPV6 {
        let ip = packet.get::<Ipv6>(L3).or_leave(Exit::NotIp)?;
        let bank = tables.bank().or_leave(Exit::NoRoot)?;
        if is_special_v6(ip.destination) {
            return leave(Exit::NotVip);
        }
        let vip = find_vip(tables, bank, ip.destination)?;
        let inner = inner::ipv6(packet, ip)?;
        let addresses = (ip.source, ip.destination);
        if inner.is(protocol::TCP) {
            return flow_v6::<Tcp, _, _>(packet, tables, bank, vip, &inner, addresses, mark);
        } else if inner.is(protocol::UDP) {
            return flow_v6::<Udp, _, _>(packet, tables, bank, vip, &inner, addresses, mark);
        } else if !inner.is(protocol::ICMPV6) && !inner.is_fragment() {
            return leave(Exit::NoService);
        }
        check_source_v6(tables, bank, addresses.0)?;
        (bank, vip, inner)
    } else {
        return leave(Exit::NotIp);
    };
    // Of both families and kinds, so that there are no more copies of what follows.
    let errand = if inner.is_fragment() {
        fragment::read(packet, bank, vip, &inner)?
    } else {
        match icmp::read(packet, bank, vip, &inner)? {
            Some(errand) => errand,
            None => return echo::reply(packet, tables, bank, &inner),
        }
    };
    errand.run(packet, tables, bank, &inner, mark)
}

/// What a packet without a transport header of its own is sent on for.
struct Errand<'b> {
    service: &'b ServiceEntry,
    /// The client's.
    flow: Flow,
    /// See [`extra::about`].
    about: u8,
    v4: bool,
    /// Its place in [`icmp::ERRORS`], or [`NO_ERROR`]; settled, or the compiler asks for the protocol once more and leaves this
    /// undefined, which the verifier cannot follow.
    error: u32,
}

/// [`Errand::error`] of what is none.
const NO_ERROR: u32 = u32::MAX;

impl Errand<'_> {
    #[inline(always)]
    fn run<P: Transit, T: Tables>(
        &self,
        packet: &mut P,
        tables: &T,
        bank: &Bank,
        inner: &Inner,
        mark: Mark,
    ) -> Result<Exit, Exit> {
        let hash = bank.shared.flow.hash(&self.flow);
        let case = Case::new(self.service, &self.flow, hash, self.about, mark);
        let choice = Choice {
            service: self.service,
            row: extra::row(tables, bank, &case)?,
            hash,
        };
        let kind = if self.v4 {
            age_ipv4(packet)?;
            protocol::IPV4
        } else {
            age_ipv6(packet)?;
            protocol::IPV6
        };
        let inner = Inner { kind, ..*inner };
        let exit = forward(packet, tables, bank, &inner, &choice, 0, mark)?;
        if self.error != NO_ERROR && !mark.is_probe() {
            tables.count_error(packet.ingress(), self.error);
        }
        Ok(exit)
    }
}

wire! {
    /// As much as every frame has that is ours: one check against the end of the packet.
    Front {
        /// Its EtherType says what follows.
        ethernet: Ethernet,
        /// So far it is IPv4.
        ip: Ipv4,
    }
}

/// Skips at most two VLAN tags (IEEE 802.1Q): from here on, offsets count from the Ethernet header that the frame would have
/// without them.
#[inline(always)]
fn skip_tags<P: Transit>(packet: &mut P) -> Result<(), Exit> {
    let behind = packet.get::<Ethernet>(TAG).or_leave(Exit::NotIp)?.ethertype;
    let second = is_zero::<P>(u64::from(behind.raw() ^ ETHERTYPE_VLAN.raw())) as usize;
    packet.skip(TAG + TAG * second);
    Ok(())
}

const TAG: usize = abi::TAG as usize;

#[inline(always)]
fn flow_v4<H: Transport, P: Transit, T: Tables>(
    packet: &mut P,
    tables: &T,
    bank: &Bank,
    vip: Vip,
    inner: &Inner,
    (source, destination): (u32, u32),
    mark: Mark,
) -> Result<Exit, Exit> {
    let (ports, flags) = inner::transport::<H, P>(packet, inner, L4_V4)?;
    let hash = bank
        .shared
        .flow
        .ipv4(source, destination, ports, H::PROTOCOL);
    let key = abi::service_key(vip.id, H::PROTOCOL, ports.destination.value());
    let case = |service: &ServiceEntry, hash| {
        let flow = Flow {
            source: v4_mapped(source),
            destination: v4_mapped(destination),
            ports,
            protocol: H::PROTOCOL,
        };
        Case::new(service, &flow, hash, inner::about(flags), mark)
    };
    let choice = choose::<P, T>(tables, bank, vip, key, hash, case)?;
    check_source_v4(tables, bank, source)?;
    age_ipv4(packet)?;
    forward(packet, tables, bank, inner, &choice, flags, mark)
}

#[inline(always)]
fn flow_v6<H: Transport, P: Transit, T: Tables>(
    packet: &mut P,
    tables: &T,
    bank: &Bank,
    vip: Vip,
    inner: &Inner,
    (source, destination): ([u64; 2], [u64; 2]),
    mark: Mark,
) -> Result<Exit, Exit> {
    let (ports, flags) = inner::transport::<H, P>(packet, inner, L4_V6)?;
    let hash = bank
        .shared
        .flow
        .ipv6(source, destination, ports, H::PROTOCOL);
    let key = abi::service_key(vip.id, H::PROTOCOL, ports.destination.value());
    let case = |service: &ServiceEntry, hash| {
        let flow = Flow {
            source,
            destination,
            ports,
            protocol: H::PROTOCOL,
        };
        Case::new(service, &flow, hash, inner::about(flags), mark)
    };
    let choice = choose::<P, T>(tables, bank, vip, key, hash, case)?;
    check_source_v6(tables, bank, source)?;
    age_ipv6(packet)?;
    forward(packet, tables, bank, inner, &choice, flags, mark)
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
fn find_vip<T: Tables>(tables: &T, bank: &Bank, address: [u64; 2]) -> Result<Vip, Exit> {
    let mixed = bank.mix(address);
    match bank.find_destination(address, mixed) {
        Some(VipEntry {
            kind: kind::VIP,
            id,
            ..
        }) => Ok(Vip { id: *id, mixed }),
        Some(VipEntry {
            kind: kind::OWN, ..
        }) => leave(Exit::NotVip),
        _ => prefix::find(tables, bank, address),
    }
}

/// Where a packet goes.
struct Choice<'b> {
    service: &'b ServiceEntry,
    row: Row,
    /// Of the flow itself, for the outer source port.
    hash: u64,
}

/// The row is read as early as can be: it is the one read that misses the first-level cache, and what follows hides a part of
/// that.
#[inline(always)]
fn choose<'b, P: Transit, T: Tables>(
    tables: &T,
    bank: &'b Bank,
    vip: Vip,
    key: u64,
    hash: u64,
    case: impl FnOnce(&ServiceEntry, u64) -> Case,
) -> Result<Choice<'b>, Exit> {
    let hash = P::settle(hash);
    let service = bank
        .find_service::<P>(key, vip.mixed)
        .or_leave(Exit::NoService)?;
    let row = if service.options == 0 {
        let row = hash as u32 & (abi::ROWS - 1);
        tables.row(&service.table, row).or_leave(Exit::NoTable)?
    } else {
        extra::row(tables, bank, &case(service, hash))?
    };
    Ok(Choice { service, row, hash })
}

/// No client has an address that only this host may use, or that the datapath knows.
#[inline(always)]
fn check_source_v4<T: Tables>(tables: &T, bank: &Bank, source: u32) -> Result<(), Exit> {
    if !bank.sources.may_hold_v4(source) {
        return Ok(());
    }
    if is_special_v4(source) {
        return leave(Exit::BadSource);
    }
    check_source(tables, bank, v4_mapped(source))
}

#[inline(always)]
fn check_source_v6<T: Tables>(tables: &T, bank: &Bank, source: [u64; 2]) -> Result<(), Exit> {
    if is_special_v6(source) || source[0].to_be() >> 56 == 0xff {
        return leave(Exit::BadSource);
    }
    if !bank.sources.may_hold_v6(source) {
        return Ok(());
    }
    check_source(tables, bank, source)
}

#[inline(always)]
fn check_source<T: Tables>(tables: &T, bank: &Bank, source: [u64; 2]) -> Result<(), Exit> {
    if bank.find_address(source, bank.mix(source)).is_some() || prefix::holds(tables, bank, source)
    {
        return leave(Exit::BadSource);
    }
    Ok(())
}

/// Takes one from the TTL (RFC 791, RFC 1624).
#[inline(always)]
fn age_ipv4<P: Transit>(packet: &mut P) -> Result<(), Exit> {
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
fn age_ipv6<P: Transit>(packet: &mut P) -> Result<(), Exit> {
    let ip = packet.get_mut::<Ipv6>(L3).or_leave(Exit::Malformed)?;
    if ip.hop_limit <= 1 {
        return leave(Exit::TtlExceeded);
    }
    ip.hop_limit -= 1;
    Ok(())
}

/// Headers and counters.
#[inline(always)]
fn forward<P: Transit, T: Tables>(
    packet: &mut P,
    tables: &T,
    bank: &Bank,
    inner: &Inner,
    choice: &Choice<'_>,
    flags: u64,
    mark: Mark,
) -> Result<Exit, Exit> {
    let &Choice { service, row, .. } = choice;
    if row.is_absent() {
        return leave(Exit::NoBackend);
    }
    let first = bank.backend(u32::from(service.first_backend) + row.hop(0));
    if first.flags & backend_flags::REACHABLE == 0 {
        return leave(if first.address[1] == 0 {
            Exit::NoBackend
        } else {
            Exit::NoNextHop
        });
    }
    let put = if service.encap == encap::ROWS {
        rows::encapsulate(packet, bank, first, inner, choice, mark)
    } else if service.encap == encap::L2 {
        l2::readdress(packet, first, inner, service.tunnel_mtu)
    } else {
        plain::encapsulate(packet, bank, first, inner, choice)
    };
    match put {
        Ok(()) => {}
        Err(Exit::TooBig) => {
            let fits = service.tunnel_mtu.saturating_sub(overhead(first, service));
            return too_big::answer(packet, tables, bank, inner, fits);
        }
        Err(exit) => return Err(exit),
    }
    if first.vlan != 0 {
        headers::tag(packet, first)?;
    }
    if mark.is_probe() {
        return Ok(Exit::Probe);
    }
    tables.count_backend(service.first_counter + row.hop(0), inner.length);
    if inner::is_opening(flags) {
        tables.count_new_flow(service.service_counter);
    }
    if T::BACKEND && first.flags & backend_flags::LOCAL != 0 {
        Ok(Exit::Local)
    } else if packet.leaves_by(first.ifindex) {
        Ok(Exit::Sent)
    } else {
        Ok(Exit::Redirected)
    }
}

/// Bytes of the headers that the service's packets are sent with.
#[inline(always)]
const fn overhead(first: &Backend, service: &ServiceEntry) -> u16 {
    if service.encap == encap::ROWS {
        rows::overhead(first)
    } else if service.encap == encap::L2 {
        0
    } else {
        plain::overhead(first, service)
    }
}
