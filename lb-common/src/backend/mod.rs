//! The backend's decision about an encapsulated packet: accept it here or pass it on to the flow's next hop.
//!
//! | file | holds |
//! |---|---|
//! | `outer` | is it a tunnel packet for us, and may it be trusted |
//! | `inner` | what it carries: flow and segment |
//! | [`verdict`] | the decision table for TCP |
//! | `datagram` | the one for UDP |
//! | [`ecn`] | congestion marks at the tunnel's end (RFC 6040) |
//! | `fragment` | parts of packets, of which the first alone can be judged |
//! | `accept` | taking the headers off |
//! | `pass_on` | sending to the next hop |
//!
//! One packet goes once through [`run`], of which a program has the rare half in functions of its own. What is no tunnel packet leaves at the first field that says so, untouched.

mod accept;
mod datagram;
pub mod ecn;
mod fragment;
mod inner;
mod outer;
mod pass_on;
pub mod verdict;

pub use fragment::{Gone, Whole, part, part_vip};
pub use inner::{Flow, Segment};
pub use outer::FIRST_HEADERS;
pub use verdict::Found;

use crate::abi::{self, VipBucket, kind};
use crate::backend_abi::{self, Config, Macs, Service, ServiceBucket};
use crate::exit::exits;
use crate::packet::Packet;
use crate::prefix;
use crate::tunnel::flags;
use crate::wire::protocol;

/// The maps, as the decision sees them. Indexes are those of [`crate::backend_abi`].
pub trait Tables {
    /// The configuration.
    fn config(&self) -> Option<&Config>;
    /// A bucket of the VIP index.
    fn vips(&self, index: u32) -> Option<&VipBucket>;
    /// The number of the VIP that is the longest prefix around an address, by [`around`] in a function of its own; zero: there is none.
    fn prefix(&self, address: [u64; 2]) -> u32;
    /// A bucket of the service index.
    fn services(&self, index: u32) -> Option<&ServiceBucket>;
    /// The way to another backend; `None` where it is not known yet.
    fn next_hop(&self, address: [u64; 2]) -> Option<Macs>;
    /// Takes one from the budget of packets to pass on; false where it is used up.
    fn spend(&self) -> bool;
    /// Keeps where the first part of a packet has gone, for those that follow it.
    fn remember(&self, whole: &Whole, gone: Gone);
    /// Where the first part of the packet has gone, where that is known.
    fn recall(&self, whole: &Whole) -> Option<Gone>;
}

/// What the host's kernel knows of flows.
pub trait Sockets<P: Packet> {
    /// Whether a UDP socket is connected to the client of `flow`.
    fn connected(&self, flow: &Flow) -> bool;
    /// The socket of `flow`, or the listener it would go to. Where a cookie may decide, `headers` are the offsets of the IP
    /// and the TCP header in `packet`.
    fn tcp(&self, packet: &P, flow: &Flow, headers: Option<(usize, usize)>) -> Found;
}

exits! {
    /// Not for the tunnel's port at an address of ours.
    NotTunnel = "not_tunnel", Pass, "";
    /// The sender said: accept here.
    AcceptedFinal = "accepted_final", Pass, "";
    /// A node's own probe.
    AcceptedProbe = "accepted_probe", Pass, "";
    /// A tunnel without a list of hops.
    AcceptedPlain = "accepted_plain", Pass, "";
    /// A SYN; there is a listener, or the flow's socket.
    AcceptedSyn = "accepted_syn", Pass, "";
    /// The flow's socket is here.
    AcceptedSocket = "accepted_socket", Pass, "";
    /// The end of a handshake that began here.
    AcceptedHandshake = "accepted_handshake", Pass, "";
    /// The end of a handshake that a SYN cookie of this host began.
    AcceptedCookie = "accepted_cookie", Pass, "";
    /// UDP, and any backend will do.
    AcceptedStateless = "accepted_stateless", Pass, "";
    /// No listener for the port was ever seen in this network namespace.
    AcceptedBlind = "accepted_blind", Pass, "the servers' sockets are not visible (a container, NAT): run the backend agent in their network namespace";
    /// No hop is left.
    AcceptedLastHop = "accepted_last_hop", Pass, "";
    /// Hops are left, but too much was passed on.
    AcceptedNoBudget = "accepted_no_budget", Pass, "more packets to pass on than the budget allows: tables that change all the time, or a flood";
    /// Passed on over IPv4.
    ForwardedV4 = "forwarded_ipv4", Transmit, "";
    /// Passed on over IPv6.
    ForwardedV6 = "forwarded_ipv6", Transmit, "";
    /// Lengths or header fields lie.
    Malformed = "malformed", Drop, "broken sender, or an attack from inside the trusted prefixes";
    /// The tunnel header has another version.
    UnknownVersion = "unknown_version", Drop, "an LB node is newer than this backend: upgrade backends first";
    /// The outer source is neither an LB node nor a backend.
    UntrustedSource = "untrusted_source", Drop, "add the sender to backend.trusted_lbs or trusted_backends, or filter the tunnel's port at the edge";
    /// The inner destination is no VIP of this host.
    NotOurVip = "not_our_vip", Drop, "the VIP is in an LB node's configuration and not in this one";
    /// A part of a packet, not the first, which nobody has passed on.
    AcceptedFragment = "accepted_fragment", Pass, "";
    /// The inner packet is neither TCP, UDP nor an ICMP error about one of them.
    UnsupportedProtocol = "unsupported_protocol", Drop, "an LB node sends a protocol that this version does not know";
    /// Congestion was marked on a flow that cannot be told.
    EcnCongested = "ecn_congested", Drop, "congestion between the nodes and this backend";
    /// The next hop is not inside the trusted backend prefixes.
    UntrustedHop = "untrusted_hop", Drop, "add the backend to backend.trusted_backends";
    /// The outer TTL or hop limit is used up.
    TtlExceeded = "ttl_exceeded", Drop, "backends pass packets around in a loop";
    /// Nobody knows the flow while the node's table settles.
    UnknownSettling = "unknown_settling", Drop, "the client sends again when the nodes agree; growing all the time: a node's table changes all the time";
    /// The frame could not be cut.
    NoHeadroom = "no_headroom", Drop, "the driver does not let a packet shrink";
    /// Several tunnel packets in one, each with its own headers. The kernel joins no datagram without a checksum, as LB nodes of
    /// this version send them.
    Joined = "joined", Drop, "the interface joins the tunnel's packets: ethtool -K IFACE rx-udp-gro-forwarding off rx-gro-list off";
    /// An ICMP error about a fragment, which names no flow.
    AcceptedUnknown = "accepted_unknown", Pass, "";
    /// Nobody knows the flow, and its service is under attack.
    AttackUnknown = "attack_unknown", Drop, "the service has `attack = true` on an LB node: a flood, or flows that have no socket yet";
}

const _: () = assert!(Exit::ALL.len() <= abi::EXITS_MAX as usize);

impl Exit {
    /// Why the packet was accepted, as metrics name it; `None` where it was not.
    pub fn accepted(self) -> Option<&'static str> {
        self.name().strip_prefix("accepted_")
    }

    /// By which outer family the packet was passed on, as metrics name it; `None` where it was not.
    pub fn forwarded(self) -> Option<&'static str> {
        self.name().strip_prefix("forwarded_")
    }
}

/// Decides about one packet; takes the tunnel off it, turns it to the next hop, or leaves it alone.
#[inline(always)]
pub fn run<P: Packet, T: Tables, S: Sockets<P>>(packet: &mut P, tables: &T, sockets: &S) -> Exit {
    whole(packet, tables, sockets).unwrap_or_else(|| {
        let vip = part_vip(packet, tables);
        part(packet, tables, sockets, vip)
    })
}

/// [`run`] for a whole packet; `None`: it is a fragment and unchanged, [`part_vip`] and [`part`] go on.
#[inline(always)]
pub fn whole<P: Packet, T: Tables, S: Sockets<P>>(
    packet: &mut P,
    tables: &T,
    sockets: &S,
) -> Option<Exit> {
    match decide(packet, tables, sockets) {
        Err(Exit::AcceptedFragment) => None,
        Ok(exit) | Err(exit) => Some(exit),
    }
}

/// Whether the first headers alone say that the packet is no tunnel packet for this host. They are those before
/// [`FIRST_HEADERS`].
#[inline(always)]
pub fn is_foreign<P: Packet, T: Tables>(packet: &P, tables: &T) -> bool {
    let config = tables.config();
    config.and_then(|config| outer::concerns(packet, config)) != Some(true)
}

#[inline(always)]
fn decide<P: Packet, T: Tables, S: Sockets<P>>(
    packet: &mut P,
    tables: &T,
    sockets: &S,
) -> Result<Exit, Exit> {
    let config = tables.config().ok_or(Exit::NotTunnel)?;
    let outer = outer::read(packet, config)?;
    let inner = inner::read(packet, &outer, inner::Parts::Leave)?;
    // Joined as the inner packets' own, both lengths were set to the whole; joined as the tunnel's, the first inner packet ends
    // before the tunnel does, and another header follows.
    if packet.is_joined() && inner.end != outer.end {
        return Err(Exit::Joined);
    }
    let vip = find_vip(tables, config, inner.vip).ok_or(Exit::NotOurVip)?;
    let step = judge(packet, tables, config, sockets, &outer, &inner, vip)?;
    act(packet, tables, config, &outer, inner.ecn, step)
}

/// What shall become of a sound packet for a VIP.
#[inline(always)]
fn judge<P: Packet, T: Tables, S: Sockets<P>>(
    packet: &P,
    tables: &T,
    config: &Config,
    sockets: &S,
    outer: &outer::Outer,
    inner: &inner::Inner,
    vip: u32,
) -> Result<Step, Exit> {
    let step = match flagged(outer.flags) {
        Some(exit) => Ok(Step::Accept(exit)),
        None if outer.plain => Ok(Step::Accept(Exit::AcceptedPlain)),
        None if inner.is_unknown() => Ok(Step::Accept(Exit::AcceptedUnknown)),
        None if inner.is_udp() => Ok(datagram::decide(tables, config, sockets, outer, inner, vip)),
        None => segment(packet, tables, config, sockets, outer, inner, vip),
    }?;
    if outer.flags & flags::KNOWN_ONLY == 0 {
        return Ok(step);
    }
    // Under attack the kernel gets nothing that begins a flow, and nothing that it could only answer with a reset.
    match step {
        Step::Accept(Exit::AcceptedSyn | Exit::AcceptedLastHop | Exit::AcceptedNoBudget)
        | Step::Return => Err(Exit::AttackUnknown),
        step => Ok(step),
    }
}

/// Does it.
#[inline(always)]
fn act<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    config: &Config,
    outer: &outer::Outer,
    ecn: u8,
    step: Step,
) -> Result<Exit, Exit> {
    match step {
        Step::Accept(exit) => {
            accept::decapsulate(packet, outer, ecn)?;
            Ok(exit)
        }
        Step::PassOn => pass_on::send(packet, tables, config, outer, pass_on::To::Next),
        Step::Return => pass_on::send(packet, tables, config, outer, pass_on::To::First),
    }
}

/// What becomes of a packet.
enum Step {
    /// Its tunnel ends here.
    Accept(Exit),
    /// The next hop may know more.
    PassOn,
    /// Nobody knew its flow: the first hop shall begin it.
    Return,
}

/// The decision about a TCP segment, or an error about one.
#[inline(always)]
fn segment<P: Packet, T: Tables, S: Sockets<P>>(
    packet: &P,
    tables: &T,
    config: &Config,
    sockets: &S,
    outer: &outer::Outer,
    inner: &inner::Inner,
    vip: u32,
) -> Result<Step, Exit> {
    let found = sockets.tcp(packet, &inner.flow, inner.cookie_headers());
    match verdict::accepts(&inner.segment, found) {
        Some(exit) => Ok(Step::Accept(exit)),
        // What others have passed on they know not to be theirs: only a first hop may stand in for its servers. Where the kernel
        // has anything for the flow, sockets can be seen.
        None if outer.index == 0
            && matches!(found, Found::Nothing)
            && find_service(tables, config, vip, protocol::TCP, inner.port)
                .is_some_and(|service| service.blind != 0) =>
        {
            Ok(Step::Accept(Exit::AcceptedBlind))
        }
        None if outer.hops_left() && tables.spend() => Ok(Step::PassOn),
        None => verdict::at_the_end(
            &inner.segment,
            found,
            outer.flags & flags::SETTLING != 0,
            outer.hops_left(),
        )
        .map(Step::Accept),
    }
}

/// What the tunnel's flags alone decide.
#[inline(always)]
const fn flagged(flags: u8) -> Option<Exit> {
    if flags & flags::PROBE != 0 {
        Some(Exit::AcceptedProbe)
    } else if flags & flags::FINAL != 0 {
        Some(Exit::AcceptedFinal)
    } else {
        None
    }
}

/// The number of the VIP at `address`.
#[inline(always)]
pub(crate) fn find_vip<T: Tables>(tables: &T, config: &Config, address: [u64; 2]) -> Option<u32> {
    let bucket = tables.vips(backend_abi::vip_bucket(config.vip_seed, address))?;
    match bucket.find(address) {
        Some(entry) if entry.kind == kind::VIP => Some(entry.id),
        _ => Some(tables.prefix(address)).filter(|id| *id != 0),
    }
}

/// The number of the VIP that is the longest prefix around an address; zero: there is none.
#[inline(always)]
pub fn around<T: Tables>(tables: &T, config: &Config, address: [u64; 2]) -> u32 {
    prefix::find(&config.prefixes, config.vip_seed, address, |place| {
        tables.vips(abi::vip_bucket(place) & (backend_abi::BUCKETS - 1))
    })
}

/// The service of a port, or the narrowest range around it.
#[inline(always)]
fn find_service<'t, T: Tables>(
    tables: &'t T,
    config: &Config,
    vip: u32,
    protocol: u8,
    port: u16,
) -> Option<&'t Service> {
    let key = abi::service_key(vip, protocol, port);
    let bucket = |key| tables.services(backend_abi::service_bucket(config.service_seed, key));
    let exact = bucket(key).and_then(|bucket| bucket.entries.iter().find(|entry| entry.key == key));
    if exact.is_some() {
        return exact;
    }
    let ranges = abi::ranges_key(key);
    bucket(ranges)?
        .entries
        .iter()
        .find(|entry| entry.key == ranges && entry.first_port <= port && port <= entry.last_port)
}
