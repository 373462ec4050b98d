//! The BGP speaker of a node, from its configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use crate::bgp::{
    self, PeerConfig, PeerName, RouteSet, Speaker, SpeakerConfig, SpeakerError, first_host,
};
use crate::model::{Bgp, BgpPeer, GracefulRestart, Settings};
use crate::netlink;
use crate::netlink::address::{Facing, facing, on_interface};

/// RFC 4724: how long a peer keeps our routes while the agent is away.
const RESTART_TIME: Duration = Duration::from_secs(15);

/// Starts the speaker of `settings`; none without `[bgp]`.
///
/// `shut_down`: peers that the operator has shut down, with his words.
/// `preserved`: a datapath was taken over and is attached, so that packets were forwarded while the agent was away.
pub async fn start(
    settings: &Settings,
    shut_down: &BTreeMap<PeerName, String>,
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
            shutdown: shut_down.get(&peer.name).cloned(),
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

/// Our end of the way to a peer. Members of a range may be on several interfaces: the addresses of their sessions are theirs.
async fn towards(peer: &BgpPeer) -> Result<Facing, netlink::Error> {
    match peer.name {
        PeerName::Address(address) => facing(address).await,
        PeerName::LinkLocal(_, interface) | PeerName::Interface(interface) => {
            on_interface(interface.as_str()).await
        }
        PeerName::Range(range) => {
            let ours = facing(first_host(&range)).await?;
            Ok(match range.addr().is_ipv4() {
                true => Facing { v4: None, ..ours },
                false => Facing { v6: None, ..ours },
            })
        }
    }
}

async fn peer_config(peer: &BgpPeer, graceful_restart: Option<bgp::GracefulRestart>) -> PeerConfig {
    let ours = towards(peer).await.unwrap_or_else(|error| {
        warn!(peer = %peer.name, "no address of ours towards the peer, so no NEXT_HOP but the session's own: {error}");
        Facing { ifindex: 0, v4: None, v6: None }
    });
    PeerConfig {
        name: peer.name,
        port: peer.port,
        asn: peer.asn,
        password: peer.password.clone(),
        ttl_security: peer.ttl_security,
        passive: peer.passive,
        members_max: peer.members_max,
        next_hop_v4: peer.next_hop_v4.or(ours.v4),
        next_hop_v6: peer.next_hop_v6.or(ours.v6),
        graceful_restart,
        await_path: peer.bfd.as_ref().is_some_and(|bfd| bfd.strict),
        shutdown: None,
    }
}
