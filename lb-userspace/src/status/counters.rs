//! What the datapath and its checks have counted.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::DropList;

/// Counters read from the datapath when asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets and bytes received per interface.
    pub received: BTreeMap<String, Count>,
    /// Packets by exit of the program; names are `lb_common::exit` or `backend` names.
    pub exits: Vec<ExitCount>,
    /// ICMP errors for VIPs that were sent to backends; empty on a backend.
    #[serde(default)]
    pub icmp_errors: Vec<IcmpErrorCount>,
    /// By service name.
    pub services: BTreeMap<String, ServiceCount>,
    /// By service name and backend address.
    pub backends: Vec<BackendCount>,
    /// Backend role: established connections by service; none where the kernel cannot be asked.
    pub vip_connections: Option<BTreeMap<String, u64>>,
    /// Health checks by type (`tcp`); empty on a backend.
    #[serde(default)]
    pub checks: BTreeMap<String, CheckCount>,
    /// Verdicts that changed, over all backends.
    #[serde(default)]
    pub health_state_changes: u64,
    /// Backend role: what became of encapsulated packets.
    #[serde(default)]
    pub second_chance: Option<SecondChanceCount>,
    /// LB node: flows of pools in mode `flow-table`.
    #[serde(default)]
    pub flow_table: Option<FlowTableCount>,
    /// LB node: packets that traces asked for and did not get, since the ring was full.
    #[serde(default)]
    pub events_lost: Option<u64>,
    /// LB node: messages of routers about packets that were too big; none where they are not heard.
    #[serde(default)]
    pub path_mtu_messages: Option<PathMtuMessages>,
}

/// What messages about packets that were too big for the way to a backend came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathMtuMessages {
    /// Lowered a backend's MTU.
    pub lowered: u64,
    /// Said what was known.
    pub known: u64,
    /// Were not about a packet that this node sends.
    pub foreign: u64,
    /// Were cut off, contradicted themselves or had a wrong checksum.
    pub malformed: u64,
}

/// ICMP errors of a family and kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IcmpErrorCount {
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// `unreachable`, `too_big`, `time_exceeded`, `parameter` or `other`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many.
    pub packets: u64,
}

/// What became of packets in the flow table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowTableCount {
    /// Places taken, those of flows that are over too: they are given to others as they are needed.
    pub entries: u64,
    /// Places.
    pub capacity_entries: u64,
    /// Packets of flows that were remembered.
    pub hits: u64,
    /// Packets of others, which went by their row.
    pub misses: u64,
    /// Flows forgotten for others while they may have been in use; healthy is 0.
    pub evictions: u64,
    /// Flows that went by their row anew after a silence longer than their timeout.
    pub expirations: u64,
    /// Flows that went by their row anew since their backend was not there any more.
    pub releases: u64,
}

impl Counters {
    /// The exits that drop, with their counts.
    pub fn drops(self) -> DropList {
        let mut drops = self.exits;
        drops.retain(|exit| exit.action == "drop");
        DropList { drops }
    }
}

/// Health checks of one type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckCount {
    /// Checks that ended, by result (`success`, `refused`, `timeout`, ...): a bounded set of names.
    pub results: BTreeMap<String, u64>,
    /// How long they took.
    pub duration: Histogram,
}

/// Durations, counted in buckets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Upper bound in seconds, ascending, and how many were at most so long (cumulative); without +Inf.
    pub buckets: Vec<(f64, u64)>,
    /// All durations together, seconds.
    pub sum_secs: f64,
    /// How many there were.
    pub count: u64,
}

/// The second chance on a backend, from its datapath.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondChanceCount {
    /// Packets decapsulated and handed to the kernel of this backend.
    pub decapsulated: u64,
    /// Packets passed on to another backend, by outer family (`ipv4`, `ipv6`).
    pub forwarded: BTreeMap<String, u64>,
    /// Packets accepted here, by the reason's name.
    pub accepted: BTreeMap<String, u64>,
    /// VIP and port pairs with no socket visible in this network namespace.
    pub blind: u64,
}

/// Packets that left the program by one exit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExitCount {
    /// Name of the exit, `snake_case`.
    pub name: String,
    /// `pass`, `drop`, `tx`.
    pub action: String,
    /// Packets.
    pub packets: u64,
    /// What to do about it; only for drops.
    pub advice: Option<String>,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes from the IP header on.
    pub bytes: u64,
}

/// Traffic of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCount {
    /// All packets.
    #[serde(flatten)]
    pub count: Count,
    /// SYNs.
    pub new_flows: u64,
}

/// Traffic that had a backend as its first hop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendCount {
    /// Service name.
    pub service: String,
    /// Backend.
    pub backend: IpAddr,
    /// Packets and bytes.
    pub count: Count,
}
