//! BGP sessions.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::bgp::notification::Notification;
use crate::bgp::{Family, PeerName};

/// One BGP session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Transport address.
    pub address: PeerName,
    /// The range that it is a member of: it is there only as long as its session.
    #[serde(default)]
    pub range: Option<IpNet>,
    /// AS of the peer.
    pub asn: u32,
    /// RFC 4271 name of the state.
    pub state: String,
    /// Identifier of the peer, once known.
    pub router_id: Option<Ipv4Addr>,
    /// Seconds in this state.
    pub since_secs: u64,
    /// Negotiated hold time, seconds.
    pub hold_time_secs: Option<u64>,
    /// Between two KEEPALIVEs of this node, before jitter; 0: none are sent.
    #[serde(default)]
    pub keepalive_secs: Option<u64>,
    /// What the configuration says of the session.
    #[serde(default)]
    pub configured: PeerSettings,
    /// The operator has shut the session down, with these words.
    #[serde(default)]
    pub shutdown: Option<String>,
    /// How its address is found; none: the configuration has it.
    #[serde(default)]
    pub discovery: Option<Discovery>,
    /// BFD beside the session; none: the configuration has none.
    #[serde(default)]
    pub bfd: Option<BfdStatus>,
    /// Why the last session ended, in words.
    pub last_reset: Option<String>,
    /// Why the last attempt to get a session came to nothing, in words; none once there is one.
    #[serde(default)]
    pub last_failure: Option<String>,
    /// What both sides offered, by name.
    pub capabilities: Vec<String>,
    /// What this node offered in its last OPEN.
    #[serde(default)]
    pub offered: Vec<String>,
    /// The peer's last OPEN, accepted or not.
    #[serde(default)]
    pub last_open: Option<PeerOpen>,
    /// Prefixes sent and not withdrawn.
    pub announced: Vec<IpNet>,
    /// Sessions that ended, by reason.
    pub flaps: BTreeMap<String, u64>,
    /// Messages by type, `open`, `update`, `notification`, `keepalive`, `route_refresh`.
    pub received: BTreeMap<String, u64>,
    /// Messages by type.
    pub sent: BTreeMap<String, u64>,
    /// NOTIFICATIONs: (`sent` or `received`, code, subcode) and how many.
    pub notifications: Vec<(String, u8, u8, u64)>,
}

/// Router advertisements on the interface that a peer is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovery {
    /// The link-local address of the peer; none: no router was heard since the interface came up.
    pub router: Option<IpAddr>,
    /// Advertisements of this node.
    pub sent: u64,
    /// Advertisements and solicitations that could not be sent.
    pub unsent: u64,
    /// Valid advertisements, of whatever router.
    pub heard: u64,
    /// Those of other routers than the peer.
    pub others: u64,
    /// The last of these.
    pub last_other: Option<IpAddr>,
    /// Advertisements and solicitations that did not count, by reason.
    pub invalid: BTreeMap<String, u64>,
}

/// BFD with a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BfdStatus {
    /// RFC 5880 name of the state; empty: the process that has the sessions is not there.
    pub state: String,
    /// Why it last changed.
    pub diagnostic: String,
    /// The peer's state, as far as it was heard.
    pub remote_state: String,
    /// Why that last changed, as the peer says.
    pub remote_diagnostic: String,
    /// The peer's BFD survives its control plane (the C bit).
    pub remote_independent: bool,
    /// Seconds in this state.
    pub since_secs: u64,
    /// Milliseconds between packets of this node, before jitter.
    pub transmit_interval_ms: Option<u64>,
    /// Milliseconds of silence after which the peer is gone.
    pub detection_time_ms: Option<u64>,
    /// How often the session went from Up to Down, and neither operator wanted it.
    pub failures: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets that could not be sent.
    pub unsent: u64,
    /// Packets received.
    pub received: u64,
    /// Packets from the peer that did not count, by reason.
    pub discards: BTreeMap<String, u64>,
    /// What keeps it from being up on this side, in words.
    pub problem: Option<String>,
}

impl BfdStatus {
    /// Whether it is.
    pub fn up(&self) -> bool {
        self.state == "Up"
    }

    /// Why it is not up, in words; none where it is.
    pub fn obstacle(&self) -> Option<String> {
        if self.up() {
            return None;
        }
        if self.state.is_empty() {
            return Some("there is no BFD process: see the log of the agent".to_owned());
        }
        let said = match self.received {
            0 => "nothing was heard from the peer".to_owned(),
            _ => format!(
                "the peer says {} ({})",
                self.remote_state, self.remote_diagnostic
            ),
        };
        let problem = self.problem.iter().map(|problem| format!("; {problem}"));
        let problem: String = problem.collect();
        Some(format!(
            "{} ({}); {said}{problem}",
            self.state, self.diagnostic
        ))
    }
}

/// What the configuration says of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerSettings {
    /// TCP port that is dialled.
    pub port: u16,
    /// It is never dialled.
    pub passive: bool,
    /// Proposed hold time, seconds.
    pub hold_time_secs: u64,
    /// Segments are signed (TCP MD5).
    pub password: bool,
    /// Hops that TTL security lets through.
    pub ttl_security: Option<u8>,
    /// Restart time, seconds, where graceful restart is offered.
    pub restart_time_secs: Option<u64>,
}

/// An OPEN of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerOpen {
    /// Its AS.
    pub asn: u32,
    /// Its identifier.
    pub router_id: Ipv4Addr,
    /// The hold time that it proposes, seconds.
    pub hold_time_secs: u64,
    /// What it offers, by name.
    pub capabilities: Vec<String>,
}

/// Peers that a prefix alone is known of; each that is there is a peer with a status of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeStatus {
    /// The prefix.
    pub range: IpNet,
    /// AS of its members.
    pub asn: u32,
    /// How many there are.
    pub members: usize,
    /// How many there may be.
    pub max_peers: usize,
    /// Connections that were refused because there were as many.
    pub refused: u64,
    /// Who was refused last.
    pub last_refused: Option<IpAddr>,
    /// Members that have gone.
    pub ended: u64,
    /// Who went last.
    pub last_ended: Option<EndedMember>,
    /// The operator has shut it down, with these words.
    pub shutdown: Option<String>,
}

/// A member of a range that has gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedMember {
    /// Its address.
    pub address: IpAddr,
    /// Why its session ended, or why there was none, in words.
    pub reason: String,
}

/// Connections to the BGP port of hosts that are no peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strangers {
    /// How many were refused since the agent started.
    pub connections: u64,
    /// Who came last.
    pub last: Option<PeerName>,
}

impl PeerStatus {
    /// Whether routes are exchanged.
    pub fn established(&self) -> bool {
        self.state == "Established"
    }

    /// Why there is no session, in words; none where there is one, or nothing has been tried yet.
    pub fn obstacle(&self) -> Option<String> {
        match &self.shutdown {
            Some(message) if message.is_empty() => Some("shut down by the operator".to_owned()),
            Some(message) => Some(format!("shut down by the operator: {message}")),
            None => self.last_failure.clone(),
        }
    }
}

/// `anylb bgp peers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerList {
    /// In the order of the configuration, then members of ranges.
    pub peers: Vec<PeerStatus>,
    /// The ranges.
    #[serde(default)]
    pub ranges: Vec<RangeStatus>,
    /// Who wanted a session and is no peer.
    pub strangers: Strangers,
}

/// `anylb bgp peer`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerDetail {
    /// The session.
    #[serde(flatten)]
    pub peer: PeerStatus,
    /// Prefixes sent and not withdrawn, by family.
    pub announced_by_family: BTreeMap<String, usize>,
    /// The NOTIFICATIONs, with their names.
    pub notifications_by_name: Vec<NotificationCount>,
}

/// NOTIFICATIONs of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationCount {
    /// `sent` or `received`.
    pub direction: String,
    /// Error code (RFC 4271 section 4.5).
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// What the RFCs call it.
    pub name: String,
    /// How many.
    pub count: u64,
}

impl PeerDetail {
    /// Of this session.
    pub fn of(peer: PeerStatus) -> Self {
        let mut announced_by_family = BTreeMap::new();
        for prefix in &peer.announced {
            *announced_by_family
                .entry(Family::of(prefix).to_string())
                .or_default() += 1;
        }
        let counts = peer.notifications.iter();
        let counts = counts.map(|(direction, code, subcode, count)| NotificationCount {
            direction: direction.clone(),
            code: *code,
            subcode: *subcode,
            name: Notification::new(*code, *subcode)
                .description()
                .into_owned(),
            count: *count,
        });
        Self {
            notifications_by_name: counts.collect(),
            announced_by_family,
            peer,
        }
    }
}

/// `anylb bgp routes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteList {
    /// In the order of the configuration, then members of ranges.
    pub peers: Vec<PeerRoutes>,
}

/// What one peer has been told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRoutes {
    /// Transport address.
    pub address: PeerName,
    /// AS of the peer.
    pub asn: u32,
    /// RFC 4271 name of the state; without a session nothing is told.
    pub state: String,
    /// Sent and not withdrawn, by prefix.
    pub routes: Vec<SentRoute>,
}

/// A route as it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentRoute {
    /// The VIP's.
    pub prefix: IpNet,
    /// NEXT_HOP.
    pub next_hop: IpAddr,
    /// AS_PATH; empty towards a peer of our own AS.
    pub as_path: Vec<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF; only towards a peer of our own AS.
    pub local_pref: Option<u32>,
    /// COMMUNITIES, as the configuration writes them.
    pub communities: Vec<String>,
    /// LARGE_COMMUNITY.
    pub large_communities: Vec<String>,
    /// Link bandwidth, bits per second, as the configuration writes it.
    pub link_bandwidth: Option<String>,
}
