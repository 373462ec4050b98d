//! What the backend's maps hold, from the wanted state. Pure.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lb_common::abi::{BUCKET_ENTRIES, VipBucket, VipEntry};
use lb_common::backend_abi::{
    self, BUCKETS, Config, OWN_MAX, PREFIXES_MAX, PrefixV4, PrefixV6, Service, ServiceBucket,
};
use lb_common::prefix;
use lb_common::wire::{Be16, address_words, v4_of};

use crate::model::{Ports, Protocol, Vip};
use crate::plan::desired::{service_key, words};
use crate::plan::vips;

/// Seeds tried before the index counts as too full.
const SEEDS_MAX: u64 = 10_000;
/// What one CPU may pass on per second: a tenth of a core's time.
const FORWARDS_PER_SEC: u32 = 1_000_000;
/// Seconds for which a next hop is taken from a CPU's own cache: how long a changed MAC address may go unnoticed.
const CACHE_SECS: u32 = 1;

/// Ports at a VIP that backends treat alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address clients use.
    pub vip: Vip,
    /// Transport.
    pub protocol: Protocol,
    /// Destination ports.
    pub ports: Ports,
    /// A flow's owner is known by a socket: TCP, and UDP whose servers connect.
    pub has_sockets: bool,
}

/// What the datapath is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Where tunnels end.
    pub own: BTreeSet<IpAddr>,
    /// UDP destination port of the tunnel.
    pub tunnel_port: u16,
    /// Prefixes of the LB nodes.
    pub trusted_lbs: Vec<IpNet>,
    /// Prefixes of the other backends.
    pub trusted_backends: Vec<IpNet>,
    /// VIPs and ports that are served.
    pub endpoints: BTreeSet<Endpoint>,
    /// Those of them without a listener so far, where that matters.
    pub blind: BTreeSet<Endpoint>,
    /// Largest MSS in SYN-ACKs over IPv4 and IPv6; zero: left alone.
    pub mss: (u16, u16),
    /// Jiffies per second.
    pub hertz: u32,
}

/// Why there is no image.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// More addresses than the configuration map holds.
    #[error(
        "tunnels can end at {OWN_MAX} {family} addresses and there are {count}; set node.tunnel_source_v4 and node.tunnel_source_v6"
    )]
    OwnAddresses {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// How many.
        count: usize,
    },
    /// More prefixes than the configuration map holds.
    #[error(
        "backend.{field}: {count} {family} prefixes remain after joining neighbours, at most {PREFIXES_MAX} fit (for packets' sources, \
         those of both lists together); use shorter prefixes"
    )]
    Prefixes {
        /// In the file.
        field: &'static str,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// How many.
        count: usize,
    },
    /// No seed makes everything fit.
    #[error("{count} {what} do not fit the index; spread them over more backends")]
    Index {
        /// `VIPs` or `services`.
        what: &'static str,
        /// How many.
        count: usize,
    },
}

/// The contents of the maps; buckets that are empty are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The only entry.
    pub config: Config,
    /// By index.
    pub vips: BTreeMap<u32, VipBucket>,
    /// By index.
    pub services: BTreeMap<u32, ServiceBucket>,
}

impl Image {
    /// Lays `wanted` out.
    pub fn new(wanted: &Wanted) -> Result<Self, ImageError> {
        let vips = numbered_vips(wanted);
        let services = services(wanted, &vips);
        let mut entries: Vec<VipEntry> =
            vips.iter().map(|&(vip, id)| vips::entry(vip, id)).collect();
        // A look-up for an address may meet prefixes in its bucket, behind the entry of the address.
        entries.sort_by_key(|entry| entry.kind);
        let (vip_seed, vips) = index(
            &entries,
            backend_abi::entry_bucket,
            |members| VipBucket {
                entries: filled(members, |entry| *entry),
            },
            "VIPs",
        )?;
        let (service_seed, services) = index(
            &services,
            |seed, service| backend_abi::service_bucket(seed, service.key),
            |members| ServiceBucket {
                entries: filled(members, |service| *service),
            },
            "services",
        )?;
        let config = Config {
            vip_seed,
            service_seed,
            prefixes: prefix::lengths(&entries),
            ..config(wanted)?
        };
        Ok(Self {
            config,
            vips,
            services,
        })
    }
}

/// VIPs with their numbers, from 1.
fn numbered_vips(wanted: &Wanted) -> Vec<(Vip, u32)> {
    let addresses: BTreeSet<Vip> = wanted
        .endpoints
        .iter()
        .map(|endpoint| endpoint.vip)
        .collect();
    addresses.into_iter().zip(1..).collect()
}

fn services(wanted: &Wanted, vips: &[(Vip, u32)]) -> Vec<Service> {
    let numbers: BTreeMap<Vip, u32> = vips.iter().copied().collect();
    let service = |endpoint: &Endpoint| Service {
        key: endpoint.key(numbers[&endpoint.vip]),
        first_port: endpoint.ports.first(),
        last_port: endpoint.ports.last(),
        blind: wanted.blind.contains(endpoint).into(),
        connected: (endpoint.protocol == Protocol::Udp && endpoint.has_sockets).into(),
        padding: 0,
    };
    let mut services: Vec<Service> = wanted.endpoints.iter().map(service).collect();
    services.sort_by_key(|service| service.last_port - service.first_port);
    services
}

impl Endpoint {
    /// A TCP service on one port.
    pub fn tcp(at: SocketAddr) -> Self {
        Self {
            vip: at.ip().into(),
            protocol: Protocol::Tcp,
            ports: Ports::one(at.port()),
            has_sockets: true,
        }
    }

    fn key(&self, vip: u32) -> u64 {
        service_key(vip, self.protocol, self.ports)
    }
}

/// The first seed under which no bucket overflows, and the buckets.
fn index<T, B>(
    entries: &[T],
    bucket: impl Fn(u64, &T) -> u32,
    fill: impl Fn(&[&T]) -> B,
    what: &'static str,
) -> Result<(u64, BTreeMap<u32, B>), ImageError> {
    (0..SEEDS_MAX)
        .find_map(|seed| {
            let mut buckets = BTreeMap::<u32, Vec<&T>>::new();
            for entry in entries {
                let members = buckets
                    .entry(bucket(seed, entry) & (BUCKETS - 1))
                    .or_default();
                if members.len() == BUCKET_ENTRIES {
                    return None;
                }
                members.push(entry);
            }
            let filled = buckets
                .iter()
                .map(|(index, members)| (*index, fill(members)));
            Some((seed, filled.collect()))
        })
        .ok_or(ImageError::Index {
            what,
            count: entries.len(),
        })
}

fn filled<T, E: Default>(members: &[&T], entry: impl Fn(&T) -> E) -> [E; BUCKET_ENTRIES] {
    std::array::from_fn(|i| {
        members
            .get(i)
            .map_or_else(E::default, |member| entry(member))
    })
}

fn config(wanted: &Wanted) -> Result<Config, ImageError> {
    let (sources_v4, sources_v6) =
        families(wanted.trusted_lbs.iter().chain(&wanted.trusted_backends));
    let (backends_v4, backends_v6) = families(&wanted.trusted_backends);
    let (own_v4, own_v6): (Vec<IpAddr>, Vec<IpAddr>) =
        wanted.own.iter().partition(|address| address.is_ipv4());
    let per_jiffy = FORWARDS_PER_SEC.div_ceil(wanted.hertz.max(1));
    Ok(Config {
        own_v6: own(&own_v6, "IPv6", words)?,
        own_v4: own(&own_v4, "IPv4", |address| v4_of(words(address)))?,
        sources_v6: prefixes(
            &sources_v6,
            "trusted_lbs",
            "IPv6",
            PrefixV6::NONE,
            prefix_v6,
        )?,
        sources_v4: prefixes(
            &sources_v4,
            "trusted_lbs",
            "IPv4",
            PrefixV4::NONE,
            prefix_v4,
        )?,
        backends_v6: prefixes(
            &backends_v6,
            "trusted_backends",
            "IPv6",
            PrefixV6::NONE,
            prefix_v6,
        )?,
        backends_v4: prefixes(
            &backends_v4,
            "trusted_backends",
            "IPv4",
            PrefixV4::NONE,
            prefix_v4,
        )?,
        budget_per_jiffy: per_jiffy,
        // A tenth of a second's worth: what waits in a queue after a table swap is passed on at once.
        budget_max: FORWARDS_PER_SEC / 10,
        cache_jiffies: CACHE_SECS * wanted.hertz.max(1),
        tunnel_port: Be16::new(wanted.tunnel_port).raw(),
        mss_v4: wanted.mss.0,
        mss_v6: wanted.mss.1,
        ..Config::default()
    })
}

fn own<T: Copy + Default>(
    addresses: &[IpAddr],
    family: &'static str,
    word: impl Fn(IpAddr) -> T,
) -> Result<[T; OWN_MAX], ImageError> {
    if addresses.len() > OWN_MAX {
        return Err(ImageError::OwnAddresses {
            family,
            count: addresses.len(),
        });
    }
    Ok(std::array::from_fn(|i| {
        addresses
            .get(i)
            .map_or_else(T::default, |address| word(*address))
    }))
}

/// Both families, neighbouring prefixes joined.
fn families<'a>(list: impl IntoIterator<Item = &'a IpNet>) -> (Vec<Ipv4Net>, Vec<Ipv6Net>) {
    let list: Vec<IpNet> = list.into_iter().copied().collect();
    let joined = IpNet::aggregate(&list);
    let v4 = joined.iter().filter_map(|net| match net {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    });
    let v6 = joined.iter().filter_map(|net| match net {
        IpNet::V6(net) => Some(*net),
        IpNet::V4(_) => None,
    });
    (v4.collect(), v6.collect())
}

fn prefixes<N, P: Copy>(
    nets: &[N],
    field: &'static str,
    family: &'static str,
    none: P,
    prefix: impl Fn(&N) -> P,
) -> Result<[P; PREFIXES_MAX], ImageError> {
    if nets.len() > PREFIXES_MAX {
        return Err(ImageError::Prefixes {
            field,
            family,
            count: nets.len(),
        });
    }
    Ok(std::array::from_fn(|i| nets.get(i).map_or(none, &prefix)))
}

fn prefix_v4(net: &Ipv4Net) -> PrefixV4 {
    PrefixV4 {
        address: u32::from_ne_bytes(net.network().octets()),
        mask: u32::from_ne_bytes(net.netmask().octets()),
    }
}

fn prefix_v6(net: &Ipv6Net) -> PrefixV6 {
    PrefixV6 {
        address: address_words(net.network().octets()),
        mask: address_words(net.netmask().octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(prefixes: usize, own: u8, vips: u16) -> Wanted {
        Wanted {
            own: (1..=own).map(|i| IpAddr::from([10, 1, 0, i])).collect(),
            // Every second /24, so that no two join.
            trusted_lbs: (0..prefixes)
                .map(|i| format!("10.{}.0.0/24", 2 * i).parse().unwrap())
                .collect(),
            endpoints: (0..vips)
                .map(|i| Endpoint::tcp(([198, 51, (i >> 8) as u8, i as u8], 80).into()))
                .collect(),
            hertz: 250,
            ..Wanted::default()
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Image::new(&wanted(16, 4, 1)).is_ok());
        assert_eq!(
            Image::new(&wanted(17, 1, 1)).unwrap_err().to_string(),
            "backend.trusted_lbs: 17 IPv4 prefixes remain after joining neighbours, at most 16 fit (for packets' sources, those of \
             both lists together); use shorter prefixes"
        );
        assert_eq!(
            Image::new(&wanted(1, 5, 1)).unwrap_err().to_string(),
            "tunnels can end at 4 IPv4 addresses and there are 5; set node.tunnel_source_v4 and node.tunnel_source_v6"
        );
    }

    #[test]
    fn every_vip_and_service_is_found_in_its_bucket() {
        let mut wanted = wanted(1, 1, 1500);
        let blind = *wanted.endpoints.iter().nth(7).unwrap();
        wanted.blind.insert(blind);
        let image = Image::new(&wanted).unwrap();
        for endpoint in &wanted.endpoints {
            let vip = endpoint.vip.single().unwrap();
            let bucket = backend_abi::vip_bucket(image.config.vip_seed, words(vip));
            let entries = image.vips[&bucket].entries;
            let entry = entries.iter().find(|entry| entry.address == words(vip));
            let key = endpoint.key(entry.unwrap().id);
            let bucket = backend_abi::service_bucket(image.config.service_seed, key);
            let entries = image.services[&bucket].entries;
            let service = entries.iter().find(|service| service.key == key).unwrap();
            assert_eq!(service.blind != 0, *endpoint == blind, "{vip}");
        }
    }

    #[test]
    fn prefixes_hold_what_they_say_and_nothing_else() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let image = Image::new(&Wanted {
            trusted_lbs: vec![net("10.0.0.0/25"), net("10.0.0.128/25"), net("fd00::/64")],
            trusted_backends: vec![net("10.1.0.7/32"), net("fd00:1::/33")],
            ..wanted(0, 1, 1)
        });
        let config = image.unwrap().config;
        let v4 = |text: &str| v4_of(words(text.parse().unwrap()));
        let v6 = |text: &str| words(text.parse().unwrap());
        let source_v4 = |text| config.sources_v4.iter().any(|net| net.holds(v4(text)));
        let source_v6 = |text| config.sources_v6.iter().any(|net| net.holds(v6(text)));
        assert!(source_v4("10.0.0.1") && source_v4("10.0.0.255") && source_v4("10.1.0.7"));
        assert!(!source_v4("10.0.1.0") && !source_v4("10.1.0.6") && !source_v4("0.0.0.0"));
        assert!(source_v6("fd00::ffff") && source_v6("fd00:1:7fff::1"));
        assert!(!source_v6("fd00:0:0:1::") && !source_v6("fd00:1:8000::") && !source_v6("::"));
        let backend_v4 = |text| config.backends_v4.iter().any(|net| net.holds(v4(text)));
        assert!(backend_v4("10.1.0.7") && !backend_v4("10.0.0.1"));
    }

    #[test]
    fn limits_follow_the_length_of_a_jiffy() {
        for (hertz, per_jiffy) in [(100, 10_000), (250, 4_000), (1000, 1_000)] {
            let wanted = Wanted {
                hertz,
                ..wanted(1, 1, 1)
            };
            let config = Image::new(&wanted).unwrap().config;
            assert_eq!(
                (config.budget_per_jiffy, config.cache_jiffies),
                (per_jiffy, hertz)
            );
        }
    }
}
