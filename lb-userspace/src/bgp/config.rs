//! What the user of the speaker decides.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::error::SpeakerError;
use super::peer_name::PeerName;
use super::sockopt::PASSWORD_MAX;

/// A whole speaker: one AS, one identifier, its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakerConfig {
    /// Our AS number, not 0 (RFC 7607).
    pub asn: u32,
    /// BGP identifier, not 0 (RFC 6286).
    pub router_id: Ipv4Addr,
    /// Proposed hold time in whole seconds: 0 (no KEEPALIVEs) or 3..=65535 s. The smaller of both sides' wins.
    pub hold_time: Duration,
    /// Where connections are accepted; empty: the speaker only dials. `[::]` does not accept IPv4.
    pub listen: Vec<SocketAddr>,
    /// Nobody else may connect.
    pub peers: Vec<PeerConfig>,
}

impl SpeakerConfig {
    /// Whether every value is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), SpeakerError> {
        let hold_time = self.hold_time.as_secs();
        ensure(self.asn != 0, || "our AS number is 0 (RFC 7607)".into())?;
        ensure(!self.router_id.is_unspecified(), || {
            "the BGP identifier (router id) is 0.0.0.0".into()
        })?;
        ensure(hold_time == 0 || (3..=65535).contains(&hold_time), || {
            format!("hold time {hold_time} s: must be 0 or 3 to 65535 s")
        })?;
        let mut names = BTreeSet::new();
        for peer in &self.peers {
            ensure(names.insert(peer.name), || {
                format!("peer {} is there twice", peer.name)
            })?;
            peer.check()?;
        }
        Ok(())
    }
}

fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<(), SpeakerError> {
    if holds {
        Ok(())
    } else {
        Err(SpeakerError::Config(message()))
    }
}

/// One peer.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// Unique among the peers.
    pub name: PeerName,
    /// TCP port that is dialled; 179 by custom.
    pub port: u16,
    /// AS number of the peer; the same as ours makes it an internal (iBGP) peer.
    pub asn: u32,
    /// TCP MD5 secret (RFC 2385), at most 80 bytes.
    pub password: Option<String>,
    /// TTL security (RFC 5082): the peer is at most so many hops away, 1..=254.
    pub ttl_security: Option<u8>,
    /// Listen only, never dial; a range is never dialled.
    pub passive: bool,
    /// Members that a range may have at once.
    pub members_max: usize,
    /// NEXT_HOP of IPv4 routes. Where unset, the session's local address; over IPv6 that is only for peers that take
    /// it (RFC 8950), and others hear of no IPv4.
    pub next_hop_v4: Option<Ipv4Addr>,
    /// Next hop of IPv6 routes. Where unset, the session's local address if it is a global one; otherwise the session
    /// does not offer IPv6.
    pub next_hop_v6: Option<Ipv6Addr>,
    /// Graceful restart as the restarting speaker (RFC 4724); where unset, not offered.
    pub graceful_restart: Option<GracefulRestart>,
    /// No OPEN before [`Speaker::set_path`](super::Speaker::set_path) says that the path to the peer is up.
    pub await_path: bool,
    /// Down from the start, with what the operator said of it, until [`Speaker::enable`](super::Speaker::enable).
    pub shutdown: Option<String>,
}

impl PeerConfig {
    fn check(&self) -> Result<(), SpeakerError> {
        let peer = self.name;
        ensure(self.asn != 0, || {
            format!("peer {peer}: AS number 0 (RFC 7607)")
        })?;
        let password = self.password.as_deref().unwrap_or("x").len();
        ensure((1..=PASSWORD_MAX).contains(&password), || {
            format!("peer {peer}: password of {password} bytes; TCP MD5 takes 1 to {PASSWORD_MAX}")
        })?;
        ensure(
            self.ttl_security
                .is_none_or(|hops| (1..=254).contains(&hops)),
            || format!("peer {peer}: TTL security takes 1 to 254 hops"),
        )?;
        let range = self.name.range().is_some();
        ensure(!range || (self.passive && !self.await_path), || {
            format!("peer {peer}: a range is not dialled, and has no path to wait for")
        })?;
        ensure(!range || self.members_max > 0, || {
            format!("peer {peer}: a range without room for members")
        })?;
        let restart_time = self
            .graceful_restart
            .map_or(0, |g| g.restart_time.as_secs());
        ensure(restart_time <= 4095, || {
            format!("peer {peer}: restart time {restart_time} s; at most 4095 s")
        })
    }
}

impl std::fmt::Debug for PeerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password must not reach a log.
        f.debug_struct("PeerConfig")
            .field("name", &self.name)
            .field("port", &self.port)
            .field("asn", &self.asn)
            .field("password", &self.password.as_ref().map(|_| ".."))
            .field("ttl_security", &self.ttl_security)
            .field("passive", &self.passive)
            .field("members_max", &self.members_max)
            .field("next_hop_v4", &self.next_hop_v4)
            .field("next_hop_v6", &self.next_hop_v6)
            .field("graceful_restart", &self.graceful_restart)
            .field("await_path", &self.await_path)
            .field("shutdown", &self.shutdown)
            .finish()
    }
}

/// What the graceful restart capability says (RFC 4724 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// How long the peer shall keep our routes while we are away; whole seconds, at most 4095.
    pub restart_time: Duration,
    /// This process follows another one: the R bit, set in OPENs until a session has been told everything once.
    /// Later sessions of the same process have it clear, because then the speaker has not restarted.
    pub restarting: bool,
    /// Packets were forwarded while no process was there: the F bit of every family. A peer drops the routes it kept the
    /// moment it sees an OPEN without it. Once a session has been told everything it is set in any case, because a
    /// mere reconnection of this process interrupts no forwarding.
    pub forwarding_preserved: bool,
}

/// The time before the end of the restart time by which End-of-RIB is sent, complete or not.
pub(crate) const END_OF_RIB_MARGIN: Duration = Duration::from_secs(5);
