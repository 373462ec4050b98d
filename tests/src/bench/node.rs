//! Cases of the LB node: packets for a VIP and packets for others.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use anylb::dataplane::{Dataplane, Next, Options};
use anylb::filter::{Filter, PrefixList};
use anylb::model::{
    AdminState, Encap, HashKey, Mode, PoolName, Ports, Protocol, RateLimit, SourceLimit, Vlan,
    XdpMode,
};
use anylb::plan::desired::NextHop;
use anylb::plan::{
    Desired, DesiredBackend, DesiredPool, DesiredService, ServiceOptions, Slots, plan,
};
use anylb::rows::{self, Input, Member, View};
use anylb::status::Health;
use ipnet::IpNet;
use lb_common::flow::FlowKey;

use super::family::{FAMILIES, Family, PORT};
use super::live::Live;
use super::series::Case;
use super::wrapper::{Frame, Probe, Vary};
use crate::packet::{ACK, SYN, Segment, frame, message};

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;
const KEY: [u8; 16] = *b"a benchmark key.";
const BACKENDS: u8 = 12;
const HOPS: u8 = 4;
const CLIENT_PORT: u16 = 40_000;
const TAG: Vlan = Vlan {
    ethertype: 0x8100,
    id: 8,
};
/// Ethernet and IP header: all that the program may change.
const HEADERS: usize = 56;

/// Protocols and kinds of packets.
const KINDS: [(&str, &str); 4] = [
    ("tcp", "syn"),
    ("tcp", "established"),
    ("udp", "syn"),
    ("udp", "established"),
];
/// No flow is silent for so long here.
const FLOW_TIMEOUT: Duration = Duration::from_secs(3600);
/// Bytes in a datagram that is not empty.
const DATA: usize = 1000;

/// Number of flows, by its name in a case.
const FLOWS: [(&str, u32); 3] = [("1", 1), ("64k", 1 << 16), ("1m", 1 << 20)];

/// What a service of the benchmark adds to a packet's way; each has a port of its own.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    port: u16,
    encap: Encap,
    mode: Mode,
    /// The packet comes with a VLAN tag, and leaves with another.
    tagged: bool,
    /// Index of the interface that it leaves by; a test run comes in by the first.
    interface: u32,
}

const GUE: Way = Way {
    name: "gue",
    port: PORT,
    encap: Encap::Gue,
    mode: Mode::Rows,
    tagged: false,
    interface: 1,
};
const IPIP: Way = Way {
    name: "ipip",
    port: PORT + 1,
    encap: Encap::IpIp,
    mode: Mode::Stateless,
    ..GUE
};
const VLAN: Way = Way {
    name: "vlan",
    port: PORT + 2,
    tagged: true,
    ..GUE
};
const REDIRECT: Way = Way {
    name: "redirect",
    port: PORT + 3,
    interface: 2,
    ..GUE
};
/// Its deny list has a million prefixes of each family, none of a client.
const LISTS: Way = Way {
    name: "lists",
    port: PORT + 5,
    ..GUE
};
/// It has rates that no test reaches, for all and for each source.
const RATES: Way = Way {
    name: "rates",
    port: PORT + 6,
    ..GUE
};
const WAYS: [Way; 6] = [GUE, IPIP, VLAN, REDIRECT, LISTS, RATES];
/// The node remembers which backend a flow has.
const FLOW_TABLE: Way = Way {
    name: "flowtable",
    port: PORT + 7,
    mode: Mode::FlowTable,
    ..IPIP
};

/// Runs of a case until its flows are remembered, in their number: what finds no place for its note comes again.
const UNTIL_KNOWN: u32 = 6;

/// Of frames that really leave, by the interface that they came in by.
const fn live(interface: u32) -> Way {
    Way {
        name: "live",
        port: PORT + 4,
        interface,
        ..GUE
    }
}

/// All cases, on a program loaded under `directory` with services for each way and family, twelve backends each, four hops. The
/// program lives as long as a case does. Live frames come in and leave by the interface with the index `live_interface`.
pub fn cases(directory: &Path, live_interface: u32) -> Result<(Vec<Case>, Vec<Live>)> {
    let mut plane = open(&directory.join("node"), 1)?;
    let live = live(live_interface);
    apply(&mut plane, &desired(&[&WAYS[..], &[live]].concat())?)?;
    let mut cases = Vec::new();
    for family in &FAMILIES {
        for way in [GUE, IPIP] {
            for (protocol, kind) in KINDS {
                for (flows, count) in FLOWS {
                    let name =
                        format!("vip-{}-{protocol}-{}-{kind}-{flows}", family.name, way.name);
                    let packet = packet(family, way, protocol, kind)?;
                    let vary = Some(source(family.client(CLIENT_PORT)?, count));
                    cases.push(case(&plane, name, packet, vary, XDP_TX)?);
                }
            }
        }
        for (way, verdict) in [(VLAN, XDP_TX), (REDIRECT, XDP_REDIRECT)] {
            let name = format!("{}-{}", way.name, family.name);
            let packet = packet(family, way, "tcp", "established")?;
            cases.push(case(&plane, name, packet, None, verdict)?);
        }
    }
    cases.extend(remembered(directory)?);
    for family in &FAMILIES {
        for way in [LISTS, RATES] {
            let name = format!("{}-{}", way.name, family.name);
            let packet = packet(family, way, "tcp", "established")?;
            let vary = Some(source(family.client(CLIENT_PORT)?, 1 << 16));
            cases.push(case(&plane, name, packet, vary, XDP_TX)?);
        }
    }
    for family in &FAMILIES {
        let name = format!("foreign-{}", family.name);
        let packet = Segment::new(family.client(CLIENT_PORT)?, family.foreign()?, ACK);
        cases.push(case(&plane, name, packet.frame(), None, XDP_PASS)?);
    }
    Ok((cases, live_cases(&plane, live)?))
}

/// Of a pool whose flows the node remembers: those that it knows, in a table of twice the size, and SYNs.
fn remembered(directory: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for family in &FAMILIES {
        for (protocol, kind) in [
            ("tcp", "established"),
            ("udp", "established"),
            ("tcp", "syn"),
        ] {
            for (flows, count) in FLOWS {
                let name = format!("flowtable-{}-{protocol}-{kind}-{flows}", family.name);
                let mut plane = open(&directory.join(&name), 2 * count)?;
                apply(&mut plane, &desired(&[FLOW_TABLE])?)?;
                let packet = packet(family, FLOW_TABLE, protocol, kind)?;
                let vary = Some(source(family.client(CLIENT_PORT)?, count));
                let case = case(&plane, name, packet, vary, XDP_TX)?;
                case.probe.round(count * UNTIL_KNOWN)?;
                cases.push(case);
            }
        }
    }
    Ok(cases)
}

fn open(pin_dir: &Path, flow_table_entries: u32) -> Result<Dataplane> {
    Ok(Dataplane::open(&Options {
        pin_dir: pin_dir.into(),
        interfaces: Vec::new(),
        mode: XdpMode::Auto,
        next: Next::Kernel,
        flow_table_entries,
    })?)
}

/// An empty program, then ours with a packet of each family, of many flows.
fn live_cases(plane: &Dataplane, live: Way) -> Result<Vec<Live>> {
    let mut cases = Vec::new();
    for family in &FAMILIES {
        let frame = Frame {
            restore: HEADERS,
            bytes: packet(family, live, "tcp", "established")?,
            vary: Some(source(family.client(CLIENT_PORT)?, 1 << 16)),
        };
        if cases.is_empty() {
            cases.push(Live::empty(frame.clone())?);
        }
        let name = format!("live-vip-{}-tcp-gue", family.name);
        cases.push(Live::new(name, plane.program_fd()?, frame)?);
    }
    Ok(cases)
}

fn case(
    plane: &Dataplane,
    name: String,
    bytes: Vec<u8>,
    vary: Option<Vary>,
    verdict: u32,
) -> Result<Case> {
    let frame = Frame {
        restore: HEADERS.min(bytes.len()),
        bytes,
        vary,
    };
    let probe = Probe::new(plane.program_fd()?, frame).with_context(|| name.clone())?;
    Ok(Case {
        name,
        probe,
        verdict,
    })
}

/// A client's packet for the service of a way. UDP opens no connection: a flow's first datagram is empty here, later ones are not.
fn packet(family: &Family, way: Way, protocol: &str, kind: &str) -> Result<Vec<u8>> {
    let (client, mut vip) = (family.client(CLIENT_PORT)?, family.vip()?);
    vip.set_port(way.port);
    let mut packet = match (protocol, kind) {
        ("udp", "syn") => frame(&message(client, vip, 0, &[])),
        ("udp", _) => frame(&message(client, vip, 0, &[0; DATA])),
        (_, "syn") => Segment::new(client, vip, SYN).frame(),
        _ => Segment::new(client, vip, ACK).frame(),
    };
    if way.tagged {
        packet.splice(12..12, [0x81, 0, 0, 7]);
    }
    Ok(packet)
}

/// Another address of the client for every flow: its last four bytes.
fn source(client: SocketAddr, flows: u32) -> Vary {
    let offset = match client {
        SocketAddr::V4(_) => 14 + 12,
        SocketAddr::V6(_) => 14 + 8 + 12,
    };
    Vary { offset, flows }
}

fn apply(plane: &mut Dataplane, desired: &Desired) -> Result<()> {
    let (image, mut ops) = desired.image(&mut Slots::default())?;
    ops.extend(plan(&image, &plane.observed()?)?);
    Ok(plane.apply(&ops)?)
}

fn desired(ways: &[Way]) -> Result<Desired> {
    let filter = Filter::of(None, Some(Arc::new(million()))).map(Arc::new);
    let mut pools = BTreeMap::new();
    let mut services = Vec::new();
    for family in &FAMILIES {
        for &way in ways {
            let pool = PoolName(format!("{}-{}", family.name, way.name));
            pools.insert(pool.clone(), pool_of(family, way)?);
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                services.push(DesiredService {
                    name: format!("{pool}-{protocol}"),
                    vip: family.vip()?.ip().into(),
                    protocol,
                    ports: vec![Ports::one(way.port)],
                    pool: pool.clone(),
                    options: match way.name {
                        "lists" => ServiceOptions {
                            filter: filter.clone(),
                            ..ServiceOptions::default()
                        },
                        "rates" => rates(),
                        "flowtable" => ServiceOptions {
                            flow_timeout: Some(FLOW_TIMEOUT),
                            ..ServiceOptions::default()
                        },
                        _ => ServiceOptions::default(),
                    },
                });
            }
        }
    }
    let sources = [FAMILIES[0].node()?, FAMILIES[1].node()?];
    Ok(Desired {
        flow_key: FlowKey::new(KEY),
        source_v4: sources.iter().find_map(|source| match source {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        }),
        source_v6: sources.iter().find_map(|source| match source {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(*v6),
        }),
        generation: 1,
        jiffies_per_sec: 250,
        own: pools
            .values()
            .flat_map(|pool| pool.members.iter().map(|member| member.address))
            .collect(),
        pools,
        services,
    })
}

/// A million prefixes of each family.
fn million() -> PrefixList {
    let v4 = (0..1_000_000_u32).map(|n| IpAddr::from((0x0b00_0001 + 16 * n).to_be_bytes()));
    let v6 = (0..1_000_000_u32).map(|n| {
        let (upper, lower) = ((n >> 16) as u16, n as u16);
        IpAddr::from([0x2001, 0xdb8, 0xffff, upper, lower, 0, 0, 1])
    });
    PrefixList {
        file: None,
        prefixes: Arc::new(v4.chain(v6).map(IpNet::from).collect()),
    }
}

fn rates() -> ServiceOptions {
    let limit = RateLimit {
        per_sec: 1_000_000_000,
        burst: 1_000_000_000,
        only_new_flows: false,
    };
    ServiceOptions {
        rate: Some(limit),
        source_rate: Some(SourceLimit {
            limit,
            prefix_v4: 32,
            prefix_v6: 64,
            buckets: 1 << 16,
        }),
        ..ServiceOptions::default()
    }
}

fn pool_of(family: &Family, way: Way) -> Result<DesiredPool> {
    let addresses: Result<Vec<IpAddr>> = (1..=BACKENDS)
        .map(|number| family.backend(number))
        .collect();
    let input = Input::new(addresses?.into_iter().map(|address| Member {
        address,
        weight: 100,
        admin: AdminState::Ready,
    }))?;
    let hops = if way.mode == Mode::Rows { HOPS } else { 1 };
    let table = rows::build(&input, &[], &View::default(), &HashKey(KEY), hops);
    let member = |address| DesiredBackend {
        address,
        next_hop: Some(NextHop {
            ifindex: way.interface,
            mtu: 1700,
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 3],
            vlan: way.tagged.then_some(TAG),
            local: false,
            on_link: true,
        }),
        health: Health::Up,
        gone: false,
    };
    Ok(DesiredPool {
        encap: way.encap,
        mode: way.mode,
        members: table.members.into_iter().map(member).collect(),
        rows: table.rows,
        settling: false,
    })
}
