//! The BGP peers of the fake LB node.

use std::collections::BTreeMap;

use crate::status::{
    BfdStatus, Discovery, EndedMember, PeerOpen, PeerRoutes, PeerSettings, PeerStatus, RangeStatus,
    SentRoute,
};

pub(super) fn established() -> PeerStatus {
    PeerStatus {
        address: "10.0.0.1".parse().unwrap(),
        range: None,
        asn: 65_000,
        state: "Established".into(),
        router_id: Some("10.0.0.1".parse().unwrap()),
        since_secs: 7_500,
        hold_time_secs: Some(9),
        keepalive_secs: Some(3),
        configured: PeerSettings {
            port: 179,
            hold_time_secs: 9,
            password: true,
            ttl_security: Some(1),
            restart_time_secs: Some(15),
            ..PeerSettings::default()
        },
        shutdown: None,
        discovery: None,
        bfd: Some(bfd()),
        last_reset: Some("the peer closed the connection".into()),
        last_failure: None,
        capabilities: vec!["ipv4-unicast".into(), "graceful-restart".into()],
        offered: offered(),
        last_open: Some(PeerOpen {
            asn: 65_000,
            router_id: "10.0.0.1".parse().unwrap(),
            hold_time_secs: 180,
            capabilities: [
                "ipv4-unicast",
                "graceful-restart",
                "add-path",
                "enhanced-route-refresh",
                "fqdn",
            ]
            .map(str::to_string)
            .into(),
        }),
        announced: vec!["198.51.100.10/32".parse().unwrap()],
        flaps: BTreeMap::from([("closed".into(), 1)]),
        received: BTreeMap::from([("keepalive".into(), 2_500), ("open".into(), 2)]),
        sent: BTreeMap::from([("keepalive".into(), 2_501), ("update".into(), 3)]),
        notifications: vec![("received".into(), 6, 4, 1)],
    }
}

fn bfd() -> BfdStatus {
    BfdStatus {
        state: "Up".into(),
        diagnostic: "No Diagnostic".into(),
        remote_state: "Up".into(),
        remote_diagnostic: "No Diagnostic".into(),
        remote_independent: true,
        since_secs: 7_501,
        transmit_interval_ms: Some(100),
        detection_time_ms: Some(300),
        failures: 1,
        sent: 75_000,
        received: 75_010,
        discards: BTreeMap::from([("ttl".into(), 2)]),
        ..BfdStatus::default()
    }
}

fn offered() -> Vec<String> {
    let names = [
        "ipv4-unicast",
        "ipv6-unicast",
        "route-refresh",
        "4-octet-as",
        "graceful-restart",
    ];
    names.map(str::to_string).into()
}

/// What a peer of [`super::lb`] was told.
pub(super) fn routes(peer: PeerStatus) -> PeerRoutes {
    let route = |prefix| SentRoute {
        prefix,
        next_hop: "10.0.0.11".parse().unwrap(),
        as_path: vec![65001, 65001],
        med: Some(50),
        local_pref: None,
        communities: vec!["65001:100".into(), "no-export".into()],
        large_communities: vec!["4200000001:1:2".into()],
        link_bandwidth: Some("9G".into()),
    };
    PeerRoutes {
        address: peer.address,
        asn: peer.asn,
        state: peer.state,
        routes: peer.announced.into_iter().map(route).collect(),
    }
}

/// A range without members.
pub(super) fn range() -> RangeStatus {
    RangeStatus {
        range: "10.0.0.128/25".parse().unwrap(),
        asn: 65000,
        members: 0,
        max_peers: 2,
        refused: 3,
        last_refused: Some("10.0.0.201".parse().unwrap()),
        ended: 2,
        last_ended: Some(EndedMember {
            address: "10.0.0.200".parse().unwrap(),
            reason: "TCP: closed by the peer".into(),
        }),
        shutdown: None,
    }
}

pub(super) fn idle() -> PeerStatus {
    PeerStatus {
        address: "eth1".parse().unwrap(),
        range: None,
        asn: 4_200_000_001,
        state: "Active".into(),
        router_id: None,
        since_secs: 12,
        hold_time_secs: None,
        keepalive_secs: None,
        configured: PeerSettings {
            port: 179,
            hold_time_secs: 9,
            ..PeerSettings::default()
        },
        shutdown: None,
        discovery: Some(Discovery {
            router: Some("fe80::1".parse().unwrap()),
            sent: 5,
            heard: 4,
            others: 1,
            last_other: Some("fe80::9".parse().unwrap()),
            invalid: BTreeMap::from([("hop_limit".into(), 2)]),
            ..Discovery::default()
        }),
        bfd: None,
        last_reset: None,
        last_failure: Some("nothing answers on port 179".into()),
        capabilities: Vec::new(),
        offered: offered(),
        last_open: None,
        announced: Vec::new(),
        flaps: BTreeMap::new(),
        received: BTreeMap::new(),
        sent: BTreeMap::new(),
        notifications: Vec::new(),
    }
}
