//! The pools of both LB nodes: changed, and agreed upon.

use anyhow::{Context, Result, ensure};
use anylb::model::AdminState;
use anylb::status::{BackendStatus, Health, NodeStatus, PoolStatus};

use super::{IN_A_WHILE, Site};
use crate::harness::poll;
use crate::lab::files::{self, Pools};

impl Site {
    /// Gives both nodes new pools.
    pub fn reload(&mut self, pools: &Pools) -> Result<()> {
        self.pools = pools.clone();
        for number in 1..=self.star.lbs.len() {
            self.write_lb_file(number, false)?;
        }
        for number in 1..=self.star.lbs.len() {
            self.lb_agent(number)?
                // Without hops, as controls are, no change of members is harmless.
                .tell(&["reload", "--force"])
                .with_context(|| format!("reload lb{number}"))?;
        }
        Ok(())
    }

    /// Waits until both nodes have the same tables, of the pools as they were given, and find every backend up.
    pub(super) async fn wait_agreed(&self) -> Result<()> {
        wait_agreed(usize::from(self.pools.backends), || self.statuses()).await
    }

    /// Sets what the operator says about a backend, on both nodes.
    pub fn set_admin(&mut self, backend: u8, admin: AdminState) -> Result<()> {
        let word = match admin {
            AdminState::Ready => "ready",
            AdminState::Draining => "drain",
            AdminState::Disabled => "disable",
        };
        match admin {
            AdminState::Ready => self.draining.remove(&backend),
            AdminState::Draining | AdminState::Disabled => self.draining.insert(backend),
        };
        for number in 1..=self.star.lbs.len() {
            self.lb_agent(number)?
                .tell(&["backend", word, &format!("be{backend}")])?;
        }
        Ok(())
    }

    /// Writes the configuration of an LB node, with the site's hash key or with another.
    pub(super) fn write_lb_file(&self, number: usize, other_key: bool) -> Result<()> {
        let key = other_key.then(|| self.keys[1].as_path());
        let text = files::lb(number, &self.pools, key)?;
        Ok(std::fs::write(
            files::path(&self.star.lbs[number - 1].dir),
            text,
        )?)
    }

    /// Status of both LB nodes.
    pub fn statuses(&self) -> Result<Vec<NodeStatus>> {
        (1..=self.star.lbs.len())
            .map(|number| self.lb_agent(number)?.status())
            .collect()
    }
}

/// Waits until all nodes have the same tables and find `wanted` backends of each pool up.
pub async fn wait_agreed(
    wanted: usize,
    statuses: impl Fn() -> Result<Vec<NodeStatus>>,
) -> Result<()> {
    poll::until("nodes that agree", IN_A_WHILE, async || {
        let statuses = statuses()?;
        for status in &statuses {
            for (name, pool) in &status.pools {
                let hash = &statuses[0]
                    .pools
                    .get(name)
                    .context("a pool is missing")?
                    .table_hash;
                ensure!(
                    pool.table_hash == *hash,
                    "table {name} differs between the nodes"
                );
                let up = members(pool)
                    .filter(|backend| backend.health == Health::Up)
                    .count();
                ensure!(
                    up >= wanted,
                    "{}: {up} of {wanted} backends of {name} are up",
                    status.node
                );
            }
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// Backends of the configuration: not those that were removed and still drain.
fn members(pool: &PoolStatus) -> impl Iterator<Item = &BackendStatus> {
    pool.backends
        .iter()
        .filter(|backend| backend.admin == AdminState::Ready)
}
