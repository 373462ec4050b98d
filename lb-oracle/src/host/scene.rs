//! The tables of a backend with every kind of service.

use std::net::{IpAddr, SocketAddr};

use lb_common::abi::{Backend, VipBucket, VipEntry, backend_flags, kind, ranges_key, service_key};
use lb_common::backend_abi::{
    self, BUCKETS, Config, Macs, PrefixV4, PrefixV6, Service, ServiceBucket,
};
use lb_common::prefix::lengths;
use lb_common::tunnel;
use lb_common::wire::v4_of;

use crate::make::{self, Cast, Tunnels};
use crate::{ip, node, target, vip, words};

/// VIPs, prefixes with an address of theirs; the last ones have no services.
pub const VIPS: [&str; 6] = [
    "198.51.100.10",
    "2001:db8:100::10",
    "203.0.113.77/25",
    "2001:db8:102::77:1/64",
    "198.51.100.11",
    "2001:db8:100::11",
];
/// Of those the first.
const SERVED: usize = 4;
/// Where tunnels end.
const OWN: [&str; 4] = ["10.1.0.1", "10.1.9.1", "fd00:1::1", "fd00:1::9:1"];
/// LB nodes: inside the first prefixes of `SOURCES`.
const SENDERS: [&str; 4] = ["10.0.0.11", "10.0.0.255", "fd00::11", "fd00::ffff"];
/// Other backends: the next hops of the first ones are known, the last ones are outside the trusted prefixes.
const HOPS: [&str; 8] = [
    "10.1.0.2",
    "10.1.0.3",
    "10.1.255.254",
    "10.2.0.1",
    "fd00:1::2",
    "fd00:1::3",
    "fd00:1:0:0:ffff::1",
    "fd00:2::1",
];
const KNOWN: [&str; 4] = [
    "10.1.0.2",
    "10.1.255.254",
    "fd00:1::2",
    "fd00:1:0:0:ffff::1",
];
/// Of nodes, then of backends.
const SOURCES: [([u8; 4], u8); 2] = [([10, 0, 0, 0], 24), ([10, 1, 0, 0], 16)];
const SOURCES_V6: [([u16; 4], u8); 2] = [([0xfd00, 0, 0, 0], 64), ([0xfd00, 1, 0, 0], 64)];

/// Ports of every served VIP.
struct Ports {
    protocol: u8,
    first: u16,
    last: u16,
    blind: bool,
    connected: bool,
}

const TCP: Ports = Ports {
    protocol: 6,
    first: 80,
    last: 80,
    blind: false,
    connected: false,
};
const UDP: Ports = Ports {
    protocol: 17,
    first: 53,
    last: 53,
    ..TCP
};

const SERVICES: &[Ports] = &[
    TCP,
    Ports {
        first: 81,
        last: 81,
        blind: true,
        ..TCP
    },
    Ports {
        first: 8000,
        last: 8999,
        blind: true,
        ..TCP
    },
    Ports {
        first: 8100,
        last: 8199,
        ..TCP
    },
    UDP,
    Ports {
        first: CONNECTED,
        last: CONNECTED,
        connected: true,
        ..UDP
    },
    Ports {
        first: 501,
        last: 501,
        connected: true,
        blind: true,
        ..UDP
    },
    Ports {
        first: 9000,
        last: 9999,
        connected: true,
        ..UDP
    },
];

/// The port whose UDP flows have sockets.
pub const CONNECTED: u16 = 500;

/// Everything that a backend's maps hold.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The only entry.
    pub config: Config,
    /// Every bucket.
    pub vips: Vec<VipBucket>,
    /// Every bucket.
    pub services: Vec<ServiceBucket>,
    /// Ways to other backends.
    pub next_hops: Vec<(IpAddr, Macs)>,
}

impl Scene {
    /// With every kind of service.
    pub fn new() -> Self {
        let config = config();
        let mut vips = vec![VipBucket::default(); BUCKETS as usize];
        let mut services = vec![ServiceBucket::default(); BUCKETS as usize];
        let mut sorted: Vec<&Ports> = SERVICES.iter().collect();
        // Of ranges around a port the narrowest counts, and is found first.
        sorted.sort_by_key(|ports| ports.last - ports.first);
        let entries: Vec<VipEntry> = (1..).zip(VIPS).map(|(id, text)| vip(text, id)).collect();
        let config = Config {
            prefixes: lengths(&entries),
            ..config
        };
        for entry in entries {
            let id = entry.id;
            let bucket = &mut vips[backend_abi::entry_bucket(config.vip_seed, &entry) as usize];
            let mut slots = bucket.entries.iter_mut();
            let free = slots.find(|slot| slot.kind == kind::EMPTY);
            *free.expect("few VIPs") = entry;
            for ports in sorted.iter().filter(|_| id as usize <= SERVED) {
                let service = ports.service(id);
                let place = backend_abi::service_bucket(config.service_seed, service.key);
                let mut slots = services[place as usize].entries.iter_mut();
                *slots.find(|slot| slot.key == 0).expect("few services") = service;
            }
        }
        Self {
            config,
            vips,
            services,
            next_hops: KNOWN.map(ip).into_iter().zip(1..).map(way).collect(),
        }
    }

    /// Of a box that is the LB node of `node` as well: tunnels end at the backends that are it, and its VIPs are served.
    pub fn beside(node: &node::Scene) -> Self {
        let mut scene = Self::new();
        let local = |backend: &&Backend| backend.flags & backend_flags::LOCAL != 0;
        for backend in node.backends.iter().filter(local) {
            if backend.address[0] == 0 {
                free(&mut scene.config.own_v4, 0, v4_of(backend.address));
            } else {
                free(&mut scene.config.own_v6, [0; 2], backend.address);
            }
        }
        scene.config.sources_v4[2] = PrefixV4 {
            address: node.shared.source_v4,
            mask: u32::MAX,
        };
        let vips = node.vips.iter().filter(|entry| kind::is_vip(entry.kind));
        for vip in vips {
            let place = backend_abi::entry_bucket(scene.config.vip_seed, vip);
            free(
                &mut scene.vips[place as usize].entries,
                VipEntry::default(),
                VipEntry {
                    id: 100 + vip.id,
                    ..*vip
                },
            );
        }
        let all: Vec<VipEntry> = scene
            .vips
            .iter()
            .flat_map(|bucket| bucket.entries)
            .collect();
        scene.config.prefixes = lengths(&all);
        scene
    }

    /// Who sends to these services.
    pub fn cast(&self) -> Cast {
        let vips = VIPS.iter().map(|vip| target(vip));
        let services = vips.flat_map(|vip| {
            SERVICES.iter().flat_map(move |ports| {
                [ports.first, ports.last].map(|port| make::Service {
                    at: SocketAddr::new(vip, port),
                    protocol: ports.protocol,
                })
            })
        });
        let known = VIPS.iter().chain(&OWN).chain(&SENDERS).chain(&HOPS);
        Cast {
            services: services.collect(),
            flows: Vec::new(),
            known: known.map(|address| target(address)).collect(),
            lengths: Vec::new(),
            numbers: Vec::new(),
        }
    }

    /// Whose tunnels end here.
    pub fn tunnels(&self) -> Tunnels {
        Tunnels {
            ends: OWN.map(ip).into(),
            senders: SENDERS.map(ip).into(),
            hops: HOPS.map(ip).into(),
        }
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Ports {
    fn service(&self, vip: u32) -> Service {
        let key = service_key(vip, self.protocol, self.first);
        Service {
            key: if self.first == self.last {
                key
            } else {
                ranges_key(key)
            },
            first_port: self.first,
            last_port: self.last,
            blind: self.blind.into(),
            connected: self.connected.into(),
            padding: 0,
        }
    }
}

fn config() -> Config {
    let sources_v4 = SOURCES.map(|(address, length)| PrefixV4 {
        address: u32::from_ne_bytes(address),
        mask: (u32::MAX << (32 - length)).to_be(),
    });
    let sources_v6 = SOURCES_V6.map(|([a, b, c, d], length)| PrefixV6 {
        address: words([a, b, c, d, 0, 0, 0, 0].into()),
        mask: [(u64::MAX << (64 - length)).to_be(), 0],
    });
    let mut config = Config {
        sources_v4: [PrefixV4::NONE; backend_abi::PREFIXES_MAX],
        sources_v6: [PrefixV6::NONE; backend_abi::PREFIXES_MAX],
        backends_v4: [PrefixV4::NONE; backend_abi::PREFIXES_MAX],
        backends_v6: [PrefixV6::NONE; backend_abi::PREFIXES_MAX],
        // More than any test asks for.
        budget_per_jiffy: u32::MAX,
        budget_max: u32::MAX,
        // A day: what is known of the ways does not change.
        cache_jiffies: 86_400_000,
        tunnel_port: tunnel::PORT.to_be(),
        mss_v4: 1404,
        mss_v6: 1316,
        ..Config::default()
    };
    config.sources_v4[..2].copy_from_slice(&sources_v4);
    config.sources_v6[..2].copy_from_slice(&sources_v6);
    config.backends_v4[3] = sources_v4[1];
    config.backends_v6[backend_abi::PREFIXES_MAX - 1] = sources_v6[1];
    let own = OWN.map(ip);
    let v4 = own.iter().filter(|address| address.is_ipv4());
    for (slot, address) in config.own_v4.iter_mut().zip(v4) {
        *slot = v4_of(words(*address));
    }
    let v6 = own.iter().filter(|address| address.is_ipv6());
    for (slot, address) in config.own_v6.iter_mut().zip(v6) {
        *slot = words(*address);
    }
    config
}

/// Puts `value` into the first place that is `empty`, if one is.
fn free<T: PartialEq>(places: &mut [T], empty: T, value: T) {
    if let Some(place) = places.iter_mut().find(|place| **place == empty) {
        *place = value;
    }
}

fn way((hop, number): (IpAddr, u8)) -> (IpAddr, Macs) {
    let macs = Macs {
        low: u64::from_ne_bytes([2, 0, 0, 0, 1, number, 2, 0]),
        high: u32::from_ne_bytes([0, 0, 0, 0xee]),
        padding: 0,
    };
    (hop, macs)
}
