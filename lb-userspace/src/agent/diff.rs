//! What another configuration would change, before it is in force. Pure.
//!
//! | file | holds |
//! |---|---|
//! | `values` | single keys, in the words of the file |
//! | `parts` | services, pools, backends |
//! | `routes` | what peers hear |

#![forbid(unsafe_code)]

mod parts;
mod routes;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use super::core::Core;
use super::pool::{World, input};
use crate::model::{Pool, PoolName, Protocol, Service, Settings, UdpFlows};
use crate::rows::input::TooManyMembers;
use crate::rows::{Basis, Builder, Change, History, Input, ROWS};
use crate::status::{ConfigDiff, Fate, RowsDiff};

impl Core {
    /// What would change if `next` came into force now.
    pub fn diff(
        &mut self,
        next: &Settings,
        world: World<'_>,
    ) -> Result<ConfigDiff, TooManyMembers> {
        let mut diff = ConfigDiff {
            services: parts::services(&self.settings.services, &next.services),
            pools: parts::pools(&self.settings.pools, &next.pools),
            bgp: values::policies(self.settings.bgp.as_ref(), next.bgp.as_ref()),
            restart: values::fixed(&self.settings, next),
            ..ConfigDiff::default()
        };
        self.pool_rows(next, world, &mut diff)?;
        self.service_rows(next, world, &mut diff)?;
        let routes = self.route_diff(next, world);
        diff.objections = objections(&diff, &routes);
        diff.routes = routes.diffs;
        Ok(diff)
    }

    /// Pools that stay, and whose table does not.
    fn pool_rows(
        &mut self,
        next: &Settings,
        world: World<'_>,
        diff: &mut ConfigDiff,
    ) -> Result<(), TooManyMembers> {
        for pool in diff
            .pools
            .iter_mut()
            .filter(|pool| pool.fate == Fate::Changed)
        {
            let Some(change) = self.rows_from_to(&pool.name, &pool.name, next, world)? else {
                continue;
            };
            let has_flows = has_flows(&self.settings, &pool.name);
            pool.rows = Some(rows_diff(&change, has_flows));
        }
        Ok(())
    }

    /// Services whose flows go to the rows of another pool, under whatever name.
    fn service_rows(
        &mut self,
        next: &Settings,
        world: World<'_>,
        diff: &mut ConfigDiff,
    ) -> Result<(), TooManyMembers> {
        let mut known: BTreeMap<(PoolName, PoolName), Option<Change>> = BTreeMap::new();
        for service in diff
            .services
            .iter_mut()
            .filter(|service| service.fate != Fate::Removed)
        {
            let Some(after) = next.services.iter().find(|s| s.name == service.name) else {
                continue;
            };
            service.rows = rehashed(&self.settings.services, after);
            for (before, flows) in origins(&self.settings.services, after) {
                let Some(to) = after.pool.clone() else {
                    continue;
                };
                let pair = (before, to);
                if !known.contains_key(&pair) {
                    let change = self.rows_from_to(&pair.0, &pair.1, next, world)?;
                    known.insert(pair.clone(), change);
                }
                let change = known[&pair].as_ref();
                let rows = change.map(|change| rows_diff(change, flows));
                service.rows = worse(service.rows, rows);
            }
        }
        Ok(())
    }

    /// The rows of `from` as they are against those of `to` as they would be; none where there are none yet or they stay.
    fn rows_from_to(
        &mut self,
        from: &PoolName,
        to: &PoolName,
        next: &Settings,
        world: World<'_>,
    ) -> Result<Option<Change>, TooManyMembers> {
        let (Some(key), Some(old), Some(new)) = (
            self.settings.node.hash_key,
            self.settings.pools.get(from),
            next.pools.get(to),
        ) else {
            return Ok(None);
        };
        let Some((now, previous)) = self.state.histories.get(from).and_then(parted) else {
            return Ok(None);
        };
        let input = self.next_input(new)?;
        if from == to && input == *now && old.hops == new.hops {
            return Ok(None);
        }
        let mut after = self.state.histories.get(to).cloned().unwrap_or_default();
        after.remember(&input, world.now_secs);
        let before = Basis {
            input: now,
            previous: &previous,
            hops: old.hops,
        };
        let after = Basis {
            input: &input,
            previous: &after.previous(),
            hops: new.hops,
        };
        let change = match self.rows.get_mut(from).filter(|_| from == to) {
            Some(rows) => rows.change(before, after),
            // What one pool's builder keeps is of no use to another's.
            None => Builder::new(&key).change(before, after),
        };
        Ok(Some(change))
    }

    fn next_input(&self, pool: &Pool) -> Result<Input, TooManyMembers> {
        let none = BTreeMap::new();
        let said = self.state.overrides.get(&pool.name).unwrap_or(&none);
        input(pool, said)
    }
}

/// The input in force, and those before it.
fn parted(history: &History) -> Option<(&Input, Vec<&Input>)> {
    Some((history.current()?, history.previous()))
}

/// Pools that packets to `service` went to before it, other than its own, and whether flows go along.
fn origins(before: &[Service], service: &Service) -> BTreeMap<PoolName, bool> {
    let mut origins = BTreeMap::new();
    let same = before.iter().filter(|old| {
        let mut ports = old.ports.iter();
        old.vip == service.vip
            && old.protocol == service.protocol
            && old.pool != service.pool
            && ports.any(|old| service.ports.iter().any(|new| new.meets(*old)))
    });
    for old in same {
        if let Some(pool) = old.pool.clone() {
            *origins.entry(pool).or_insert(false) |= keeps_flows(old);
        }
    }
    origins
}

/// All flows, where what of a packet chooses the row changes: the rows stay, and no flow keeps its own.
fn rehashed(before: &[Service], service: &Service) -> Option<RowsDiff> {
    let old = before.iter().find(|old| old.name == service.name)?;
    (old.hash != service.hash).then(|| RowsDiff {
        total: ROWS,
        moved: ROWS,
        inputs: 1,
        uncovered: ROWS,
        newly_uncovered: ROWS,
        has_flows: keeps_flows(old),
    })
}

fn has_flows(settings: &Settings, pool: &PoolName) -> bool {
    let mut services = settings.services.iter();
    services.any(|service| service.pool.as_ref() == Some(pool) && keeps_flows(service))
}

/// Whether packets of one flow belong together.
fn keeps_flows(service: &Service) -> bool {
    match (service.protocol, service.udp) {
        (Protocol::Tcp, _) | (Protocol::Udp, UdpFlows::Connected | UdpFlows::FlowTable) => true,
        (Protocol::Udp, UdpFlows::Stateless) => false,
    }
}

fn rows_diff(change: &Change, has_flows: bool) -> RowsDiff {
    let worst = change.worst();
    RowsDiff {
        total: ROWS,
        moved: change.moved,
        inputs: change.flows.len(),
        uncovered: worst.after,
        newly_uncovered: worst.newly,
        has_flows,
    }
}

fn worse(one: Option<RowsDiff>, other: Option<RowsDiff>) -> Option<RowsDiff> {
    let weight = |rows: &RowsDiff| (rows.has_flows, rows.newly_uncovered);
    one.into_iter().chain(other).max_by_key(weight)
}

/// What a reload does not do by itself.
fn objections(diff: &ConfigDiff, routes: &routes::Routes) -> Vec<String> {
    let of_pools = diff.pools.iter().filter_map(|pool| {
        let rows = pool.rows.filter(RowsDiff::breaks_too_much)?;
        Some(format!("pool {}: {}", pool.name, in_words(rows)))
    });
    let of_services = diff.services.iter().filter_map(|service| {
        let rows = service.rows.filter(RowsDiff::breaks_too_much)?;
        Some(format!("service {}: {}", service.name, in_words(rows)))
    });
    let mut all: Vec<String> = of_pools.chain(of_services).collect();
    // One sentence for all services that go the same way is enough.
    let mut told = BTreeSet::new();
    all.retain(|one| told.insert(one.clone()));
    all.extend(routes.objection());
    all
}

fn in_words(rows: RowsDiff) -> String {
    let percent = 100.0 * rows.newly_uncovered as f64 / rows.total as f64;
    format!("up to {percent:.2} % of its flows would lose their backend")
}
