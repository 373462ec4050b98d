//! What the user of the speaker decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

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

/// One peer.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// Transport address, unique among the peers.
    pub address: IpAddr,
    /// TCP port that is dialled; 179 by custom.
    pub port: u16,
    /// AS number of the peer; the same as ours makes it an internal (iBGP) peer.
    pub asn: u32,
    /// TCP MD5 secret (RFC 2385), at most 80 bytes.
    pub password: Option<String>,
    /// TTL security (RFC 5082): the peer is at most so many hops away, 1..=254.
    pub ttl_security: Option<u8>,
    /// Listen only, never dial.
    pub passive: bool,
    /// NEXT_HOP of IPv4 routes. Where unset, the session's local address; a session over IPv6 then does not offer
    /// IPv4.
    pub next_hop_v4: Option<Ipv4Addr>,
    /// Next hop of IPv6 routes. Where unset, the session's local address if it is a global one; otherwise the session
    /// does not offer IPv6.
    pub next_hop_v6: Option<Ipv6Addr>,
    /// Graceful restart as the restarting speaker (RFC 4724); where unset, not offered.
    pub graceful_restart: Option<GracefulRestart>,
}

impl std::fmt::Debug for PeerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password must not reach a log.
        f.debug_struct("PeerConfig")
            .field("address", &self.address)
            .field("port", &self.port)
            .field("asn", &self.asn)
            .field("password", &self.password.as_ref().map(|_| ".."))
            .field("ttl_security", &self.ttl_security)
            .field("passive", &self.passive)
            .field("next_hop_v4", &self.next_hop_v4)
            .field("next_hop_v6", &self.next_hop_v6)
            .field("graceful_restart", &self.graceful_restart)
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
    /// Packets are forwarded whether this process lives or not: the F bit, set for every family in every OPEN. A peer
    /// drops the routes it kept the moment it sees an OPEN without it, restart or mere reconnection.
    pub forwarding_preserved: bool,
}

/// The time before the end of the restart time by which End-of-RIB is sent, complete or not.
pub(crate) const END_OF_RIB_MARGIN: Duration = Duration::from_secs(5);
