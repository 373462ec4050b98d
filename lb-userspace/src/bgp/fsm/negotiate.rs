//! Our OPEN, the check of the peer's, and what follows from both.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::bgp::codec::{Capabilities, GracefulRestartCapability, Open};
use crate::bgp::config::{GracefulRestart, PeerConfig, SpeakerConfig};
use crate::bgp::notification::{Notification, code, subcode};
use crate::bgp::route::Family;

/// What a machine needs to know of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our AS.
    pub asn: u32,
    /// Our identifier.
    pub identifier: Ipv4Addr,
    /// Proposed hold time.
    pub hold_time_secs: u16,
    /// The peer's AS.
    pub peer_asn: u32,
    /// Never dial.
    pub passive: bool,
    /// See [`PeerConfig::next_hop_v4`].
    pub next_hop_v4: Option<Ipv4Addr>,
    /// See [`PeerConfig::next_hop_v6`].
    pub next_hop_v6: Option<Ipv6Addr>,
    /// Offered when present.
    pub graceful_restart: Option<GracefulRestart>,
}

impl Settings {
    /// The part of the configuration that concerns one peer.
    pub fn new(speaker: &SpeakerConfig, peer: &PeerConfig) -> Settings {
        Settings {
            asn: speaker.asn,
            identifier: speaker.router_id,
            hold_time_secs: u16::try_from(speaker.hold_time.as_secs()).unwrap_or(u16::MAX),
            peer_asn: peer.asn,
            passive: peer.passive,
            next_hop_v4: peer.next_hop_v4,
            next_hop_v6: peer.next_hop_v6,
            graceful_restart: peer.graceful_restart,
        }
    }

    /// AS of the peer is ours.
    pub fn internal(&self) -> bool {
        self.asn == self.peer_asn
    }
}

/// Where routes of each family are sent to; none: the family is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHops {
    /// Next hop of IPv4; an IPv6 address only where both sides have the capability of RFC 8950.
    pub v4: Option<IpAddr>,
    /// Next hop of IPv6; a link-local address where the session runs over one and there is no other.
    pub v6: Option<Ipv6Addr>,
    /// What goes with a global IPv6 next hop on the link that both are on (RFC 2545 section 3).
    pub link_local: Option<Ipv6Addr>,
}

impl NextHops {
    /// For a connection with this local address.
    pub fn new(settings: &Settings, local: IpAddr) -> NextHops {
        let (local_v4, local_v6) = match local {
            IpAddr::V4(v4) => (Some(v4), None),
            IpAddr::V6(v6) => (None, Some(v6)),
        };
        let link_local = local_v6.filter(Ipv6Addr::is_unicast_link_local);
        let v6 = settings.next_hop_v6.or(local_v6);
        let v4 = settings.next_hop_v4.or(local_v4);
        NextHops {
            v4: v4.map(IpAddr::V4).or(v6.map(IpAddr::V6)),
            v6,
            link_local,
        }
    }

    /// Of one family.
    pub fn of(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Ipv4 => self.v4,
            Family::Ipv6 => self.v6.map(IpAddr::V6),
        }
    }

    /// The link-local address that is told beside the next hop of one family.
    pub fn beside(&self, family: Family) -> Option<Ipv6Addr> {
        let next_hop = self.of(family).filter(IpAddr::is_ipv6)?;
        self.link_local.filter(|link_local| next_hop != *link_local)
    }

    fn families(&self) -> BTreeSet<Family> {
        Family::ALL
            .into_iter()
            .filter(|f| self.of(*f).is_some())
            .collect()
    }
}

/// What holds for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Families both offered.
    pub families: BTreeSet<Family>,
    /// Next hops of ours.
    pub next_hops: NextHops,
    /// The smaller of both; zero: no timers.
    pub hold_time: Duration,
    /// AS numbers are four octets wide.
    pub four_octet_as: bool,
    /// The peer's identifier.
    pub peer_identifier: Ipv4Addr,
    /// Capabilities both offered, by name.
    pub capabilities: Vec<String>,
}

impl Negotiated {
    /// Between two KEEPALIVEs of ours before jitter: a third of the hold time, at most one a second (RFC 4271 section
    /// 4.4); zero: none are sent.
    pub fn keepalive_time(&self) -> Duration {
        match self.hold_time.is_zero() {
            true => Duration::ZERO,
            false => (self.hold_time / 3).max(Duration::from_secs(1)),
        }
    }
}

/// Our OPEN. `bare` leaves all capabilities out, for a peer that refuses any (RFC 5492 section 3).
pub(super) fn our_open(settings: &Settings, next_hops: &NextHops, bare: bool) -> Open {
    let families = next_hops.families();
    let graceful_restart = settings
        .graceful_restart
        .map(|restart| GracefulRestartCapability {
            restarting: restart.restarting,
            restart_time_secs: u16::try_from(restart.restart_time.as_secs())
                .unwrap_or(u16::MAX)
                .min(4095),
            families: families
                .iter()
                .map(|f| (*f, restart.forwarding_preserved))
                .collect(),
        });
    let capabilities = match bare {
        true => Capabilities::default(),
        false => Capabilities {
            families,
            other_families: false,
            route_refresh: true,
            four_octet_as: true,
            extended_next_hop: next_hops.v4.is_some_and(|next_hop| next_hop.is_ipv6()),
            graceful_restart,
            others: BTreeSet::new(),
        },
    };
    Open {
        asn: settings.asn,
        hold_time_secs: settings.hold_time_secs,
        identifier: settings.identifier,
        capabilities,
    }
}

/// Whether the peer's OPEN is acceptable.
///
/// # Errors
/// 2/2 with the AS, 2/3 with the identifier, 2/6, 2/7 with the capabilities we need (RFC 4271 section 6.2, RFC 5492,
/// RFC 6286, RFC 7607).
pub(super) fn check_open(
    settings: &Settings,
    ours: &Open,
    theirs: &Open,
) -> Result<(), Notification> {
    let error = |subcode, data: &[u8]| Err(Notification::with_data(code::OPEN, subcode, data));
    if theirs.asn == 0 || theirs.asn != settings.peer_asn {
        return error(subcode::BAD_PEER_AS, &theirs.asn.to_be_bytes());
    }
    let same_identifier = settings.internal() && theirs.identifier == settings.identifier;
    if theirs.identifier.is_unspecified() || same_identifier {
        return error(subcode::BAD_IDENTIFIER, &theirs.identifier.octets());
    }
    if matches!(theirs.hold_time_secs, 1 | 2) {
        return error(subcode::UNACCEPTABLE_HOLD_TIME, &[]);
    }
    if usable(&ours.capabilities, &theirs.capabilities).is_empty() {
        let our_families = ours.capabilities.effective_families();
        let missing: Vec<u8> = our_families.iter().flat_map(multiprotocol).collect();
        return error(subcode::UNSUPPORTED_CAPABILITY, &missing);
    }
    Ok(())
}

/// Families that both have, without IPv4 where its next hop could not be said.
fn usable(mine: &Capabilities, other: &Capabilities) -> BTreeSet<Family> {
    let mut families = &mine.effective_families() & &other.effective_families();
    if mine.extended_next_hop && !other.extended_next_hop {
        families.remove(&Family::Ipv4);
    }
    families
}

fn multiprotocol(family: &Family) -> [u8; 6] {
    match family {
        Family::Ipv4 => [1, 4, 0, 1, 0, 1],
        Family::Ipv6 => [1, 4, 0, 2, 0, 1],
    }
}

/// What both OPENs together mean.
pub(super) fn negotiate(next_hops: NextHops, ours: &Open, theirs: &Open) -> Negotiated {
    let (mine, other) = (&ours.capabilities, &theirs.capabilities);
    let families = &mine.effective_families() & &other.effective_families();
    let over_v6 = next_hops.v4.is_some_and(|next_hop| next_hop.is_ipv6());
    let without = over_v6 && !(mine.extended_next_hop && other.extended_next_hop);
    Negotiated {
        next_hops: NextHops {
            v4: next_hops.v4.filter(|_| !without),
            ..next_hops
        },
        hold_time: Duration::from_secs(u64::from(ours.hold_time_secs.min(theirs.hold_time_secs))),
        four_octet_as: mine.four_octet_as && other.four_octet_as,
        peer_identifier: theirs.identifier,
        capabilities: in_common(mine, other),
        families,
    }
}

fn in_common(mine: &Capabilities, other: &Capabilities) -> Vec<String> {
    let theirs = other.names();
    let mut names = mine.names();
    names.retain(|name| theirs.contains(name));
    names
}

/// What the refused side's OPEN says and the other expects, in words; `sent`: we are the ones who refuse.
pub fn contradiction(
    settings: &Settings,
    ours: &Open,
    theirs: &Open,
    refusal: &Notification,
    sent: bool,
) -> Option<String> {
    if refusal.code != code::OPEN {
        return None;
    }
    let families = |open: &Open| {
        let families = open.capabilities.effective_families();
        let names: Vec<&str> = families.iter().map(|family| family.as_str()).collect();
        names.join(", ")
    };
    match (refusal.subcode, sent) {
        (subcode::BAD_PEER_AS, true) => Some(format!(
            "it says AS {}, and the configuration AS {}",
            theirs.asn, settings.peer_asn
        )),
        (subcode::BAD_PEER_AS, false) => {
            Some(format!("we say AS {}, and it expects another", ours.asn))
        }
        (subcode::BAD_IDENTIFIER, true) => Some(match theirs.identifier.is_unspecified() {
            true => "its identifier is 0.0.0.0".to_string(),
            false => format!(
                "its identifier {} is ours as well, and in one AS each has its own",
                theirs.identifier
            ),
        }),
        (subcode::BAD_IDENTIFIER, false) => Some(format!("ours is {}", ours.identifier)),
        (subcode::UNACCEPTABLE_HOLD_TIME, true) => Some(format!(
            "it proposes {} s, and 0 or at least 3 s is possible",
            theirs.hold_time_secs
        )),
        (subcode::UNACCEPTABLE_HOLD_TIME, false) => {
            Some(format!("we propose {} s", ours.hold_time_secs))
        }
        (subcode::UNSUPPORTED_CAPABILITY, true) => Some(format!(
            "it offers {}, and we {}",
            families(theirs),
            families(ours)
        )),
        (subcode::UNSUPPORTED_CAPABILITY, false) => Some(format!("we offer {}", families(ours))),
        _ => None,
    }
}
