//! What is told about health checks.

#![forbid(unsafe_code)]

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Health;
use crate::model::PoolName;

/// `anylb health show`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthList {
    /// By pool, then in the order of the configuration; backends that left it are not checked.
    pub backends: Vec<BackendHealth>,
}

/// The checks of one backend of one pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendHealth {
    /// The pool whose check is used.
    pub pool: PoolName,
    /// The backend.
    pub address: IpAddr,
    /// Its name.
    pub name: Option<String>,
    /// The verdict in force.
    pub health: Health,
    /// Checks of this run of the agent have confirmed or changed it.
    pub judged: bool,
    /// How long it has been in force, seconds.
    pub since_secs: u64,
    /// Latest successes in a row.
    pub successes: u32,
    /// Successes in a row until up.
    pub rise: u32,
    /// Latest failures in a row.
    pub failures: u32,
    /// Failures in a row until down.
    pub fall: u32,
    /// The latest result; none before the first.
    pub last: Option<LastCheck>,
    /// Milliseconds until the next check; none while one is in flight.
    pub next_ms: Option<u64>,
}

/// The latest result of a backend's checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastCheck {
    /// `success`, `failure`, or `inconclusive`: this node could not ask, which says nothing about the backend.
    pub result: String,
    /// Why it was no success.
    pub reason: Option<String>,
    /// Milliseconds ago.
    pub ago_ms: u64,
}

/// Whom `anylb health probe` is to check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// The pool whose check is used.
    pub pool: PoolName,
    /// Address or name of the backend.
    pub backend: String,
}

/// `anylb health probe`: one check out of turn, which has no part in the verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The pool whose check was used.
    pub pool: PoolName,
    /// The backend.
    pub address: IpAddr,
    /// Its name.
    pub name: Option<String>,
    /// As in [`LastCheck`].
    pub result: String,
    /// Why it was no success.
    pub reason: Option<String>,
    /// How long it took.
    pub duration_ms: f64,
    /// How long it might have taken.
    pub timeout_ms: u64,
    /// The verdict in force, which stays.
    pub health: Health,
}
