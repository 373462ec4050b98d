//! The BGP speaker of a node, from its configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use crate::bgp::{self, PeerConfig, RouteSet, Speaker, SpeakerConfig, SpeakerError};
use crate::model::{Bgp, BgpPeer, GracefulRestart, Settings};
use crate::netlink::address::{Facing, facing};

/// RFC 4724: how long a peer keeps our routes while the agent is away.
const RESTART_TIME: Duration = Duration::from_secs(15);

/// Starts the speaker of `settings`; none without `[bgp]`.
///
/// `shut_down`: peers that the operator has shut down, with his words.
/// `preserved`: a datapath was taken over and is attached, so that packets were forwarded while the agent was away.
pub async fn start(
    settings: &Settings,
    shut_down: &BTreeMap<IpAddr, String>,
    preserved: bool,
    routes: watch::Receiver<Option<Arc<RouteSet>>>,
) -> Result<Option<Speaker>, SpeakerError> {
    let (Some(bgp), Some(router_id)) = (&settings.bgp, settings.node.router_id) else {
        return Ok(None);
    };
    let restart = bgp::GracefulRestart {
        restart_time: RESTART_TIME,
        restarting: preserved,
        forwarding_preserved: preserved,
    };
    let mut peers = Vec::new();
    for peer in &bgp.peers {
        let offered = match bgp.graceful_restart {
            GracefulRestart::Always => true,
            GracefulRestart::WithBfd => peer.bfd.is_some(),
            GracefulRestart::Off => false,
        };
        let config = peer_config(peer, offered.then_some(restart)).await;
        peers.push(PeerConfig {
            shutdown: shut_down.get(&peer.address).cloned(),
            ..config
        });
    }
    let Bgp {
        asn,
        hold_time,
        listen,
        ..
    } = bgp.clone();
    Speaker::start(
        SpeakerConfig {
            asn,
            router_id,
            hold_time,
            listen,
            peers,
        },
        routes,
    )
    .map(Some)
}

async fn peer_config(peer: &BgpPeer, graceful_restart: Option<bgp::GracefulRestart>) -> PeerConfig {
    let ours = facing(peer.address).await.unwrap_or_else(|error| {
        warn!(peer = %peer.address, "no address of ours towards the peer, so no NEXT_HOP but the session's own: {error}");
        Facing { ifindex: 0, v4: None, v6: None }
    });
    PeerConfig {
        address: peer.address,
        port: peer.port,
        asn: peer.asn,
        password: peer.password.clone(),
        ttl_security: peer.ttl_security,
        passive: peer.passive,
        next_hop_v4: peer.next_hop_v4.or(ours.v4),
        next_hop_v6: peer.next_hop_v6.or(ours.v6),
        graceful_restart,
        await_path: peer.bfd.as_ref().is_some_and(|bfd| bfd.strict),
        shutdown: None,
    }
}
