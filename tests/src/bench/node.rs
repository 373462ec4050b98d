//! Cases of the LB node: packets for a VIP and packets for others.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use anylb::dataplane::{Dataplane, Options};
use anylb::model::{AdminState, Encap, HashKey, Mode, PoolName, Ports, Protocol};
use anylb::plan::desired::NextHop;
use anylb::plan::{Desired, DesiredBackend, DesiredPool, DesiredService, Slots, plan};
use anylb::rows::{self, Input, Member, View};
use anylb::status::Health;
use lb_common::flow::FlowKey;

use super::family::{FAMILIES, Family, PORT};
use super::series::Case;
use super::wrapper::{Frame, Probe, Vary};
use crate::packet::{ACK, SYN, Segment};

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const KEY: [u8; 16] = *b"a benchmark key.";
const BACKENDS: u8 = 12;
const HOPS: u8 = 4;
const CLIENT_PORT: u16 = 40_000;
/// Ethernet and IP header: all that the program may change.
const HEADERS: usize = 56;

/// Number of flows, by its name in a case.
const FLOWS: [(&str, u32); 3] = [("1", 1), ("64k", 1 << 16), ("1m", 1 << 20)];

/// All cases, on a program loaded under `directory` with a service per family, twelve backends each, four hops. The
/// program lives as long as a case does.
pub fn cases(directory: &Path) -> Result<Vec<Case>> {
    let options = Options {
        pin_dir: directory.join("node"),
        interfaces: Vec::new(),
    };
    let mut plane = Dataplane::open(&options)?;
    apply(&mut plane, &desired()?)?;
    let mut cases = Vec::new();
    for family in &FAMILIES {
        let client = family.client(CLIENT_PORT)?;
        for (kind, flags) in [("syn", SYN), ("established", ACK)] {
            let packet = Segment::new(client, family.vip()?, flags).frame();
            for (flows, count) in FLOWS {
                let name = format!("vip-{}-tcp-gue-{kind}-{flows}", family.name);
                let frame = Frame {
                    bytes: packet.clone(),
                    restore: HEADERS,
                    vary: Some(source(client, count)),
                };
                let probe = Probe::new(plane.program_fd()?, frame).with_context(|| name.clone())?;
                cases.push(Case {
                    name,
                    probe,
                    verdict: XDP_TX,
                });
            }
        }
    }
    for family in &FAMILIES {
        let name = format!("foreign-{}", family.name);
        let packet = Segment::new(family.client(CLIENT_PORT)?, family.foreign()?, ACK);
        let frame = Frame {
            bytes: packet.frame(),
            restore: HEADERS,
            vary: None,
        };
        let probe = Probe::new(plane.program_fd()?, frame).with_context(|| name.clone())?;
        cases.push(Case {
            name,
            probe,
            verdict: XDP_PASS,
        });
    }
    Ok(cases)
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

fn desired() -> Result<Desired> {
    let mut pools = BTreeMap::new();
    let mut services = Vec::new();
    for family in &FAMILIES {
        let pool = PoolName(family.name.to_owned());
        pools.insert(pool.clone(), pool_of(family)?);
        services.push(DesiredService {
            name: family.name.to_owned(),
            vip: family.vip()?.ip(),
            protocol: Protocol::Tcp,
            ports: vec![Ports::one(PORT)],
            pool,
        });
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

fn pool_of(family: &Family) -> Result<DesiredPool> {
    let addresses: Result<Vec<IpAddr>> = (1..=BACKENDS)
        .map(|number| family.backend(number))
        .collect();
    let input = Input::new(addresses?.into_iter().map(|address| Member {
        address,
        weight: 100,
        admin: AdminState::Ready,
    }))?;
    let table = rows::build(&input, &[], &View::default(), &HashKey(KEY), HOPS);
    let member = |address| DesiredBackend {
        address,
        next_hop: Some(NextHop {
            ifindex: 1,
            mtu: 1700,
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 3],
            vlan: None,
        }),
        health: Health::Up,
    };
    Ok(DesiredPool {
        encap: Encap::Gue,
        mode: Mode::Rows,
        members: table.members.into_iter().map(member).collect(),
        rows: table.rows,
        settling: false,
    })
}
