//! What the speaker tells about a peer.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;

use super::fsm::State;

/// One peer at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Transport address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: u32,
    /// State of the connection that has come furthest.
    pub state: State,
    /// Time in this state.
    pub since: Duration,
    /// Identifier of the peer, while Established.
    pub router_id: Option<Ipv4Addr>,
    /// Negotiated hold time, while Established; zero: none.
    pub hold_time: Option<Duration>,
    /// What both sides offered, by name, while Established.
    pub capabilities: Vec<String>,
    /// Prefixes sent and not withdrawn.
    pub announced: Vec<IpNet>,
    /// Messages by type, `open`, `update`, `notification`, `keepalive`, `route_refresh`.
    pub received: BTreeMap<&'static str, u64>,
    /// Messages by type.
    pub sent: BTreeMap<&'static str, u64>,
    /// NOTIFICATIONs.
    pub notifications: BTreeMap<NotificationKey, u64>,
    /// Established sessions that ended, by reason (see `fsm::Reason`). Healthy: does not grow.
    pub flaps: BTreeMap<&'static str, u64>,
    /// Why the last Established session ended, in words.
    pub last_reset: Option<String>,
    /// Why the last attempt came to nothing, in words; none once a session is Established.
    pub last_failure: Option<String>,
}

/// What NOTIFICATIONs are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotificationKey {
    /// We sent it; otherwise the peer did.
    pub sent: bool,
    /// Error code (RFC 4271 section 4.5).
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
}

impl PeerStatus {
    /// A peer of which nothing is known yet.
    pub(crate) fn new(address: IpAddr, asn: u32) -> PeerStatus {
        PeerStatus {
            address,
            asn,
            state: State::Idle,
            since: Duration::ZERO,
            router_id: None,
            hold_time: None,
            capabilities: Vec::new(),
            announced: Vec::new(),
            received: BTreeMap::new(),
            sent: BTreeMap::new(),
            notifications: BTreeMap::new(),
            flaps: BTreeMap::new(),
            last_reset: None,
            last_failure: None,
        }
    }
}
