//! What the rest of the agent works with: a configuration that has been checked.
//!
//! `config` turns a file into these types or into errors with a place; nothing here can be invalid any more.
//! Pure data: no clock, no socket, no task.

#![forbid(unsafe_code)]

mod attack;
mod check;
mod vip;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use lb_common::tunnel;
use serde::{Deserialize, Serialize};

use crate::bgp::{Communities, LinkBandwidth, PeerName, Policy};
use crate::filter::Filter;

pub use attack::NobodyKnows;
pub use check::{
    Check, CheckKind, Expect, HttpCheck, HttpMethod, Roots, StatusRange, TlsCheck, Trust,
};
pub use vip::Vip;

/// A whole checked configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// This box.
    pub node: Node,
    /// Where `/metrics` is served; none: not at all.
    pub metrics: Option<SocketAddr>,
    /// The BGP speaker; none: nothing is announced.
    pub bgp: Option<Bgp>,
    /// Sets of backends, by name.
    pub pools: BTreeMap<PoolName, Pool>,
    /// VIPs and ports, in the order of the file.
    pub services: Vec<Service>,
    /// The backend role, where the file has a `[backend]` section.
    pub backend: Option<BackendRole>,
}

/// `[node]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name in logs and status.
    pub name: String,
    /// BGP identifier (RFC 6286: any non-zero 32 bits).
    pub router_id: Option<Ipv4Addr>,
    /// Interfaces that carry VIP traffic. First light: exactly one.
    pub interfaces: Vec<String>,
    /// How the XDP program is attached.
    pub xdp_mode: XdpMode,
    /// Where the XDP program is pinned that gets packets which are not for a VIP. None: they go to the kernel.
    pub xdp_chain: Option<PathBuf>,
    /// The 128-bit key of rows and flow hash, the same on every node of a service. `None` only in a file
    /// without pools.
    pub hash_key: Option<HashKey>,
    /// Source addresses of the tunnel; where unset, the kernel's preferred source towards the backend.
    pub tunnel_source_v4: Option<Ipv4Addr>,
    /// See `tunnel_source_v4`.
    pub tunnel_source_v6: Option<Ipv6Addr>,
    /// What must survive a reboot: table inputs and overrides. Default `/var/lib/anylb`.
    pub state_dir: PathBuf,
    /// Admin socket. Default `/run/anylb`.
    pub runtime_dir: PathBuf,
    /// Pinned programs, links and maps, on a BPF file system. Default `/sys/fs/bpf/anylb`.
    pub pin_dir: PathBuf,
    /// How long a removed table input is remembered. Default 24 h.
    pub flow_memory: Duration,
    /// How long a stopping node waits at most for its traffic to leave before it withdraws. Default 10 s.
    pub drain_wait: Duration,
    /// How long it forwards at most after the withdrawal. Default 30 s.
    pub linger: Duration,
    /// What the lists of prefixes of all services may need in the datapath. Default 64 MiB.
    pub filter_memory_mib: u32,
    /// Buckets for prefixes of sources, of each service that limits them. Default 65,536.
    pub rate_buckets: u32,
    /// Flows that each CPU remembers for pools in mode `flow-table`.
    pub flow_table_entries: u32,
}

/// `node.xdp_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// Native, and generic where the driver has no native.
    Auto,
    /// By the driver, or not at all.
    Native,
    /// By the kernel's stack, whatever the driver.
    Generic,
}

/// Key of rows and flow hash. Never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub [u8; 16]);

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// `[bgp]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bgp {
    /// Our AS number.
    pub asn: u32,
    /// Proposed hold time; 0 or at least 3 s.
    pub hold_time: Duration,
    /// On every route.
    pub communities: Communities,
    /// Whether graceful restart is offered.
    pub graceful_restart: GracefulRestart,
    /// Where the speaker listens; none: it only dials.
    pub listen: Vec<SocketAddr>,
    /// What each announced VIP wants where all of its backends get new flows; none: nothing is said of it.
    pub link_bandwidth: Option<LinkBandwidth>,
    /// On routes that are a last resort.
    pub last_resort_communities: Communities,
    /// Prefixes announced beside the VIPs in them.
    pub aggregates: Vec<Aggregate>,
    /// At least one.
    pub peers: Vec<BgpPeer>,
}

/// `[[bgp.aggregate]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Announced while enough of the VIPs in it are served.
    pub prefix: IpNet,
    /// How many of them.
    pub need: Need,
    /// What is said about it.
    pub policy: Policy,
}

impl Aggregate {
    /// Whether the VIP lies in it.
    pub fn covers(&self, vip: Vip) -> bool {
        self.prefix.contains(&vip.net())
    }
}

impl Bgp {
    /// TCP MD5 secrets.
    pub fn passwords(&self) -> BTreeMap<PeerName, String> {
        let peers = self.peers.iter();
        peers
            .filter_map(|peer| Some((peer.name, peer.password.clone()?)))
            .collect()
    }

    /// What sessions are made of: everything but policies and the text of passwords, which change without touching a session.
    pub fn sessions(&self) -> Bgp {
        let peers = self.peers.iter().map(|peer| BgpPeer {
            policy: Policy::default(),
            services: None,
            password: peer.password.as_ref().map(|_| String::new()),
            password_file: None,
            ..peer.clone()
        });
        Bgp {
            communities: Communities::default(),
            link_bandwidth: None,
            last_resort_communities: Communities::default(),
            aggregates: Vec::new(),
            peers: peers.collect(),
            ..self.clone()
        }
    }
}

/// `bgp.graceful_restart`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GracefulRestart {
    /// Only to peers with BFD: a dead node is then noticed at once.
    WithBfd,
    /// To every peer. A node that dies without its link going down swallows traffic for up to the hold time plus
    /// the restart time (15 s).
    Always,
    /// Never.
    Off,
}

/// `[[bgp.peer]]`.
#[derive(Clone, PartialEq)]
pub struct BgpPeer {
    /// What the file calls it.
    pub name: PeerName,
    /// TCP port; 179 unless told.
    pub port: u16,
    /// AS number of the peer.
    pub asn: u32,
    /// TCP MD5 secret (RFC 2385), read from `password_file`.
    pub password: Option<String>,
    /// Where that stands.
    pub password_file: Option<PathBuf>,
    /// Hops for TTL security (RFC 5082); `Some(1)`: directly connected.
    pub ttl_security: Option<u8>,
    /// Listen only, never dial; so it is for a range.
    pub passive: bool,
    /// Members that a range may have at once.
    pub members_max: usize,
    /// NEXT_HOP of IPv4 routes; where unset, our address on the peer's interface.
    pub next_hop_v4: Option<Ipv4Addr>,
    /// NEXT_HOP of IPv6 routes; where unset, our global address on the peer's interface.
    pub next_hop_v6: Option<Ipv6Addr>,
    /// What is said about every route to this peer.
    pub policy: Policy,
    /// Names of the services whose VIPs it hears of; none: all that do not name other peers.
    pub services: Option<BTreeSet<String>>,
    /// BFD beside the session; none: without.
    pub bfd: Option<Bfd>,
}

/// `bfd` of a `[[bgp.peer]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bfd {
    /// Between packets, both ways; whole milliseconds.
    pub interval: Duration,
    /// Packets in a row without which the other side is gone.
    pub multiplier: u8,
    /// The peer may be behind routers, and its packets come with this TTL at least; none: it is on the same link.
    pub multihop: Option<u8>,
    /// No BGP session while BFD is not up.
    pub strict: bool,
}

impl std::fmt::Debug for BgpPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password must not reach a log.
        f.debug_struct("BgpPeer")
            .field("name", &self.name)
            .field("port", &self.port)
            .field("asn", &self.asn)
            .field("password", &self.password.as_ref().map(|_| ".."))
            .field("password_file", &self.password_file)
            .field("ttl_security", &self.ttl_security)
            .field("passive", &self.passive)
            .field("members_max", &self.members_max)
            .field("next_hop_v4", &self.next_hop_v4)
            .field("next_hop_v6", &self.next_hop_v6)
            .field("policy", &self.policy)
            .field("services", &self.services)
            .field("bfd", &self.bfd)
            .finish()
    }
}

/// Name of a pool, unique in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PoolName(pub String);

impl std::fmt::Display for PoolName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[[pool]]`: backends with weights that share one table of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Unique name.
    pub name: PoolName,
    /// How packets reach the backends.
    pub encap: Encap,
    /// What keeps flows.
    pub mode: Mode,
    /// Hops in a row, 1..=4; 1 switches the second chance off.
    pub hops: u8,
    /// The health check.
    pub check: Check,
    /// In the order of the file; all addresses of one family, none twice.
    pub backends: Vec<Backend>,
}

impl Pool {
    /// Bytes of the largest headers before a packet in its tunnel.
    pub fn overhead(&self) -> u32 {
        let v6 = self
            .backends
            .iter()
            .any(|backend| backend.address.is_ipv6());
        let ip = if v6 { 40 } else { 20 };
        match (self.mode, self.encap) {
            (Mode::Rows, _) if v6 => tunnel::OVERHEAD_V6.into(),
            (Mode::Rows, _) => tunnel::OVERHEAD_V4.into(),
            // UDP and the first word of GUE.
            (Mode::Stateless | Mode::FlowTable, Encap::Gue) => ip + 8 + 4,
            (Mode::Stateless | Mode::FlowTable, Encap::IpIp) => ip,
            (Mode::Stateless | Mode::FlowTable, Encap::L2) => 0,
        }
    }
}

/// `pool.encap`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encap {
    /// Generic UDP encapsulation.
    #[default]
    Gue,
    /// IP in IP, of any two families.
    IpIp,
    /// No tunnel: backends on the link of the node, which have the VIP on `lo`.
    L2,
}

/// `pool.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Packets carry every hop of their row, and backends have the second chance.
    #[default]
    Rows,
    /// Rows without a second chance, for backends with nothing but the kernel's decapsulation.
    Stateless,
    /// The same, and the node remembers which backend a flow has.
    FlowTable,
}

impl Mode {
    /// As the configuration has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Rows => "rows",
            Mode::Stateless => "stateless",
            Mode::FlowTable => "flow-table",
        }
    }
}

/// `[[pool.backend]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Identity of the backend in rows, and where its tunnel ends.
    pub address: IpAddr,
    /// Shown beside the address.
    pub name: Option<String>,
    /// 1..=1000; default 100.
    pub weight: u16,
}

/// `[[service]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Unique name, a label of metrics.
    pub name: String,
    /// The address clients use.
    pub vip: Vip,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination ports, in ascending order; none meet.
    pub ports: Vec<Ports>,
    /// What of a packet chooses its row.
    pub hash: HashScope,
    /// It takes the fragments of its VIP and protocol.
    pub fragments: bool,
    /// What is done for UDP flows.
    pub udp: UdpFlows,
    /// Whose packets it takes; none: everybody's.
    pub filter: Option<Arc<Filter>>,
    /// It takes packets of known flows only.
    pub attack: bool,
    /// How many of them on this node; none: all.
    pub rate: Option<RateLimit>,
    /// The same for each prefix of sources.
    pub source_rate: Option<SourceLimit>,
    /// Silence after which a UDP flow is no longer remembered, where the node remembers any.
    pub udp_timeout: Duration,
    /// A pool of this file; `None` only in a file with the backend role alone.
    pub pool: Option<PoolName>,
    /// When the VIP may be announced.
    pub need: Need,
    /// What becomes of it otherwise.
    pub below_need: BelowNeed,
    /// Time between a VIP that can be served again and its announcement.
    pub hold_up: Duration,
    /// How. Services of one VIP do not contradict each other.
    pub announce: Announce,
}

/// `service.rate_limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Packets per second, or new flows.
    pub per_sec: u32,
    /// So many at once after a pause.
    pub burst: u32,
    /// SYNs are counted, and nothing else.
    pub only_new_flows: bool,
}

impl std::fmt::Display for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.only_new_flows {
            "new flows"
        } else {
            "packets"
        };
        write!(
            f,
            "{} {what} per second, burst {}",
            self.per_sec, self.burst
        )
    }
}

/// `service.rate_limit_source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceLimit {
    /// Of each prefix.
    pub limit: RateLimit,
    /// Length of the prefixes of IPv4.
    pub prefix_v4: u8,
    /// Length of those of IPv6.
    pub prefix_v6: u8,
    /// Buckets for them.
    pub buckets: u32,
}

impl std::fmt::Display for SourceLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (v4, v6) = (self.prefix_v4, self.prefix_v6);
        write!(f, "{}, of each /{v4} or /{v6}", self.limit)
    }
}

/// `service.announce`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announce {
    /// What is said about the VIP to every peer that hears of it.
    pub policy: Policy,
    /// Addresses of the peers that hear of it; none: all whose `services` do not leave it out.
    pub peers: Option<BTreeSet<PeerName>>,
}

/// One entry of `service.ports`: a port, or a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "PortsText", try_from = "PortsText")]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// Every port.
    pub const ANY: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// One port.
    pub const fn one(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// From `first` to `last`; `None` where that is empty.
    pub const fn range(first: u16, last: u16) -> Option<Self> {
        if first <= last {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// The lowest port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// The port, where it is only one.
    pub fn single(self) -> Option<u16> {
        (self.first == self.last).then_some(self.first)
    }

    /// Whether `port` is one of them.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Whether some port is in both.
    pub const fn meets(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// How many they are, less one: of the entries around a port the datapath takes the narrowest.
    pub const fn width(self) -> u16 {
        self.last - self.first
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.single(), *self) {
            (Some(port), _) => write!(f, "{port}"),
            (None, Self::ANY) => f.write_str("any"),
            (None, Self { first, last }) => write!(f, "{first}-{last}"),
        }
    }
}

impl std::str::FromStr for Ports {
    type Err = ();

    /// The inverse of its display.
    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "any" {
            return Ok(Self::ANY);
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |digits: &str| digits.trim().parse::<u16>().map_err(|_| ());
        Self::range(port(first)?, port(last)?).ok_or(())
    }
}

/// JSON of [`Ports`]: a number, or the display of what is more than one.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PortsText {
    One(u16),
    More(String),
}

impl From<Ports> for PortsText {
    fn from(ports: Ports) -> Self {
        ports
            .single()
            .map_or_else(|| Self::More(ports.to_string()), Self::One)
    }
}

impl TryFrom<PortsText> for Ports {
    type Error = String;

    fn try_from(text: PortsText) -> Result<Self, String> {
        match text {
            PortsText::One(port) => Ok(Self::one(port)),
            PortsText::More(text) => text
                .parse()
                .map_err(|()| format!("`{text}` is no range of ports")),
        }
    }
}

/// `service.hash`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashScope {
    /// Addresses, ports and protocol.
    #[default]
    Flow,
    /// Addresses and protocol: all flows of a client to a VIP have one backend.
    Pair,
    /// The client's address: all its flows to services of one pool have one backend.
    Source,
}

impl HashScope {
    /// As the configuration has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            HashScope::Flow => "5-tuple",
            HashScope::Pair => "src-dst",
            HashScope::Source => "src",
        }
    }
}

/// `service.below_need`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BelowNeed {
    /// The VIP is withdrawn.
    #[default]
    Withdraw,
    /// It is announced so that every other node wins.
    LastResort,
}

/// `service.udp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UdpFlows {
    /// Any backend answers any datagram.
    #[default]
    Stateless,
    /// Servers open a connected socket per flow, by which backends find its owner.
    Connected,
    /// The node remembers which backend a flow has.
    FlowTable,
}

impl UdpFlows {
    /// As the configuration has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            UdpFlows::Stateless => "stateless",
            UdpFlows::Connected => "connected",
            UdpFlows::FlowTable => "flow-table",
        }
    }
}

/// `service.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP (6).
    Tcp,
    /// UDP (17).
    Udp,
}

impl Protocol {
    /// As IP headers have it.
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => lb_common::wire::protocol::TCP,
            Protocol::Udp => lb_common::wire::protocol::UDP,
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// A VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// EtherType of the tag: 0x8100, or 0x88a8.
    pub ethertype: u16,
    /// VLAN identifier, 1 to 4094.
    pub id: u16,
}

impl Vlan {
    /// As it lies on the wire, priority zero.
    pub fn to_wire(self) -> u32 {
        let ([a, b], [c, d]) = (self.ethertype.to_be_bytes(), self.id.to_be_bytes());
        u32::from_ne_bytes([a, b, c, d])
    }

    /// From a tag as it lies on the wire.
    pub fn from_wire(tag: u32) -> Option<Self> {
        let [a, b, c, d] = tag.to_ne_bytes();
        (tag != 0).then_some(Self {
            ethertype: u16::from_be_bytes([a, b]),
            id: u16::from_be_bytes([c, d]) & 0x0fff,
        })
    }
}

/// `service.need`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// At least so many healthy backends.
    Count(u32),
    /// At least this share of the configured backends, rounded up, 1..=100.
    Percent(u8),
}

impl Service {
    /// Of `services`, the one that a packet to this port of an address belongs to: as in the datapath, of those at the longest VIP
    /// around the address the one whose entry around the port is the narrowest.
    pub fn at(
        services: &[Service],
        address: IpAddr,
        protocol: Protocol,
        port: u16,
    ) -> Option<&Service> {
        let vip = Vip::around(services.iter().map(|service| service.vip), address)?;
        let at_vip = services
            .iter()
            .filter(|service| service.vip == vip && service.protocol == protocol);
        let around = at_vip.filter_map(|service| {
            let around = service.ports.iter().filter(|ports| ports.contains(port));
            Some((around.map(|ports| ports.width()).min()?, service))
        });
        around
            .min_by_key(|(width, _)| *width)
            .map(|(_, service)| service)
    }
}

impl Need {
    /// Healthy backends needed out of `configured`, never less than one.
    pub fn of(self, configured: usize) -> usize {
        match self {
            Need::Count(n) => (n as usize).max(1),
            Need::Percent(p) => (configured * usize::from(p)).div_ceil(100).max(1),
        }
    }
}

/// `[backend]`.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendRole {
    /// Where encapsulated packets may come from: the LB nodes.
    pub trusted_lbs: Vec<IpNet>,
    /// Where they may come from and be passed on to: the other backends.
    pub trusted_backends: Vec<IpNet>,
    /// MSS in SYN-ACKs.
    pub mss: Mss,
    /// Where packets are taken out of the tunnel.
    pub hook: BackendHook,
}

/// `backend.hook`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendHook {
    /// By an XDP program.
    Xdp,
    /// By a TC program on ingress, after what the kernel has joined.
    Tc,
}

/// `backend.mss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mss {
    /// What fits the interface's MTU with the largest tunnel header.
    Auto,
    /// At most so many bytes.
    Max(u16),
    /// Left alone.
    Off,
}

/// What the operator has said about a backend, apart from its health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// Gets new flows.
    #[default]
    Ready,
    /// Keeps its flows, gets no new ones.
    Draining,
    /// Gets nothing; the flows it has are lost.
    Disabled,
}

impl std::fmt::Display for AdminState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AdminState::Ready => "ready",
            AdminState::Draining => "draining",
            AdminState::Disabled => "disabled",
        })
    }
}
