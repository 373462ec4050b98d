//! What the agent tells: the shapes behind `--json`, the admin API and the tables.
//!
//! Every answer is an [`Envelope`]; its fields only grow. Pure data, read by the CLI as well.

#![forbid(unsafe_code)]

mod bench;
mod bgp;
mod bpf;
mod checks;
mod counters;
mod diff;
mod doctor;
mod drain;
mod explain;
mod trace;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::bench::{FrameRate, LineRate, RateLimit, Trial};
pub use self::bgp::{
    BfdStatus, Discovery, EndedMember, NotificationCount, PeerDetail, PeerList, PeerOpen,
    PeerRoutes, PeerSettings, PeerStatus, RangeStatus, RouteList, SentRoute, Strangers,
};
pub use self::bpf::{BpfMap, BpfProgram, BpfState, Compared, KernelDifference, Verification};
pub use self::checks::{BackendHealth, HealthList, LastCheck, ProbeReport, ProbeRequest};
pub use self::counters::{
    BackendCount, CheckCount, Count, Counters, ExitCount, FlowTableCount, Histogram,
    IcmpErrorCount, PathMtuMessages, SecondChanceCount, ServiceCount,
};
pub use self::diff::{
    BackendDiff, ConfigDiff, DiffRequest, Fate, FileText, PoolDiff, ReloadRequest, Reloaded,
    RouteDiff, RowsDiff, ServiceDiff, ValueDiff,
};
pub use self::doctor::{DoctorReport, Finding, FindingVerdict};
pub use self::drain::{DrainOutcome, Drained};
pub use self::explain::{ExplainRequest, Explanation, FilterDecision, HopStatus, RememberedFlow};
pub use self::trace::{TraceBatch, TraceNext, TraceRequest, TraceStarted, TracedPacket};
use crate::bgp::PeerName;
use crate::model::{AdminState, PoolName, Ports, Protocol, Vip};

/// Name and version of every JSON answer.
pub const SCHEMA: &str = "anylb/v1";

/// `{"schema": "anylb/v1", "generation": N, ...}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Counts every applied change of the desired state since the state directory was made.
    pub generation: u64,
    /// The answer.
    #[serde(flatten)]
    pub body: T,
}

impl<T> Envelope<T> {
    /// An answer that holds at `generation`.
    pub fn new(generation: u64, body: T) -> Self {
        Self {
            schema: SCHEMA.to_string(),
            generation,
            body,
        }
    }
}

/// `anylb status`: everything but counters, published by the agent after every change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// `node.name`.
    pub node: String,
    /// Version of the binary.
    pub version: String,
    /// `lb`, `backend`, or `combined`.
    pub role: String,
    /// Seconds since the epoch when the agent started.
    pub start_time_secs: u64,
    /// Whether this agent took over a datapath that was running.
    pub adopted: bool,
    /// How the last reading of the configuration went.
    #[serde(default)]
    pub config: ConfigStatus,
    /// Datapath per interface.
    pub interfaces: Vec<InterfaceStatus>,
    /// In the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// By name.
    pub pools: BTreeMap<PoolName, PoolStatus>,
    /// BGP sessions.
    pub peers: Vec<PeerStatus>,
    /// Peers that a prefix alone is known of.
    #[serde(default)]
    pub ranges: Vec<RangeStatus>,
    /// Who wanted one and is no peer.
    #[serde(default)]
    pub strangers: Strangers,
    /// What is wrong and what to do about it, one line each; empty when all is well.
    pub problems: Vec<String>,
}

impl NodeStatus {
    /// What there is to tell before the first round: who we are, and that the rest is to come.
    pub fn starting(node: &str, role: &str, start_time_secs: u64) -> Self {
        Self {
            node: node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            role: role.to_string(),
            start_time_secs,
            problems: vec!["starting: checks and next hops are not all in yet".to_string()],
            ..Self::default()
        }
    }

    /// What this node is configured to serve and does not, one line each.
    ///
    /// A VIP that is not announced counts only where there is a peer to announce it to.
    pub fn not_serving(&self) -> Vec<String> {
        let detached = self
            .interfaces
            .iter()
            .filter(|interface| !interface.attached)
            .map(|interface| format!("{}: the datapath is not attached", interface.name));
        let silent = self
            .services
            .iter()
            .filter(|service| self.has_peers() && service.pool.is_some())
            .filter(|service| !service.announced || service.reason.is_some())
            .map(|service| {
                let reason = service.reason.as_deref().unwrap_or("no reason given");
                let (name, vip, how) = (&service.name, service.vip, service.standing());
                format!("{name}: {vip} is {how}: {reason}")
            });
        let unheard = self.has_peers() && !self.peers.iter().any(PeerStatus::established);
        let unheard = unheard
            .then(|| "no BGP session is Established: no router hears of the VIPs".to_string());
        detached.chain(silent).chain(unheard).collect()
    }

    fn has_peers(&self) -> bool {
        !(self.peers.is_empty() && self.ranges.is_empty())
    }

    /// Everything that is not as it should be, one line each: what is not served, sessions that are down, a
    /// reload that was rejected, and what the agent says. Empty when all is well.
    pub fn troubles(&self) -> Vec<String> {
        let down = self.peers.iter().filter(|peer| !peer.established());
        let down = down.map(|peer| match peer.obstacle() {
            Some(reason) => format!("{}: BGP session is {}: {reason}", peer.address, peer.state),
            None => format!("{}: BGP session is {}", peer.address, peer.state),
        });
        let undetected = self.peers.iter().filter_map(|peer| {
            let obstacle = peer.bfd.as_ref()?.obstacle()?;
            Some(format!("{}: BFD: {obstacle}", peer.address))
        });
        let rejected = self.config.reloads_rejected > 0 && !self.config.last_reload_successful;
        let rejected = rejected.then(|| {
            "the last reload was rejected and the configuration before it is in force: see `anylb check`".to_string()
        });
        let mut troubles = self.not_serving();
        troubles.extend(down);
        troubles.extend(undetected);
        troubles.extend(rejected);
        troubles.extend(self.problems.iter().cloned());
        troubles
    }
}

/// The configuration in force, and the attempts to replace it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// The last start or reload took the file as it was.
    pub last_reload_successful: bool,
    /// Seconds since the epoch when a configuration was last applied.
    pub last_success_time_secs: u64,
    /// Reloads since the agent started that were applied.
    pub reloads_applied: u64,
    /// Reloads since the agent started that were rejected; each left the old configuration in force.
    pub reloads_rejected: u64,
}

/// One interface of the datapath.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// `native`.
    pub mode: String,
    /// The program hangs on it.
    pub attached: bool,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// `service.name`.
    pub name: String,
    /// The address clients use.
    pub vip: Vip,
    /// Transport.
    pub protocol: Protocol,
    /// Ports.
    pub ports: Vec<Ports>,
    /// Its pool; none on a backend.
    pub pool: Option<PoolName>,
    /// Healthy backends.
    pub healthy: usize,
    /// Configured backends.
    pub configured: usize,
    /// Healthy backends needed to announce.
    pub need: usize,
    /// The VIP is announced by this node.
    pub announced: bool,
    /// The operator has withdrawn this service on this node.
    #[serde(default)]
    pub withdrawn: bool,
    /// Why not, or why only as a last resort, in words.
    pub reason: Option<String>,
    /// Whose packets it takes.
    #[serde(default)]
    pub limits: ServiceLimits,
}

impl ServiceStatus {
    /// How it is announced, where it is not as it should be.
    pub const fn standing(&self) -> &'static str {
        match self.announced {
            true => "announced as a last resort",
            false => "not announced",
        }
    }
}

/// Whose packets a service takes; by default everybody's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLimits {
    /// Who may; none: everybody.
    pub allow: Option<ListStatus>,
    /// Who may not.
    pub deny: Option<ListStatus>,
    /// How many of its packets, in words; none: all.
    #[serde(default)]
    pub rate: Option<String>,
    /// The same of each prefix of sources.
    #[serde(default)]
    pub source_rate: Option<String>,
    /// Of both lists in the datapath; services with the same lists share it.
    pub filter_bytes: usize,
    /// It takes packets of known flows only.
    #[serde(default)]
    pub attack: bool,
    /// The same without the operator's word.
    #[serde(default)]
    pub attack_configured: bool,
}

/// A list of prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListStatus {
    /// How many.
    pub prefixes: usize,
    /// Where they were read; none: in the configuration itself.
    pub file: Option<PathBuf>,
}

/// One pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Digest of inputs, key id, algorithm version and rows, in hexadecimal: equal on nodes that agree.
    pub table_hash: String,
    /// Previous inputs that the rows remember.
    pub remembered_inputs: usize,
    /// Rows whose owner changed in all swaps since the agent started.
    pub rows_moved_total: u64,
    /// In the order of the configuration; removed ones that still drain come last.
    pub backends: Vec<BackendStatus>,
}

/// One backend of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Identity.
    pub address: IpAddr,
    /// Name from the configuration.
    pub name: Option<String>,
    /// Weight in force.
    pub weight: u16,
    /// What the operator said.
    pub admin: AdminState,
    /// Weight without the operator's word; none of a backend that left the configuration.
    #[serde(default)]
    pub configured_weight: Option<u16>,
    /// What the operator said of the state ends with a reboot.
    #[serde(default)]
    pub admin_until_reboot: bool,
    /// What the operator said of the weight ends with a reboot.
    #[serde(default)]
    pub weight_until_reboot: bool,
    /// `up`, `down` or `unknown`.
    pub health: Health,
    /// Why it is down, in words of the last failed check.
    pub reason: Option<String>,
    /// Share of the pool's rows it owns, 0..=1.
    pub row_ratio: f64,
    /// The next hop is resolved.
    pub reachable: bool,
    /// Bytes that fit the way there, where a router has said in the last ten minutes that it is less than the next hop takes.
    #[serde(default)]
    pub path_mtu: Option<u32>,
}

/// A verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not yet judged.
    #[default]
    Unknown,
    /// Gets rows.
    Up,
    /// Gets none.
    Down,
}

/// What the CLI may ask of a running agent, apart from reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// `backend drain|ready|disable`: in one pool, or in every pool that has the backend.
    SetAdmin {
        /// Restrict to this pool.
        pool: Option<PoolName>,
        /// Address or name of the backend.
        backend: String,
        /// The new state.
        admin: AdminState,
        /// It outlasts a reboot.
        #[serde(default)]
        persist: bool,
    },
    /// `backend weight`: in one pool, or in every pool that has the backend.
    SetWeight {
        /// Restrict to this pool.
        pool: Option<PoolName>,
        /// Address or name of the backend.
        backend: String,
        /// Instead of the configured weight; none: the configured one again.
        weight: Option<u16>,
        /// It outlasts a reboot.
        #[serde(default)]
        persist: bool,
    },
    /// `service withdraw`: not announced by this node until [`Command::Announce`].
    Withdraw {
        /// Name of the service.
        service: String,
    },
    /// `service announce`: takes [`Command::Withdraw`] back.
    Announce {
        /// Name of the service.
        service: String,
    },
    /// `service attack`: whether known flows alone get through, whatever the configuration says.
    Attack {
        /// Name of the service.
        service: String,
        /// They alone.
        on: bool,
    },
    /// `bgp shutdown`: no session with this peer until [`Command::EnablePeer`].
    ShutDownPeer {
        /// Which.
        peer: PeerName,
        /// What it is told, at most 255 bytes.
        message: String,
    },
    /// `bgp enable`: takes [`Command::ShutDownPeer`] back.
    EnablePeer {
        /// Which.
        peer: PeerName,
    },
    /// `bgp refresh`: everything is sent again within the session.
    RefreshPeer {
        /// Which.
        peer: PeerName,
    },
    /// `reload`: read the configuration file again.
    Reload,
    /// End with the handover intent: routes and datapath stay.
    Handover,
}

/// A command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done, where it holds (`this node only`), in one line.
    pub message: String,
}

/// `anylb backend list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendList {
    /// By pool, then in the order of the configuration.
    pub backends: Vec<PoolBackend>,
}

/// A backend and the pool it is in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolBackend {
    /// Name of the pool.
    pub pool: PoolName,
    /// The backend.
    #[serde(flatten)]
    pub backend: BackendStatus,
}

/// `anylb service list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceList {
    /// In the order of the configuration.
    pub services: Vec<ServiceStatus>,
}

/// `anylb service show`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceDetail {
    /// The service.
    #[serde(flatten)]
    pub service: ServiceStatus,
    /// Its traffic; none on a node that does not count it.
    pub count: Option<ServiceCount>,
    /// The backends of its pool.
    pub backends: Vec<PoolBackend>,
}

/// `anylb drops`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DropList {
    /// Every reason, those that never occurred included.
    pub drops: Vec<ExitCount>,
}

/// `anylb version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Of the binary that was called.
    pub version: String,
    /// What it was built from; none where the build did not know.
    #[serde(default)]
    pub commit: Option<String>,
    /// Version of the pinned maps' layout.
    #[serde(default)]
    pub map_abi: u32,
    /// Fingerprint of that layout, which tells apart what one version may hide.
    #[serde(default)]
    pub map_layout: String,
    /// Header of the tunnel between nodes and backends.
    #[serde(default)]
    pub tunnel: u8,
    /// Flow hash of the rows.
    #[serde(default)]
    pub flow_hash: u8,
}

/// An answer that tells why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The reason.
    pub error: Refusal,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// `not_found`, `refused`, `invalid` (the configuration file), `usage`, `timeout` or `failed`.
    pub kind: String,
    /// What, where and what to do next.
    pub message: String,
}

impl Refusal {
    /// There is no such thing (exit code 5).
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new("not_found", message)
    }

    /// It may not be done, or not now (exit code 6).
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new("refused", message)
    }

    /// There is no BGP peer of that name; these there are.
    pub fn no_peer(peer: PeerName, known: &[String]) -> Self {
        Self::not_found(match known {
            [] => format!("there is no BGP peer {peer}: this node has none"),
            known => format!(
                "there is no BGP peer {peer}: this node has {}",
                known.join(", ")
            ),
        })
    }

    /// The configuration file has errors (exit code 3); the message may have several lines.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("invalid", message)
    }

    /// The request makes no sense (exit code 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new("usage", message)
    }

    /// It took too long (exit code 8).
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new("timeout", message)
    }

    /// It was tried and went wrong (exit code 1).
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new("failed", message)
    }

    /// The exit code of a command that met this refusal; a kind from a newer agent counts as [`Exit::Failed`].
    pub fn exit(&self) -> Exit {
        match self.kind.as_str() {
            "not_found" => Exit::NotFound,
            "refused" => Exit::Refused,
            "invalid" => Exit::ConfigInvalid,
            "usage" => Exit::Usage,
            "timeout" => Exit::Timeout,
            _ => Exit::Failed,
        }
    }

    fn new(kind: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind.to_string(),
            message: message.into(),
        }
    }
}

/// How `anylb` ends; the numbers are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It was done.
    Ok = 0,
    /// It was tried and went wrong.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The configuration file has errors.
    ConfigInvalid = 3,
    /// No agent answers at the socket.
    AgentUnreachable = 4,
    /// No such backend, pool or service.
    NotFound = 5,
    /// The agent will not do it, or the caller may not ask for it.
    Refused = 6,
    /// The answer is there, and something is not well.
    Degraded = 7,
    /// It took too long.
    Timeout = 8,
    /// Two things that were compared differ.
    Differs = 10,
}
