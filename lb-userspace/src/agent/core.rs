//! The agent's decisions: from configuration, overrides, health and next hops to what the datapath should hold and what may be
//! announced. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::flow::FlowKey;

use super::pool::{PoolRows, World, input};
use super::state::State;
use crate::health::Target;
use crate::model::{AdminState, Check, HashKey, PoolName, Service, Settings};
use crate::plan::{Desired, DesiredService};
use crate::rows::input::TooManyMembers;
use crate::status::{Health, Refusal};

/// Configuration in force, remembered state, and the rows that follow.
pub struct Core {
    /// In force.
    pub settings: Settings,
    /// Remembered.
    pub state: State,
    rows: BTreeMap<PoolName, PoolRows>,
    sources: Sources,
}

/// Tunnel sources; once known they stay, so that a lost route does not change headers.
#[derive(Clone, Copy, Default)]
struct Sources {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

/// Whether a service can be served, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servable {
    /// Healthy, reachable and not draining.
    pub healthy: usize,
    /// Configured.
    pub configured: usize,
    /// Needed.
    pub need: usize,
    /// Why the VIP cannot be announced because of this service.
    pub obstacle: Option<String>,
}

impl Core {
    /// From a configuration and what was remembered.
    pub fn new(settings: Settings, state: State) -> Self {
        Self {
            settings,
            state,
            rows: BTreeMap::new(),
            sources: Sources::default(),
        }
    }

    /// What is to be checked, and how.
    pub fn targets(&self) -> BTreeMap<Target, Check> {
        let of_pool = |pool: &crate::model::Pool| {
            let (name, check) = (pool.name.clone(), pool.check.clone());
            let backends = pool.backends.clone().into_iter();
            backends.map(move |backend| {
                (
                    Target {
                        pool: name.clone(),
                        address: backend.address,
                    },
                    check.clone(),
                )
            })
        };
        self.settings.pools.values().flat_map(of_pool).collect()
    }

    /// Whose next hops are needed: every configured backend, and those that rows still name.
    pub fn next_hop_targets(&self) -> BTreeSet<IpAddr> {
        let configured = self
            .settings
            .pools
            .values()
            .flat_map(|pool| &pool.backends)
            .map(|backend| backend.address);
        let named = self
            .rows
            .values()
            .filter_map(PoolRows::table)
            .flat_map(|table| table.members.iter().copied());
        configured.chain(named).collect()
    }

    /// Brings inputs, histories and rows up to date. True where the remembered state changed.
    pub fn update(&mut self, world: World<'_>) -> Result<bool, TooManyMembers> {
        let Some(key) = self.settings.node.hash_key else {
            return Ok(false);
        };
        let before = self.state.clone();
        let pools = &self.settings.pools;
        self.rows.retain(|name, _| pools.contains_key(name));
        self.state
            .histories
            .retain(|name, _| pools.contains_key(name));
        let mut changed = false;
        for (name, pool) in pools {
            let none = BTreeMap::new();
            let input = input(pool, self.state.overrides.get(name).unwrap_or(&none))?;
            let history = self.state.histories.entry(name.clone()).or_default();
            changed |= history.remember(&input, world.now_secs);
            history.expire(world.now_secs, self.settings.node.flow_memory);
            let rows = self
                .rows
                .entry(name.clone())
                .or_insert_with(|| PoolRows::new(&key));
            rows.update(pool, history, world);
        }
        self.state.generation += u64::from(changed);
        self.learn_sources(world);
        Ok(self.state != before)
    }

    /// What the datapath should hold.
    pub fn desired(&self, world: World<'_>) -> Option<Desired> {
        let HashKey(key) = self.settings.node.hash_key?;
        let pools: BTreeMap<_, _> = self
            .rows
            .iter()
            .filter_map(|(name, rows)| Some((name.clone(), rows.desired(name, world)?)))
            .collect();
        let members = pools
            .values()
            .flat_map(|pool| pool.members.iter().map(|member| member.address));
        let sources = self
            .sources
            .v4
            .map(IpAddr::V4)
            .into_iter()
            .chain(self.sources.v6.map(IpAddr::V6));
        let own = members.chain(sources).collect();
        let services = self.settings.services.iter().filter_map(|service| {
            Some(DesiredService {
                name: service.name.clone(),
                vip: service.vip,
                protocol: service.protocol,
                ports: service.ports.clone(),
                pool: service.pool.clone()?,
            })
        });
        Some(Desired {
            flow_key: FlowKey::new(key),
            source_v4: self.sources.v4,
            source_v6: self.sources.v6,
            generation: self.state.generation,
            own,
            services: services.collect(),
            pools,
        })
    }

    /// Whether a service has what it needs, apart from the datapath.
    pub fn servable(&self, service: &Service, world: World<'_>) -> Servable {
        let Some(pool) = service
            .pool
            .as_ref()
            .and_then(|name| self.settings.pools.get(name))
        else {
            return Servable {
                healthy: 0,
                configured: 0,
                need: 0,
                obstacle: Some("it has no pool".into()),
            };
        };
        let up = |address: IpAddr| {
            world.verdicts.health(&Target {
                pool: pool.name.clone(),
                address,
            }) == Health::Up
        };
        let reachable = |address: IpAddr| {
            self.settings.node.interfaces.is_empty()
                || world.next_hops.get(&address).is_some_and(Result::is_ok)
        };
        let healthy: Vec<_> = pool
            .backends
            .iter()
            .map(|backend| backend.address)
            .filter(|&address| up(address))
            .collect();
        let served = healthy
            .iter()
            .filter(|&&address| reachable(address))
            .count();
        let (configured, need) = (pool.backends.len(), service.need.of(pool.backends.len()));
        let obstacle = if healthy.len() < need {
            Some(format!(
                "{} of {configured} backends healthy, {need} needed",
                healthy.len()
            ))
        } else if served < need {
            Some(format!(
                "{served} healthy backends have a resolved next hop, {need} needed"
            ))
        } else {
            None
        };
        Servable {
            healthy: healthy.len(),
            configured,
            need,
            obstacle,
        }
    }

    /// Whether every service's pool has been judged by checks of this process.
    pub fn judged(&self, service: &Service, world: World<'_>) -> bool {
        let Some(pool) = service
            .pool
            .as_ref()
            .and_then(|name| self.settings.pools.get(name))
        else {
            return true;
        };
        let targets: Vec<_> = pool
            .backends
            .iter()
            .map(|backend| Target {
                pool: pool.name.clone(),
                address: backend.address,
            })
            .collect();
        world.verdicts.judged(&targets)
    }

    /// Takes the operator's word about a backend, by address or name; says what was done.
    pub fn set_admin(
        &mut self,
        pool: Option<&PoolName>,
        backend: &str,
        admin: AdminState,
    ) -> Result<String, Refusal> {
        let address: Option<IpAddr> = backend.parse().ok();
        let named = |candidate: &&crate::model::Backend| {
            Some(candidate.address) == address || candidate.name.as_deref() == Some(backend)
        };
        let pools = self
            .settings
            .pools
            .values()
            .filter(|candidate| pool.is_none_or(|wanted| *wanted == candidate.name));
        let found: Vec<_> = pools
            .filter_map(|pool| Some((pool.name.clone(), pool.backends.iter().find(named)?.address)))
            .collect();
        if found.is_empty() {
            let place = pool.map_or_else(|| "any pool".to_owned(), |pool| format!("pool {pool}"));
            return Err(Refusal::not_found(format!(
                "no backend {backend} in {place}: see `anylb backend list`"
            )));
        }
        for (pool, address) in &found {
            let overrides = self.state.overrides.entry(pool.clone()).or_default();
            match admin {
                AdminState::Ready => overrides.remove(address),
                AdminState::Draining => overrides.insert(*address, admin),
            };
        }
        self.state
            .overrides
            .retain(|_, overrides| !overrides.is_empty());
        let pools: Vec<_> = found.iter().map(|(pool, _)| pool.to_string()).collect();
        let word = match admin {
            AdminState::Ready => "ready",
            AdminState::Draining => "draining",
        };
        Ok(format!(
            "{backend} is {word} in {}; this node only",
            pools.join(", ")
        ))
    }

    /// Rows of a pool.
    pub fn rows(&self, pool: &PoolName) -> Option<&PoolRows> {
        self.rows.get(pool)
    }

    /// What the operator said about a backend.
    pub fn admin(&self, pool: &PoolName, address: IpAddr) -> AdminState {
        self.state
            .overrides
            .get(pool)
            .and_then(|pool| pool.get(&address))
            .copied()
            .unwrap_or_default()
    }

    fn learn_sources(&mut self, world: World<'_>) {
        let node = &self.settings.node;
        let mut resolved = world
            .next_hops
            .values()
            .filter_map(|hop| Some(hop.as_ref().ok()?.source));
        let learned_v4 = resolved.clone().find_map(|source| match source {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        });
        let learned_v6 = resolved.find_map(|source| match source {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        });
        self.sources.v4 = node.tunnel_source_v4.or(self.sources.v4).or(learned_v4);
        self.sources.v6 = node.tunnel_source_v6.or(self.sources.v6).or(learned_v6);
    }
}
