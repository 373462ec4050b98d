//! What the speaker tells about a peer.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::codec::Open;
use super::config::{PeerConfig, SpeakerConfig};
use super::fsm::State;
use super::notification::Notification;
use super::peer_name::PeerName;
use super::rib::Told;

/// One peer at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// What the configuration calls it; of a member of a range, its address.
    pub name: PeerName,
    /// The range that it is a member of.
    pub range: Option<IpNet>,
    /// Its AS.
    pub asn: u32,
    /// What was decided about sessions with it.
    pub settings: PeerSettings,
    /// How its address is found, where it is known by its interface.
    pub discovery: Option<Discovery>,
    /// The operator has shut it down, with these words; empty: without any.
    pub shutdown: Option<String>,
    /// State of the connection that has come furthest.
    pub state: State,
    /// Time in this state.
    pub since: Duration,
    /// Identifier of the peer, while Established.
    pub router_id: Option<Ipv4Addr>,
    /// Negotiated hold time, while Established; zero: none.
    pub hold_time: Option<Duration>,
    /// Between two KEEPALIVEs of ours, before jitter, while Established; zero: none are sent.
    pub keepalive_time: Option<Duration>,
    /// Capabilities of the last OPEN sent, by name.
    pub offered: Vec<String>,
    /// The last OPEN that came, accepted or not.
    pub last_open: Option<Open>,
    /// What both sides offered, by name, while Established.
    pub capabilities: Vec<String>,
    /// What was sent and not withdrawn, by prefix.
    pub announced: Arc<Told>,
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

/// Router advertisements on the interface that a peer is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// The link-local address of the peer; none: no router has been heard since the interface came up.
    pub router: Option<IpAddr>,
    /// Advertisements of ours. Healthy: grows.
    pub sent: u64,
    /// Messages that the kernel did not send. Healthy: does not grow.
    pub unsent: u64,
    /// Advertisements that were valid, of anybody. Healthy: grows.
    pub heard: u64,
    /// Of those, the ones of other routers than the peer. Healthy: 0 on a link with one router.
    pub others: u64,
    /// The last of these routers.
    pub last_other: Option<Ipv6Addr>,
    /// Advertisements and solicitations that did not count, by reason: `own`, and those of `discovery::message`. Healthy: none.
    pub invalid: BTreeMap<&'static str, u64>,
}

/// The part of a peer's configuration that may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// See [`PeerConfig::port`].
    pub port: u16,
    /// See [`PeerConfig::passive`].
    pub passive: bool,
    /// See [`SpeakerConfig::hold_time`].
    pub hold_time: Duration,
    /// Segments are signed (RFC 2385).
    pub password: bool,
    /// See [`PeerConfig::ttl_security`].
    pub ttl_security: Option<u8>,
    /// Restart time, where graceful restart is offered.
    pub restart_time: Option<Duration>,
}

impl PeerSettings {
    fn new(speaker: &SpeakerConfig, peer: &PeerConfig) -> PeerSettings {
        PeerSettings {
            port: peer.port,
            passive: peer.passive,
            hold_time: speaker.hold_time,
            password: peer.password.is_some(),
            ttl_security: peer.ttl_security,
            restart_time: peer.graceful_restart.map(|restart| restart.restart_time),
        }
    }
}

/// A range at one moment; its members have a [`PeerStatus`] each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeStatus {
    /// The prefix.
    pub range: IpNet,
    /// AS of its members.
    pub asn: u32,
    /// How many there are.
    pub members: usize,
    /// How many there may be.
    pub members_max: usize,
    /// Connections that were refused because there were as many. Healthy: does not grow.
    pub refused: u64,
    /// Who was refused last.
    pub last_refused: Option<IpAddr>,
    /// Members that have gone, with a session or without one.
    pub ended: u64,
    /// Who went last, and why, in words.
    pub last_ended: Option<(IpAddr, String)>,
    /// The operator has shut it down, with these words; empty: without any.
    pub shutdown: Option<String>,
}

/// Connections of hosts that are no peers, closed without a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strangers {
    /// How many.
    pub connections: u64,
    /// Who came last.
    pub last: Option<PeerName>,
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
    pub(crate) fn new(speaker: &SpeakerConfig, peer: &PeerConfig) -> PeerStatus {
        PeerStatus {
            name: peer.name,
            range: None,
            asn: peer.asn,
            settings: PeerSettings::new(speaker, peer),
            discovery: None,
            shutdown: peer.shutdown.clone(),
            state: State::Idle,
            since: Duration::ZERO,
            router_id: None,
            hold_time: None,
            keepalive_time: None,
            offered: Vec::new(),
            last_open: None,
            capabilities: Vec::new(),
            announced: Arc::default(),
            received: BTreeMap::new(),
            sent: BTreeMap::new(),
            notifications: BTreeMap::new(),
            flaps: BTreeMap::new(),
            last_reset: None,
            last_failure: None,
        }
    }
}

/// Codes and subcodes that are counted apart per peer; a peer that makes more of them up gets the rest counted as 0/0.
const NOTIFICATION_KINDS_MAX: usize = 64;

/// Counts a NOTIFICATION.
pub(crate) fn count_notification(status: &mut PeerStatus, sent: bool, notification: &Notification) {
    let key = NotificationKey {
        sent,
        code: notification.code,
        subcode: notification.subcode,
    };
    let full = status.notifications.len() >= NOTIFICATION_KINDS_MAX
        && !status.notifications.contains_key(&key);
    let key = if full {
        NotificationKey {
            sent,
            code: 0,
            subcode: 0,
        }
    } else {
        key
    };
    *status.notifications.entry(key).or_default() += 1;
}

/// What the task of a peer and the readers of its status share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// `since` is only right in what [`Shared::status`] returns.
    pub status: PeerStatus,
    /// When the state changed.
    pub changed_at: Instant,
}

impl Shared {
    /// Of a peer that begins.
    pub fn new(speaker: &SpeakerConfig, peer: &PeerConfig) -> Shared {
        Shared {
            status: PeerStatus::new(speaker, peer),
            changed_at: Instant::now(),
        }
    }

    /// Of whoever wants to read or change it. Nothing that could panic happens while it is held.
    pub fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
        shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As of now.
    pub fn status(&self) -> PeerStatus {
        PeerStatus {
            since: self.changed_at.elapsed(),
            ..self.status.clone()
        }
    }
}
