//! What the agent wants of the datapath, in the operator's terms, and its translation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use lb_common::abi::{
    self, Backend, ServiceEntry, ServiceExtra, Shared, VipEntry, backend_flags, kind,
};
use lb_common::flow::FlowKey;
use lb_common::flow_table;
use lb_common::lb::prepare;
use lb_common::rate::{Rate, Rates, counts};
use lb_common::tunnel;
use lb_common::wire::{address_words, v4_mapped};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{Image, Op, PlanError, Slots, vips};
use crate::filter::Filter;
use crate::model::{
    Encap, HashScope, Mode, PoolName, Ports, Protocol, RateLimit, SourceLimit, Vip, Vlan,
};
use crate::status::Health;

/// The whole desired state of the datapath.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Key schedule of the flow hash.
    pub flow_key: FlowKey,
    /// Tunnel source for IPv4 backends.
    pub source_v4: Option<Ipv4Addr>,
    /// Tunnel source for IPv6 backends.
    pub source_v6: Option<Ipv6Addr>,
    /// Counts changes of inputs; its low 16 bits go into the tunnel header.
    pub generation: u64,
    /// The kernel's tick.
    pub jiffies_per_sec: u32,
    /// Addresses of nodes and backends: never clients of a VIP.
    pub own: BTreeSet<IpAddr>,
    /// By name; one that no service names has no place in the datapath.
    pub pools: BTreeMap<PoolName, DesiredPool>,
    /// Services with a pool.
    pub services: Vec<DesiredService>,
}

/// A pool.
#[derive(Clone, Debug)]
pub struct DesiredPool {
    /// How packets reach the backends.
    pub encap: Encap,
    /// What keeps flows.
    pub mode: Mode,
    /// What the rows' indexes mean.
    pub members: Vec<DesiredBackend>,
    /// Indexes into `members`, [`abi::ABSENT`] where there is no hop; [`abi::ROWS`] of them.
    pub rows: Arc<[[u16; 4]]>,
    /// A table has just changed somewhere.
    pub settling: bool,
}

/// A backend.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredBackend {
    /// Identity and end of the tunnel.
    pub address: IpAddr,
    /// The way there; none: not resolved.
    pub next_hop: Option<NextHop>,
    /// Verdict of the checks.
    pub health: Health,
    /// It has been unreachable as a host for long, or the operator has disabled it: no flow can live there.
    pub gone: bool,
}

/// What a frame to a backend needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Interface index.
    pub ifindex: u32,
    /// Largest IP packet on the way.
    pub mtu: u32,
    /// Source MAC address.
    pub source_mac: [u8; 6],
    /// Destination MAC address.
    pub destination_mac: [u8; 6],
    /// VLAN tag of the frames.
    pub vlan: Option<Vlan>,
    /// The backend is this node itself.
    pub local: bool,
    /// It is on the link, with no router between.
    pub on_link: bool,
}

/// A service.
#[derive(Clone, Debug)]
pub struct DesiredService {
    /// Unique name.
    pub name: String,
    /// Client-facing address.
    pub vip: Vip,
    /// Transport.
    pub protocol: Protocol,
    /// Destination ports.
    pub ports: Vec<Ports>,
    /// A pool of [`Desired::pools`].
    pub pool: PoolName,
    /// Beyond the common way.
    pub options: ServiceOptions,
}

/// What a service has beyond the common way; by default nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceOptions {
    /// What of a packet chooses its row.
    pub hash: HashScope,
    /// It takes the fragments of its VIP and protocol.
    pub fragments: bool,
    /// Whose packets it takes; none: everybody's.
    pub filter: Option<Arc<Filter>>,
    /// How many of them.
    pub rate: Option<RateLimit>,
    /// How many of each prefix of sources.
    pub source_rate: Option<SourceLimit>,
    /// Silence after which a flow that the node remembers is forgotten; none: it remembers none.
    pub flow_timeout: Option<Duration>,
    /// It takes packets of known flows only.
    pub attack: bool,
}

impl ServiceOptions {
    fn bits(&self) -> u16 {
        let hash = match self.hash {
            HashScope::Flow => 0,
            HashScope::Pair => abi::options::HASH_SRC_DST,
            HashScope::Source => abi::options::HASH_SRC,
        };
        let is_limited = self.rate.is_some() || self.source_rate.is_some();
        let has = [
            (self.filter.is_some(), abi::options::FILTER),
            (is_limited, abi::options::RATES),
            (self.flow_timeout.is_some(), abi::options::FLOW_TABLE),
            (self.attack, abi::options::ATTACK),
        ];
        let bits = has.into_iter().filter_map(|(is, bit)| is.then_some(bit));
        bits.fold(hash, |all, bit| all | bit)
    }

    /// For the backends of a pool of this mode; with a flow table it is the node that knows the flows.
    fn tunnel_flags(&self, mode: Mode) -> u8 {
        if self.attack && mode == Mode::Rows {
            tunnel::flags::KNOWN_ONLY
        } else {
            0
        }
    }

    /// At least the timeout: a packet may have come at the end of its tick.
    fn flow_timeout_ticks(&self, jiffies_per_sec: u32) -> u16 {
        let Some(timeout) = self.flow_timeout else {
            return 0;
        };
        let jiffies = timeout.as_millis() * u128::from(jiffies_per_sec) / 1000;
        let ticks = (jiffies >> flow_table::tick_shift(jiffies_per_sec)) + 1;
        u16::try_from(ticks).map_or(flow_table::TIMEOUT_MAX, |ticks| {
            ticks.min(flow_table::TIMEOUT_MAX)
        })
    }

    fn extra(&self, jiffies_per_sec: u32) -> ServiceExtra {
        let tree = self.filter.as_ref().map(|filter| filter.tree.place());
        ServiceExtra {
            filter: tree.unwrap_or_default(),
            rates: self.rates(jiffies_per_sec),
            flow_timeout: self.flow_timeout_ticks(jiffies_per_sec),
            reserved: [0; 3],
        }
    }

    fn rates(&self, jiffies_per_sec: u32) -> Rates {
        let mut rates = Rates::default();
        let rate = |limit: RateLimit| Rate::new(limit.per_sec, limit.burst, jiffies_per_sec);
        if let Some(limit) = self.rate {
            rates.service = rate(limit);
            if limit.only_new_flows {
                rates.counts |= counts::SERVICE_OPENS;
            }
        }
        if let Some(source) = self.source_rate {
            rates.source = rate(source.limit);
            rates.source_mask = source.buckets.next_power_of_two() - 1;
            (rates.prefix_v4, rates.prefix_v6) = (source.prefix_v4, source.prefix_v6);
            if source.limit.only_new_flows {
                rates.counts |= counts::SOURCE_OPENS;
            }
        }
        rates
    }
}

/// Packets, pings mostly, that one CPU answers by itself per second: enough for every client's monitoring, a thousandth of a core.
const ANSWERS_PER_SEC: u32 = 10_000;
/// Assumed until the first next hop is resolved.
const MTU_DEFAULT: u32 = 1500;

impl Desired {
    /// The image of this state. Takes and gives up numbers in `slots`; the operations returned are about counters that start anew.
    pub fn image(&self, slots: &mut Slots) -> Result<(Image, Vec<Op>), PlanError> {
        let services: BTreeSet<_> = self
            .services
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        let served = self.services.iter().map(|service| &service.pool).collect();
        slots.retain(&services, &served);
        let mut image = Image {
            shared: self.shared(),
            vips: self.vip_entries(),
            ..Image::default()
        };
        let mut places = BTreeMap::new();
        for (name, pool) in self.pools.iter().filter(|(name, _)| served.contains(name)) {
            places.insert(name, self.place(name, pool, slots, &mut image)?);
        }
        if image.backends.len() > abi::BACKENDS_MAX as usize {
            let wanted = image.backends.len();
            return Err(PlanError::Limit {
                what: "backends",
                wanted,
                limit: abi::BACKENDS_MAX as usize,
            });
        }
        let mut ops = Vec::new();
        self.enter_services(&places, slots, &mut image, &mut ops)?;
        Ok((image.sorted(), ops))
    }

    /// Puts the backends and rows of a pool into the image.
    fn place<'a>(
        &self,
        name: &PoolName,
        pool: &'a DesiredPool,
        slots: &mut Slots,
        image: &mut Image,
    ) -> Result<Place<'a>, PlanError> {
        let table = slots.pair(name)?;
        let addresses: Vec<_> = pool.members.iter().map(|member| member.address).collect();
        let (indexes, taken) = slots.members(name, &addresses)?;
        let first = image.backends.len();
        let length = indexes
            .values()
            .max()
            .map_or(0, |&last| usize::from(last) + 1);
        image.backends.resize(first + length, Backend::default());
        for member in &pool.members {
            image.backends[first + usize::from(indexes[&member.address])] = self.backend(member);
        }
        image.tables.insert(table, pool.packed_rows(indexes));
        Ok(Place {
            pool,
            table,
            first_backend: first as u32,
            length,
            taken,
        })
    }

    fn enter_services(
        &self,
        places: &BTreeMap<&PoolName, Place<'_>>,
        slots: &mut Slots,
        image: &mut Image,
        ops: &mut Vec<Op>,
    ) -> Result<(), PlanError> {
        let vip_ids: BTreeMap<_, _> = image
            .vips
            .iter()
            .filter(|entry| kind::is_vip(entry.kind))
            .map(|entry| (vips::of(entry), entry.id))
            .collect();
        for service in &self.services {
            let Some(place) = places.get(&service.pool) else {
                continue;
            };
            let (service_counter, block) =
                slots.counters(&service.name, place.length, &place.taken, ops)?;
            let extra = service.options.extra(self.jiffies_per_sec);
            if extra != ServiceExtra::default() {
                image.extras.insert(service_counter, extra);
            }
            if let Some(filter) = &service.options.filter {
                let elements = Arc::clone(filter.tree.elements());
                image.trees.0.insert(extra.filter.fingerprint, elements);
            }
            let vip = vip_ids[&service.vip];
            let ports = service.ports.iter().copied();
            let keys = ports.map(|ports| {
                let key = service_key(vip, service.protocol, ports);
                (key, ports.first(), ports.last())
            });
            let fragments = service.options.fragments.then(|| {
                let key = abi::service_key(vip, service.protocol.number(), 0);
                (abi::fragments_key(key), 0, 0)
            });
            let entries = keys.chain(fragments);
            image
                .services
                .extend(entries.map(|(key, first_port, last_port)| ServiceEntry {
                    key,
                    table: place.table,
                    service_counter,
                    first_counter: block.first,
                    // No index is above BACKENDS_MAX.
                    first_backend: place.first_backend as u16,
                    options: service.options.bits(),
                    tunnel_mtu: place.pool.mtu(),
                    tunnel_flags: place.pool.tunnel_flags()
                        | service.options.tunnel_flags(place.pool.mode),
                    encap: place.pool.encap(),
                    first_port,
                    last_port,
                }));
        }
        Ok(())
    }

    fn shared(&self) -> Shared {
        Shared {
            flow: self.flow_key,
            source_v4: self
                .source_v4
                .map_or(0, |address| u32::from_ne_bytes(address.octets())),
            source_v6: self
                .source_v6
                .map_or([0; 2], |address| address_words(address.octets())),
            header: tunnel::common(0, 0),
            generation: (u32::from(self.generation as u16) << 16).to_be(),
            answers_per_jiffy: (ANSWERS_PER_SEC.div_ceil(self.jiffies_per_sec.max(1))) as u16,
            answers_max: ANSWERS_PER_SEC,
            prefixes: self
                .services
                .iter()
                .any(|service| service.vip.is_prefix())
                .into(),
            ..Shared::default()
        }
    }

    /// VIPs are numbered in the order of their addresses; an address that is both is a VIP. One that is ours inside a prefix stays ours.
    fn vip_entries(&self) -> Vec<VipEntry> {
        let vips: BTreeSet<Vip> = self.services.iter().map(|service| service.vip).collect();
        let own = self
            .own
            .iter()
            .filter(|own| !vips.contains(&(**own).into()));
        let own = own.map(|&address| VipEntry {
            address: words(address),
            kind: kind::OWN,
            id: 0,
        });
        let numbered = (1..).zip(&vips).map(|(id, &vip)| vips::entry(vip, id));
        numbered.chain(own).collect()
    }

    fn backend(&self, member: &DesiredBackend) -> Backend {
        let address = words(member.address);
        let source = self
            .source_v4
            .map_or(0, |address| u32::from_ne_bytes(address.octets()));
        let gone = if member.gone { backend_flags::GONE } else { 0 };
        let verdict = match member.health {
            Health::Unknown => gone,
            Health::Up => gone | backend_flags::JUDGED | backend_flags::UP,
            Health::Down => gone | backend_flags::JUDGED,
        };
        let Some(hop) = member.next_hop else {
            return Backend {
                address,
                flags: verdict,
                ..Backend::default()
            };
        };
        let mut backend = Backend {
            address,
            ifindex: hop.ifindex,
            flags: verdict
                | backend_flags::REACHABLE
                | if hop.local { backend_flags::LOCAL } else { 0 }
                | if hop.on_link {
                    backend_flags::ON_LINK
                } else {
                    0
                },
            mtu: packet_length(hop.mtu),
            vlan: hop.vlan.map_or(0, Vlan::to_wire),
            tag_bytes: hop.vlan.map_or(0, |_| abi::TAG as u16),
            ..Backend::default()
        };
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&hop.destination_mac);
        macs[6..].copy_from_slice(&hop.source_mac);
        prepare(&mut backend, macs, source, tunnel::PORT);
        backend
    }
}

/// The longest packet for an MTU: none is longer than its length can say.
fn packet_length(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(u16::MAX)
}

/// Where a pool is in an image.
struct Place<'a> {
    pool: &'a DesiredPool,
    table: u32,
    first_backend: u32,
    /// Indexes in use, holes included.
    length: usize,
    /// Indexes given out just now.
    taken: Vec<u16>,
}

impl DesiredPool {
    fn encap(&self) -> u8 {
        match (self.mode, self.encap) {
            (Mode::Rows, _) => abi::encap::ROWS,
            (Mode::Stateless | Mode::FlowTable, Encap::Gue) => abi::encap::GUE,
            (Mode::Stateless | Mode::FlowTable, Encap::IpIp) => abi::encap::IP,
            (Mode::Stateless | Mode::FlowTable, Encap::L2) => abi::encap::L2,
        }
    }

    fn tunnel_flags(&self) -> u8 {
        if self.settling {
            tunnel::flags::SETTLING
        } else {
            0
        }
    }

    /// The smallest MTU of the members' ways: a second-chance leg may take any of them.
    fn mtu(&self) -> u16 {
        let smallest = self
            .members
            .iter()
            .filter_map(|member| Some(member.next_hop?.mtu))
            .min();
        packet_length(smallest.unwrap_or(MTU_DEFAULT))
    }

    fn packed_rows(&self, indexes: &BTreeMap<IpAddr, u16>) -> Arc<[u64]> {
        let translate: Vec<u16> = self
            .members
            .iter()
            .map(|member| indexes[&member.address])
            .collect();
        let slot = |hop: u16| {
            translate
                .get(usize::from(hop))
                .copied()
                .unwrap_or(abi::ABSENT)
        };
        self.rows
            .iter()
            .map(|row| abi::pack_row(row.map(slot)))
            .collect()
    }
}

/// Key of an entry of a service's ports: one port has its own, all ranges of a VIP and protocol have one together.
pub fn service_key(vip: u32, protocol: Protocol, ports: Ports) -> u64 {
    let key = abi::service_key(vip, protocol.number(), ports.first());
    if ports.single().is_some() {
        key
    } else {
        abi::ranges_key(key)
    }
}

/// An address as the datapath holds it.
pub fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(v4) => v4_mapped(u32::from_ne_bytes(v4.octets())),
        IpAddr::V6(v6) => address_words(v6.octets()),
    }
}

/// An address from the datapath.
pub fn address_of(words: [u64; 2]) -> IpAddr {
    let bytes = <[u8; 16]>::read_from_bytes(words.as_bytes()).expect("two words are sixteen bytes");
    let v6 = Ipv6Addr::from(bytes);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}
