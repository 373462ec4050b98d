//! `anylb explain`.

#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Health;
use crate::model::{AdminState, Protocol};

/// The packet that `anylb explain` asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainRequest {
    /// The client.
    pub source: SocketAddr,
    /// The VIP and port.
    pub destination: SocketAddr,
    /// Transport.
    pub protocol: Protocol,
}

/// `anylb explain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// `192.0.2.1:4000`.
    pub source: String,
    /// `198.51.100.1:80`.
    pub destination: String,
    /// Name of the program's exit.
    pub exit: String,
    /// `tx`, `pass`, `drop`.
    pub action: String,
    /// The service found.
    pub service: Option<String>,
    /// What of the service's lists decides about the source; none: neither speaks of it.
    #[serde(default)]
    pub filter: Option<FilterDecision>,
    /// Row number.
    pub row: Option<u32>,
    /// All hops in order, as the tunnel header carries them.
    pub hops: Vec<HopStatus>,
    /// Where packets go that are not the first of their flow, by each CPU that remembers it; of pools in mode `flow-table`.
    #[serde(default)]
    pub remembered: Vec<RememberedFlow>,
    /// Interface the packet would leave by.
    pub interface: Option<String>,
    /// In words: what was decided and why.
    pub because: String,
}

/// A flow that a CPU remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RememberedFlow {
    /// The CPU; the NIC decides which one gets a flow.
    pub cpu: u32,
    /// The flow's backend.
    pub address: IpAddr,
    /// Its name.
    pub name: Option<String>,
    /// Seconds since its last packet, about.
    pub silent_secs: u64,
}

/// The list that decides about a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterDecision {
    /// `allow` or `deny`.
    pub list: String,
    /// The longest prefix around the source; none: it is in no prefix of the list of those who may.
    pub prefix: Option<IpNet>,
    /// Where the list was read; none: in the configuration itself.
    pub file: Option<PathBuf>,
}

/// One hop of an explanation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HopStatus {
    /// Backend address.
    pub address: IpAddr,
    /// Its name.
    pub name: Option<String>,
    /// Verdict.
    pub health: Health,
    /// Operator's word.
    pub admin: AdminState,
}
