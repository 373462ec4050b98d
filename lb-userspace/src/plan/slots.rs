//! Numbers that stay with a name while it lives: counters and rows are found by them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::abi;
use serde::{Deserialize, Serialize};

use super::{Op, PlanError};
use crate::model::PoolName;

/// Kept in the state file, so that a restarted agent gives the same numbers to the same names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Counter of a service.
    services: BTreeMap<String, u32>,
    /// Block of backend counters of a service.
    blocks: BTreeMap<String, Block>,
    /// Pair of tables of a pool.
    pairs: BTreeMap<PoolName, u32>,
    /// Pool-local index of a backend.
    members: BTreeMap<PoolName, BTreeMap<IpAddr, u16>>,
}

/// A run of backend counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// First counter.
    pub first: u32,
    /// Length.
    pub count: u32,
}

impl Slots {
    /// Pool-local indexes of `members`, and those given out now; members that left give theirs up.
    pub fn members(
        &mut self,
        pool: &PoolName,
        members: &[IpAddr],
    ) -> Result<(&BTreeMap<IpAddr, u16>, Vec<u16>), PlanError> {
        let wanted: BTreeSet<_> = members.iter().copied().collect();
        let slots = self.members.entry(pool.clone()).or_default();
        slots.retain(|address, _| wanted.contains(address));
        let used: BTreeSet<_> = slots.values().copied().collect();
        let mut free = (0..abi::INDEXES_MAX).filter(|slot| !used.contains(slot));
        let mut taken = Vec::new();
        for address in wanted {
            if let Entry::Vacant(vacant) = slots.entry(address) {
                let limit = PlanError::Limit {
                    what: "backends of a pool",
                    wanted: members.len(),
                    limit: usize::from(abi::INDEXES_MAX),
                };
                let slot = free.next().ok_or(limit)?;
                vacant.insert(slot);
                taken.push(slot);
            }
        }
        Ok((slots, taken))
    }

    /// The first table of the pool's pair.
    pub fn pair(&mut self, pool: &PoolName) -> Result<u32, PlanError> {
        if let Some(&pair) = self.pairs.get(pool) {
            return Ok(pair);
        }
        let used: BTreeSet<_> = self.pairs.values().copied().collect();
        let limit = PlanError::Limit {
            what: "pools",
            wanted: used.len() + 1,
            limit: abi::TABLES_MAX as usize / 2,
        };
        let free = (0..abi::TABLES_MAX)
            .step_by(2)
            .find(|pair| !used.contains(pair))
            .ok_or(limit)?;
        self.pairs.insert(pool.clone(), free);
        Ok(free)
    }

    /// The pool that a table belongs to.
    pub fn pool_of_table(&self, table: u32) -> Option<&PoolName> {
        let owns = |pair: &u32| *pair == table & !1;
        self.pairs
            .iter()
            .find_map(|(pool, pair)| owns(pair).then_some(pool))
    }

    /// Counters of a service whose pool has `members` indexes, `taken` of them given out now; those that start anew are zeroed, or handed
    /// over to the service.
    pub fn counters(
        &mut self,
        service: &str,
        members: usize,
        taken: &[u16],
        ops: &mut Vec<Op>,
    ) -> Result<(u32, Block), PlanError> {
        let counter = match self.services.get(service) {
            Some(&counter) => counter,
            None => {
                let used: BTreeSet<_> = self.services.values().copied().collect();
                let limit = PlanError::Limit {
                    what: "services",
                    wanted: used.len() + 1,
                    limit: abi::SERVICE_COUNTERS_MAX as usize,
                };
                let counter = (0..abi::SERVICE_COUNTERS_MAX)
                    .find(|slot| !used.contains(slot))
                    .ok_or(limit)?;
                ops.push(Op::ZeroServiceCounter { counter });
                self.services.insert(service.to_owned(), counter);
                counter
            }
        };
        let block = match self.blocks.get(service) {
            Some(&block) if block.count as usize >= members => {
                ops.extend(taken.iter().map(|&slot| Op::RetireBackendCounters {
                    service: counter,
                    first: block.first + u32::from(slot),
                    count: 1,
                }));
                block
            }
            former => {
                ops.extend(former.map(|block| Op::RetireBackendCounters {
                    service: counter,
                    first: block.first,
                    count: block.count,
                }));
                // Beside the former one, in which packets are counted until the new bank is live.
                let block = self.free_block(members.next_power_of_two().max(16) as u32)?;
                ops.push(Op::ZeroBackendCounters {
                    first: block.first,
                    count: block.count,
                });
                self.blocks.insert(service.to_owned(), block);
                block
            }
        };
        Ok((counter, block))
    }

    /// Counters of a service, where it has any.
    pub fn of_service(&self, service: &str) -> Option<(u32, Block)> {
        Some((*self.services.get(service)?, *self.blocks.get(service)?))
    }

    /// Pool-local indexes in force.
    pub fn of_pool(&self, pool: &PoolName) -> Option<&BTreeMap<IpAddr, u16>> {
        self.members.get(pool)
    }

    /// Forgets services and pools that are not among these.
    pub fn retain(&mut self, services: &BTreeSet<&str>, pools: &BTreeSet<&PoolName>) {
        self.services
            .retain(|name, _| services.contains(name.as_str()));
        self.blocks
            .retain(|name, _| services.contains(name.as_str()));
        self.pairs.retain(|name, _| pools.contains(name));
        self.members.retain(|name, _| pools.contains(name));
    }

    fn free_block(&self, count: u32) -> Result<Block, PlanError> {
        let mut blocks: Vec<_> = self.blocks.values().copied().collect();
        blocks.sort_by_key(|block| block.first);
        let mut first = 0;
        for block in blocks {
            if block.first - first >= count {
                break;
            }
            first = block.first + block.count;
        }
        if first + count > abi::BACKEND_COUNTERS_MAX {
            let wanted = (first + count) as usize;
            return Err(PlanError::Limit {
                what: "counters by service and backend",
                wanted,
                limit: abi::BACKEND_COUNTERS_MAX as usize,
            });
        }
        Ok(Block { first, count })
    }
}
