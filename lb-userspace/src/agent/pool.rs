//! One pool: from inputs and health to rows. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::health::{Target, Verdicts};
use crate::model::{AdminState, HashKey, Pool, PoolName};
use crate::netlink::{NextHops, Unresolved};
use crate::plan::desired::NextHop;
use crate::plan::{DesiredBackend, DesiredPool};
use crate::rows::{Builder, History, Input, Member, Table, View};
use crate::status::Health;

/// How long check and neighbour must both fail before a backend leaves the hops: its clients then get a reset, not a hang.
const DEAD_HOLD: Duration = Duration::from_secs(30);

/// What a pool's rows follow from, apart from its configuration.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Of the health checks.
    pub verdicts: &'a Verdicts,
    /// Of netlink.
    pub next_hops: &'a NextHops,
    /// Now, for holds.
    pub now: Instant,
    /// Seconds since the epoch, for histories.
    pub now_secs: u64,
}

/// Builder, current table and holds of one pool.
pub struct PoolRows {
    builder: Builder,
    current: Option<Current>,
    settling_until: Option<Instant>,
    unreachable_since: BTreeMap<IpAddr, Instant>,
    rows_moved: u64,
}

struct Current {
    basis: Basis,
    table: Table,
}

/// A table is a function of this.
#[derive(PartialEq)]
struct Basis {
    input: Input,
    previous: Vec<Input>,
    view: View,
    hops: u8,
}

impl PoolRows {
    /// No table yet.
    pub fn new(key: &HashKey) -> Self {
        Self {
            builder: Builder::new(key),
            current: None,
            settling_until: None,
            unreachable_since: BTreeMap::new(),
            rows_moved: 0,
        }
    }

    /// Brings the table up to date. `history` already has the current input.
    pub fn update(&mut self, pool: &Pool, history: &History, world: World<'_>) {
        let Some(input) = history.current() else {
            return;
        };
        let basis = Basis {
            input: input.clone(),
            previous: history.previous().into_iter().cloned().collect(),
            view: self.view(pool, world),
            hops: pool.hops,
        };
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.basis == basis)
        {
            return;
        }
        let previous: Vec<_> = basis.previous.iter().collect();
        let table = self
            .builder
            .build(&basis.input, &previous, &basis.view, basis.hops);
        let changed = self
            .current
            .as_ref()
            .is_some_and(|current| !same_hops(&current.table, &table));
        if changed {
            let check = &pool.check;
            self.settling_until = Some(world.now + check.interval * check.fall + check.timeout);
        }
        self.rows_moved += self
            .current
            .as_ref()
            .map_or(0, |current| table.moved(&current.table) as u64);
        self.current = Some(Current { basis, table });
    }

    /// What the datapath should hold.
    pub fn desired(&self, name: &PoolName, world: World<'_>) -> Option<DesiredPool> {
        let current = self.current.as_ref()?;
        let members = current.table.members.iter().map(|&address| DesiredBackend {
            address,
            next_hop: next_hop(world.next_hops, address),
            health: world.verdicts.health(&Target {
                pool: name.clone(),
                address,
            }),
        });
        Some(DesiredPool {
            members: members.collect(),
            rows: Arc::clone(&current.table.rows),
            settling: self.settling_until.is_some_and(|until| world.now < until),
        })
    }

    /// The table in force.
    pub fn table(&self) -> Option<&Table> {
        self.current.as_ref().map(|current| &current.table)
    }

    /// Rows whose first hop changed, over all tables.
    pub fn rows_moved(&self) -> u64 {
        self.rows_moved
    }

    /// When the settling flag must go.
    pub fn settling_until(&self) -> Option<Instant> {
        self.settling_until
    }

    fn view(&mut self, pool: &Pool, world: World<'_>) -> View {
        let health = |address| {
            world.verdicts.health(&Target {
                pool: pool.name.clone(),
                address,
            })
        };
        let down: BTreeSet<_> = pool
            .backends
            .iter()
            .map(|backend| backend.address)
            .filter(|&address| health(address) != Health::Up)
            .collect();
        let unreachable = |address: &IpAddr| {
            matches!(
                world.next_hops.get(address),
                Some(Err(Unresolved::NeighbourFailed(_)))
            )
        };
        let failing: BTreeSet<_> = down.iter().copied().filter(unreachable).collect();
        self.unreachable_since
            .retain(|address, _| failing.contains(address));
        for address in failing {
            self.unreachable_since.entry(address).or_insert(world.now);
        }
        let gone = self
            .unreachable_since
            .iter()
            .filter(|(_, since)| world.now >= **since + DEAD_HOLD);
        View::new(down, gone.map(|(&address, _)| address).collect::<Vec<_>>())
    }
}

/// The input of a pool: its configuration and what the operator said.
pub fn input(
    pool: &Pool,
    overrides: &BTreeMap<IpAddr, AdminState>,
) -> Result<Input, crate::rows::input::TooManyMembers> {
    Input::new(pool.backends.iter().map(|backend| Member {
        address: backend.address,
        weight: backend.weight,
        admin: overrides.get(&backend.address).copied().unwrap_or_default(),
    }))
}

/// The next hop to an address, as the datapath needs it.
pub fn next_hop(next_hops: &NextHops, address: IpAddr) -> Option<NextHop> {
    let hop = next_hops.get(&address)?.as_ref().ok()?;
    Some(NextHop {
        ifindex: hop.ifindex,
        mtu: hop.mtu,
        source_mac: hop.source_mac,
        destination_mac: hop.destination_mac,
    })
}

/// Numbers of members may differ; what counts is who is where.
fn same_hops(a: &Table, b: &Table) -> bool {
    if a.members == b.members {
        return a.rows == b.rows;
    }
    (0..crate::rows::ROWS).all(|row| a.hops(row).eq(b.hops(row)))
}
