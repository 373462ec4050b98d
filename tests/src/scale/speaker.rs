//! The process of the speaker.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use anylb::bgp::{PeerConfig, Policy, Route, RouteSet, Speaker, SpeakerConfig};
use ipnet::{IpNet, Ipv4Net};
use tokio::sync::watch;

use super::{HOLD_TIME_SECS, PEER_ASN, address};

/// Serves until its orders end: one of each line of the standard input, `announce` or `withdraw`.
pub async fn run(peers: u16, port: u16, prefixes: u32) -> Result<()> {
    let none = Arc::new(RouteSet {
        complete: true,
        ..RouteSet::default()
    });
    let all = Arc::new(RouteSet {
        routes: (0..prefixes).map(route).collect(),
        ..RouteSet::clone(&none)
    });
    let (send, receive) = watch::channel(Some(Arc::clone(&none)));
    let config = SpeakerConfig {
        asn: 65001,
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        hold_time: Duration::from_secs(HOLD_TIME_SECS.into()),
        listen: Vec::new(),
        peers: (1..=peers).map(|number| peer(number, port)).collect(),
    };
    let speaker = Speaker::start(config, receive).context("the speaker")?;
    let (order, mut orders) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if order.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = orders.recv().await {
        let routes = if line == "announce" { &all } else { &none };
        send.send_replace(Some(Arc::clone(routes)));
    }
    drop(speaker);
    Ok(())
}

fn route(number: u32) -> (IpNet, Route) {
    let address = Ipv4Addr::from(0xcb00_0000 + number);
    let prefix = IpNet::from(Ipv4Net::from(address));
    let route = Route {
        prefix,
        policy: Policy::default(),
        peers: None,
    };
    (prefix, route)
}

fn peer(number: u16, port: u16) -> PeerConfig {
    PeerConfig {
        name: IpAddr::V4(address(number)).into(),
        members_max: 0,
        port,
        asn: PEER_ASN,
        password: None,
        ttl_security: None,
        passive: false,
        next_hop_v4: None,
        next_hop_v6: None,
        graceful_restart: None,
        await_path: false,
        shutdown: None,
    }
}
