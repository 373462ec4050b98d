//! The tables of a node with every kind of service.
//!
//! One service per pool, for both families, TCP and UDP alike: its port is 1000 and the pool's place in `POOLS`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::abi::{
    self, Backend, ServiceEntry, ServiceExtra, Shared, TAG, VipEntry, backend_flags, encap,
    fragments_key, kind, options, ranges_key, service_key,
};
use lb_common::filter::Element;
use lb_common::flow::FlowKey;
use lb_common::flow_table;
use lb_common::lb::prepare;
use lb_common::rate::{Rate, Rates, counts};
use lb_common::tunnel;
use lb_common::wire::v4_of;

use super::lists;
use crate::make::{Cast, Service};
use crate::packet::MACS;
use crate::{ip, target, vip, words};

/// A pool, and what is special about it.
struct Pool {
    encap: u8,
    /// `10.1.PLACE.` or `fd00:1:PLACE::`.
    over_v4: bool,
    backends: u16,
    hops: u16,
    mtu: u16,
    flags: u8,
    /// Of its services.
    options: u16,
    /// The same.
    rates: Rates,
    way: Way,
}

/// The way to a pool's backends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The packet's own interface.
    Back,
    /// The same, with a VLAN tag.
    Tagged,
    /// Another interface.
    Other,
    /// A VLAN on another interface.
    OtherTagged,
    /// None is known.
    Unresolved,
    /// The rows name no backend.
    Empty,
    /// The rows name backends that are not there.
    Unknown,
    /// The rows are not there.
    NoTable,
    /// It is this box.
    Local,
    /// The backend is where the packets come from.
    Sender,
}

/// A bucket that is full at any time.
const FULL: Rate = Rate {
    per_jiffy: 1,
    cost: 1,
    most: i32::MAX as u32,
};
/// One that never has enough.
const EMPTY: Rate = Rate {
    cost: 2,
    most: 1,
    ..FULL
};
const UNLIMITED: Rates = Rates {
    service: FULL,
    source: FULL,
    source_mask: 1023,
    prefix_v4: 24,
    prefix_v6: 56,
    counts: 0,
    reserved: 0,
};

const ROWS: Pool = Pool {
    encap: encap::ROWS,
    over_v4: true,
    backends: 5,
    hops: 4,
    mtu: 1600,
    flags: 0,
    options: 0,
    rates: UNLIMITED,
    way: Way::Back,
};
const ROWS_V6: Pool = Pool {
    over_v4: false,
    ..ROWS
};
const GUE: Pool = Pool {
    encap: encap::GUE,
    ..ROWS
};
const IP: Pool = Pool {
    encap: encap::IP,
    ..ROWS
};

const L2: Pool = Pool {
    encap: encap::L2,
    ..ROWS
};

/// Every pool.
const POOLS: &[Pool] = &[
    ROWS,
    Pool { hops: 3, ..ROWS },
    Pool { hops: 2, ..ROWS },
    Pool { hops: 1, ..ROWS },
    ROWS_V6,
    Pool { hops: 3, ..ROWS_V6 },
    Pool { hops: 2, ..ROWS_V6 },
    Pool { hops: 1, ..ROWS_V6 },
    Pool {
        flags: tunnel::flags::SETTLING,
        ..ROWS
    },
    Pool {
        options: options::HASH_SRC_DST,
        ..ROWS
    },
    Pool {
        options: options::HASH_SRC,
        ..ROWS_V6
    },
    Pool {
        options: options::FILTER,
        ..ROWS
    },
    Pool {
        options: options::FILTER | options::HASH_SRC_DST,
        ..ROWS_V6
    },
    Pool {
        options: options::RATES | options::FILTER,
        ..ROWS_V6
    },
    Pool {
        options: options::RATES,
        rates: Rates {
            service: EMPTY,
            counts: counts::SERVICE_OPENS,
            ..UNLIMITED
        },
        ..ROWS
    },
    Pool {
        options: options::RATES,
        rates: Rates {
            source: EMPTY,
            ..UNLIMITED
        },
        ..ROWS_V6
    },
    GUE,
    Pool {
        over_v4: false,
        ..GUE
    },
    IP,
    Pool {
        over_v4: false,
        ..IP
    },
    Pool {
        way: Way::Tagged,
        ..ROWS
    },
    Pool {
        way: Way::Tagged,
        ..ROWS_V6
    },
    Pool {
        way: Way::Tagged,
        ..IP
    },
    Pool {
        way: Way::Other,
        ..ROWS
    },
    Pool {
        way: Way::OtherTagged,
        over_v4: false,
        ..GUE
    },
    Pool {
        way: Way::Unresolved,
        ..ROWS
    },
    Pool {
        way: Way::Empty,
        ..ROWS
    },
    Pool {
        way: Way::Unknown,
        ..ROWS
    },
    Pool {
        way: Way::NoTable,
        ..ROWS
    },
    Pool { mtu: 200, ..ROWS },
    Pool {
        mtu: 200,
        ..ROWS_V6
    },
    Pool {
        mtu: 1280,
        over_v4: false,
        ..IP
    },
    Pool {
        mtu: u16::MAX,
        ..ROWS_V6
    },
    Pool {
        way: Way::Local,
        ..ROWS
    },
    Pool {
        way: Way::Local,
        ..ROWS_V6
    },
    Pool {
        way: Way::Local,
        ..IP
    },
    Pool {
        backends: 1,
        ..ROWS
    },
    L2,
    Pool {
        over_v4: false,
        way: Way::Tagged,
        ..L2
    },
    Pool {
        way: Way::Other,
        ..L2
    },
    Pool { mtu: 200, ..L2 },
    Pool {
        options: options::FLOW_TABLE,
        ..IP
    },
    Pool {
        options: options::FLOW_TABLE | options::HASH_SRC_DST,
        over_v4: false,
        ..GUE
    },
    Pool {
        way: Way::Sender,
        ..L2
    },
    Pool {
        options: options::FLOW_TABLE | options::ATTACK,
        ..IP
    },
    Pool {
        options: options::ATTACK | options::HASH_SRC_DST,
        flags: tunnel::flags::KNOWN_ONLY,
        ..ROWS_V6
    },
];
/// The last one: its services take known flows only.
const ATTACKED: usize = POOLS.len() - 1;

/// VIPs, prefixes with an address of theirs; the last ones, one of them inside a prefix, have no services.
const VIPS: [&str; 7] = [
    "198.51.100.1",
    "2001:db8:100::1",
    "198.51.100.177/25",
    "2001:db8:101::77:1/64",
    "198.51.100.2",
    "2001:db8:100::2",
    "198.51.100.200",
];
const SERVED: usize = 4;
/// Nodes.
const NODES: [&str; 3] = ["10.0.0.11", "10.0.0.12", "fd00::11"];
/// Ranges of UDP ports of the first VIPs, and the place of the pool of each; one port has its own.
const RANGES: [(u16, u16, usize); 4] = [
    (8000, 8999, 0),
    (8100, 8199, 4),
    (8150, 8150, 11),
    (65535, 65535, 1),
];
/// Protocols of the first VIPs, and the place of the pool whose service takes the fragments of each.
const FRAGMENTS: [(u32, u8, usize); 4] = [(1, 17, 0), (2, 17, 0), (1, 6, 9), (2, 6, ATTACKED)];
/// Where the counters of one service's backends begin, in its number.
const COUNTERS: u32 = 8;
/// Where every frame comes from.
const SENDER: [u8; 6] = {
    let [.., a, b, c, d, e, f] = MACS;
    [a, b, c, d, e, f]
};
/// An interface that packets do not come in by.
const OTHER_INTERFACE: u32 = 7;

/// Everything below the root.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Without seeds.
    pub shared: Shared,
    /// VIPs, and addresses that are no clients'.
    pub vips: Vec<VipEntry>,
    /// By VIP, protocol and port.
    pub services: Vec<ServiceEntry>,
    /// Pool by pool.
    pub backends: Vec<Backend>,
    /// By the counter of the service.
    pub extras: BTreeMap<u32, ServiceExtra>,
    /// By fingerprint.
    pub filters: BTreeMap<u64, Arc<[Element]>>,
    /// Packed rows.
    pub tables: BTreeMap<u32, Arc<[u64]>>,
}

impl Scene {
    /// With every kind of service.
    pub fn new() -> Self {
        let mut scene = Self {
            shared: shared(),
            vips: vips(),
            services: Vec::new(),
            backends: Vec::new(),
            extras: BTreeMap::new(),
            filters: [(lists::place().fingerprint, lists::elements())].into(),
            tables: BTreeMap::new(),
        };
        for (place, pool) in POOLS.iter().enumerate() {
            let first = scene.backends.len() as u32;
            scene
                .backends
                .extend((0..pool.backends).map(|i| pool.backend(place, i)));
            if pool.way != Way::NoTable {
                scene.tables.insert(table(place), pool.rows());
            }
            scene.enter(place, pool, first);
        }
        scene
    }

    /// The services of a pool.
    fn enter(&mut self, place: usize, pool: &Pool, first_backend: u32) {
        let own = 1000 + place as u16;
        let ranges = RANGES.iter().filter(|(.., of)| *of == place);
        let mut ports = vec![(6, own, own), (17, own, own)];
        ports.extend(ranges.map(|(first, last, _)| (17, *first, *last)));
        for vip in 1..=SERVED as u32 {
            let begin = self.services.len();
            for &(protocol, first_port, last_port) in &ports {
                let key = service_key(vip, protocol, first_port);
                let counter = self.services.len() as u32;
                let extra = pool.extra();
                if extra != ServiceExtra::default() {
                    self.extras.insert(counter, extra);
                }
                self.services.push(ServiceEntry {
                    key: if first_port == last_port {
                        key
                    } else {
                        ranges_key(key)
                    },
                    table: table(place),
                    service_counter: counter,
                    first_counter: counter * COUNTERS,
                    first_backend: first_backend as u16,
                    options: pool.options,
                    tunnel_mtu: pool.mtu,
                    tunnel_flags: pool.flags,
                    encap: pool.encap,
                    first_port,
                    last_port,
                });
            }
            let takes = FRAGMENTS
                .iter()
                .filter(|(of_vip, _, of)| (*of_vip, *of) == (vip, place));
            for (_, protocol, _) in takes {
                let of = service_key(vip, *protocol, own);
                let taker = self.services[begin..].iter().find(|one| one.key == of);
                let taker = taker.copied().unwrap_or_default();
                self.services.push(ServiceEntry {
                    key: fragments_key(of),
                    first_port: 0,
                    last_port: 0,
                    ..taker
                });
            }
        }
    }

    /// The content of filters by the slots that services name.
    pub(super) fn filters_by_slot(&self) -> BTreeMap<u32, Arc<[Element]>> {
        let filters = self.extras.values().map(|extra| extra.filter);
        let content = |fingerprint: u64| self.filters.get(&fingerprint).cloned();
        filters
            .filter_map(|filter| Some((filter.slot.into(), content(filter.fingerprint)?)))
            .collect()
    }

    /// Counters of services and of backends that are in use.
    pub fn counters(&self) -> (u32, u32) {
        let services = self.services.len() as u32;
        (services, services * COUNTERS)
    }

    /// Who sends to these services.
    pub fn cast(&self) -> Cast {
        let vip = |number: u32| target(VIPS[number as usize - 1]);
        let mut services: Vec<Service> = self
            .services
            .iter()
            .filter(|service| service.last_port != 0)
            .map(|service| Service {
                at: SocketAddr::new(vip(abi::service_vip(service.key)), service.first_port),
                protocol: (service.key >> 16) as u8,
            })
            .collect();
        services.extend(VIPS[SERVED..].iter().map(|vip| Service {
            at: (target(vip), 1000).into(),
            protocol: 6,
        }));
        let backends =
            (0..3).flat_map(|place| [true, false].map(|over_v4| address(over_v4, place, 0)));
        Cast {
            services,
            flows: Vec::new(),
            known: VIPS
                .iter()
                .chain(&NODES)
                .map(|address| target(address))
                .chain(backends)
                .collect(),
            lengths: vec![200, 1280, 1500, 1600],
            numbers: Vec::new(),
        }
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

fn shared() -> Shared {
    Shared {
        flow: FlowKey::new(*b"0123456789abcdef"),
        source_v4: v4_of(words(ip(NODES[0]))),
        source_v6: words(ip(NODES[2])),
        generation: 0x0007_0000_u32.to_be(),
        header: tunnel::common(0, 3),
        prefixes: 1,
        // More than any test asks for.
        answers_per_jiffy: u16::MAX,
        answers_max: u32::MAX,
        ..Shared::default()
    }
}

fn vips() -> Vec<VipEntry> {
    let vips = (1..).zip(VIPS).map(|(id, text)| vip(text, id));
    let own = |address| VipEntry {
        address: words(address),
        kind: kind::OWN,
        id: 0,
    };
    let backends = POOLS
        .iter()
        .enumerate()
        .flat_map(|(place, pool)| (0..pool.backends).map(move |i| address(pool.over_v4, place, i)));
    let nodes = NODES.iter().map(|node| ip(node));
    let mut entries: Vec<VipEntry> = vips.chain(nodes.chain(backends).map(own)).collect();
    // As the agent has them: a look-up for an address may meet a prefix in its bucket, behind it.
    entries.sort_by_key(|entry| entry.kind);
    entries
}

/// Table of the pool at `place`, the first of its pair.
const fn table(place: usize) -> u32 {
    2 * place as u32
}

fn address(over_v4: bool, place: usize, i: u16) -> IpAddr {
    if over_v4 {
        [10, 1, place as u8, 1 + i as u8].into()
    } else {
        [0xfd00, 1, place as u16, 0, 0, 0, 0, 1 + i].into()
    }
}

impl Pool {
    fn extra(&self) -> ServiceExtra {
        let mut extra = ServiceExtra {
            flow_timeout: flow_table::TIMEOUT_MAX,
            ..ServiceExtra::default()
        };
        if self.options & options::FILTER != 0 {
            extra.filter = lists::place();
        }
        if self.options & options::RATES != 0 {
            extra.rates = self.rates;
        }
        extra
    }

    fn backend(&self, place: usize, i: u16) -> Backend {
        let address = words(address(self.over_v4, place, i));
        if self.way == Way::Unknown {
            return Backend::default();
        }
        let (source, other) = (
            shared().source_v4,
            matches!(self.way, Way::Other | Way::OtherTagged),
        );
        let flags = match self.way {
            Way::Unresolved => 0,
            Way::Local => backend_flags::REACHABLE | backend_flags::LOCAL,
            _ => backend_flags::REACHABLE,
        };
        let mut backend = Backend {
            address,
            ifindex: if other { OTHER_INTERFACE } else { 1 },
            flags: flags | backend_flags::JUDGED | backend_flags::UP,
            mtu: self.mtu,
            vlan: match self.way {
                Way::Tagged => u32::from_ne_bytes([0x81, 0, 0x20, 0x64]),
                Way::OtherTagged => u32::from_ne_bytes([0x88, 0xa8, 0x0f, 0xff]),
                _ => 0,
            },
            tag_bytes: match self.way {
                Way::Tagged | Way::OtherTagged => TAG as u16,
                _ => 0,
            },
            ..Backend::default()
        };
        let [a, b, c, d, e, f] = match self.way {
            Way::Sender => SENDER,
            _ => [2, 0, 0, 1, place as u8, i as u8],
        };
        let macs = [a, b, c, d, e, f, 2, 0, 0, 2, 0xfe, 0xed];
        prepare(&mut backend, macs, source, tunnel::PORT);
        backend
    }

    fn rows(&self) -> Arc<[u64]> {
        let hop = |row: u32, hop: u16| {
            if hop < self.hops.min(self.backends) && self.way != Way::Empty {
                (row % u32::from(self.backends)) as u16 + hop
            } else {
                abi::ABSENT
            }
        };
        let wrapped = |row, n| match hop(row, n) {
            abi::ABSENT => abi::ABSENT,
            index => index % self.backends,
        };
        (0..abi::ROWS)
            .map(|row| abi::pack_row([0, 1, 2, 3].map(|n| wrapped(row, n))))
            .collect()
    }
}
