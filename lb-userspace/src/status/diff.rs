//! What a reload would change, or has changed.

#![forbid(unsafe_code)]

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::bgp::PeerName;
use crate::model::{PoolName, Vip};

/// `anylb diff`: the configuration in force against another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigDiff {
    /// In the order of the new configuration, those that go last.
    pub services: Vec<ServiceDiff>,
    /// By name.
    pub pools: Vec<PoolDiff>,
    /// Policies of `[bgp]` and its peers.
    pub bgp: Vec<ValueDiff>,
    /// What peers would be told, as far as configuration, the operator and the checks have a say: the checks of backends that are
    /// new here have not.
    pub routes: Vec<RouteDiff>,
    /// What a running agent cannot change: while anything is here, a reload is refused.
    pub restart: Vec<ValueDiff>,
    /// Why a reload is refused unless it is forced, one sentence each; empty where it is not.
    pub objections: Vec<String>,
}

impl ConfigDiff {
    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
            && self.pools.is_empty()
            && self.bgp.is_empty()
            && self.routes.is_empty()
            && self.restart.is_empty()
    }
}

/// What happens to a part of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is new.
    Added,
    /// It goes.
    Removed,
    /// It stays and is not what it was.
    Changed,
}

/// A key of the configuration; none on either side: not set there, or nothing to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueDiff {
    /// Its name.
    pub key: String,
    /// As it is.
    pub before: Option<String>,
    /// As it would be.
    pub after: Option<String>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDiff {
    /// Its name.
    pub name: String,
    /// Its VIP, the new one where that changes.
    pub vip: Vip,
    /// What happens to it.
    pub fate: Fate,
    /// What is not as it was.
    pub changes: Vec<ValueDiff>,
    /// What happens to its flows where they go to the rows of another pool.
    pub rows: Option<RowsDiff>,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolDiff {
    /// Its name.
    pub name: PoolName,
    /// What happens to it.
    pub fate: Fate,
    /// What is not as it was, backends apart.
    pub changes: Vec<ValueDiff>,
    /// Backends that come, go or change, in the order of the new configuration.
    pub backends: Vec<BackendDiff>,
    /// What happens to its rows; none where they stay.
    pub rows: Option<RowsDiff>,
}

/// A backend of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendDiff {
    /// Its address.
    pub address: IpAddr,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// What happens to it.
    pub fate: Fate,
    /// What is not as it was.
    pub changes: Vec<ValueDiff>,
}

/// Rows before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsDiff {
    /// Rows of a table.
    pub total: usize,
    /// Rows that get another owner.
    pub moved: usize,
    /// Inputs that were compared: the one in force, and those that are remembered.
    pub inputs: usize,
    /// Rows whose owner under the worst of the inputs would not be among the hops.
    pub uncovered: usize,
    /// Rows, under the worst of the inputs, whose owner is among the hops now and would not be: flows there would break.
    pub newly_uncovered: usize,
    /// Whether there are flows to break: for a pool without services, or with such alone whose datagrams stand each for
    /// itself, there are none.
    pub has_flows: bool,
}

impl RowsDiff {
    /// Most rows of a thousand that may break.
    const PER_MILLE_MAX: usize = 1;

    /// Whether more flows would break than a reload may by itself.
    pub fn breaks_too_much(&self) -> bool {
        self.has_flows && self.newly_uncovered * 1000 > self.total * Self::PER_MILLE_MAX
    }
}

/// What the peers hear of a VIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteDiff {
    /// The VIP's.
    pub prefix: IpNet,
    /// Added: it is announced; removed: it is withdrawn.
    pub fate: Fate,
    /// To these peers.
    pub peers: Vec<PeerName>,
    /// Attributes that are not what they were.
    pub changes: Vec<ValueDiff>,
    /// Why it is withdrawn.
    pub reason: Option<String>,
}

/// `anylb diff`, asked of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffRequest {
    /// What to compare with; none: the agent's own file as it is now.
    pub file: Option<FileText>,
}

/// A configuration file as its reader found it: the agent opens nothing for others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileText {
    /// Where it is: named in errors, and what relative paths in it start from.
    pub path: std::path::PathBuf,
    /// All of it.
    pub text: String,
}

/// `anylb reload`, asked of the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadRequest {
    /// Whatever it breaks.
    #[serde(default)]
    pub force: bool,
    /// Seconds to wait, once it is applied, until every peer has been sent what changed; none: not at all.
    #[serde(default)]
    pub wait_secs: Option<u64>,
}

/// `anylb reload`: it was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What was done, in one line.
    pub message: String,
    /// What it changed.
    #[serde(default)]
    pub diff: ConfigDiff,
}
