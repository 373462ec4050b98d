//! Cases of the LB node: packets for a VIP and packets for others.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use anylb::dataplane::{Dataplane, Options};
use anylb::model::{AdminState, HashKey, PoolName, Protocol};
use anylb::plan::desired::NextHop;
use anylb::plan::{Desired, DesiredBackend, DesiredPool, DesiredService, Slots, plan};
use anylb::rows::{self, Input, Member, View};
use anylb::status::Health;
use lb_common::flow::FlowKey;

use super::packet::{Segment, tcp, vary_source};
use super::series::Case;
use super::wrapper::Probe;

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const KEY: [u8; 16] = *b"a benchmark key.";
const BACKENDS: u16 = 12;
const HOPS: u8 = 4;
const PORT: u16 = 80;

/// Number of flows, by its name in a case.
const FLOWS: [(&str, u32); 3] = [("1", 1), ("64k", 1 << 16), ("1m", 1 << 20)];

/// Addresses of one family.
struct Family {
    name: &'static str,
    vip: &'static str,
    client: &'static str,
    foreign: &'static str,
    /// Network of the node and the backends; the number of the host follows.
    underlay: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        name: "ipv4",
        vip: "198.51.100.1",
        client: "10.0.0.1",
        foreign: "203.0.113.1",
        underlay: "192.0.2.",
    },
    Family {
        name: "ipv6",
        vip: "2001:db8:100::1",
        client: "2001:db8:c::1",
        foreign: "2001:db8:f::1",
        underlay: "2001:db8:b::",
    },
];

/// All cases, on a program loaded under `directory` with a service per family, twelve backends each, four hops. The
/// program lives as long as a case does.
pub fn cases(directory: &Path) -> Result<Vec<Case>> {
    let options = Options {
        pin_dir: directory.join("node"),
        interface: None,
    };
    let mut plane = Dataplane::open(&options)?;
    apply(&mut plane, &desired()?)?;
    let mut cases = Vec::new();
    for family in &FAMILIES {
        for (kind, segment) in [("syn", Segment::Syn), ("established", Segment::Data)] {
            for (flows, count) in FLOWS {
                let name = format!("vip-{}-tcp-gue-{kind}-{flows}", family.name);
                let frame = vary_source(
                    tcp(family.client()?, family.at(family.vip)?, segment),
                    count,
                );
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
        let frame = tcp(family.client()?, family.at(family.foreign)?, Segment::Data);
        let probe = Probe::new(plane.program_fd()?, frame).with_context(|| name.clone())?;
        cases.push(Case {
            name,
            probe,
            verdict: XDP_PASS,
        });
    }
    Ok(cases)
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
        pools.insert(pool.clone(), family.pool()?);
        services.push(DesiredService {
            name: family.name.to_owned(),
            vip: family.vip.parse()?,
            protocol: Protocol::Tcp,
            ports: vec![PORT],
            pool,
        });
    }
    let [v4, v6] = FAMILIES;
    Ok(Desired {
        flow_key: FlowKey::new(KEY),
        source_v4: Some(v4.host(100).parse()?),
        source_v6: Some(v6.host(100).parse()?),
        generation: 1,
        own: pools
            .values()
            .flat_map(|pool| pool.members.iter().map(|member| member.address))
            .collect(),
        pools,
        services,
    })
}

impl Family {
    fn host(&self, number: u16) -> String {
        format!("{}{number}", self.underlay)
    }

    fn at(&self, address: &str) -> Result<SocketAddr> {
        Ok(SocketAddr::new(address.parse()?, PORT))
    }

    fn client(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.client.parse()?, 40_000))
    }

    fn pool(&self) -> Result<DesiredPool> {
        let addresses: Result<Vec<IpAddr>, _> = (1..=BACKENDS)
            .map(|number| self.host(number).parse())
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
            }),
            health: Health::Up,
        };
        Ok(DesiredPool {
            members: table.members.into_iter().map(member).collect(),
            rows: table.rows,
            settling: false,
        })
    }
}
