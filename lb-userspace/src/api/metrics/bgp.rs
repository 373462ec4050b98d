//! BGP sessions.

use ipnet::IpNet;

use super::family::{Families, Family};
use crate::status::{Discovery, NodeStatus, PeerStatus, RangeStatus, Strangers};

/// States of a session, RFC 4271 section 8.2.2.
const STATES: [&str; 6] = [
    "Idle",
    "Connect",
    "Active",
    "OpenSent",
    "OpenConfirm",
    "Established",
];

pub(super) fn add(families: &mut Families, node: &NodeStatus) {
    let peers = &node.peers;
    add_session(families, peers);
    add_messages(families, peers);
    let mut announced = families.gauge(
        "bgp_announced_prefixes",
        "Prefixes sent to the peer and not withdrawn.",
    );
    each(&mut announced, peers, |family, peer, address| {
        let v4 = peer
            .announced
            .iter()
            .filter(|net| matches!(net, IpNet::V4(_)))
            .count();
        let v6 = peer.announced.len() - v4;
        family.add(&[("peer", address), ("afi", "ipv4")], v4);
        family.add(&[("peer", address), ("afi", "ipv6")], v6);
    });
    let mut hold = families.gauge(
        "bgp_hold_time_seconds",
        "Hold time negotiated with the peer; absent while there is no session.",
    );
    each(&mut hold, peers, |family, peer, address| {
        if let Some(seconds) = peer.hold_time_secs {
            family.add(&[("peer", address)], seconds);
        }
    });
    let mut shut_down = families.gauge(
        "bgp_session_shut_down",
        "Whether the operator has shut the session down.",
    );
    each(&mut shut_down, peers, |family, peer, address| {
        family.add(&[("peer", address)], peer.shutdown.is_some());
    });
    add_discovery(families, peers);
    add_bfd(families, peers);
    add_ranges(families, &node.ranges);
    if !(peers.is_empty() && node.ranges.is_empty()) {
        add_strangers(families, &node.strangers);
    }
}

/// Of peers that are known by their interface.
fn add_discovery(families: &mut Families, peers: &[PeerStatus]) {
    let count = |mut family: Family<'_>, value: fn(&Discovery) -> u64| {
        each(&mut family, peers, |family, peer, interface| {
            if let Some(discovery) = &peer.discovery {
                family.add(&[("peer", interface)], value(discovery));
            }
        });
    };
    let known = "Whether the router on the interface is known; absent for peers with an address.";
    count(families.gauge("bgp_router_known", known), |discovery| {
        u64::from(discovery.router.is_some())
    });
    let sent = "Router advertisements of this node on the interface of the peer.";
    let sent = families.counter("bgp_router_advertisements_sent_total", sent);
    count(sent, |discovery| discovery.sent);
    let unsent = "Router advertisements and solicitations that could not be sent.";
    let unsent = families.counter("bgp_router_advertisements_unsent_total", unsent);
    count(unsent, |discovery| discovery.unsent);
    let heard = "Valid router advertisements on the interface of the peer.";
    let heard = families.counter("bgp_router_advertisements_received_total", heard);
    count(heard, |discovery| discovery.heard);
    let others = "Those of other routers than the peer.";
    let others = families.counter("bgp_router_advertisements_foreign_total", others);
    count(others, |discovery| discovery.others);
    let mut invalid = families.counter(
        "bgp_router_advertisements_invalid_total",
        "Router advertisements and solicitations that did not count, by reason.",
    );
    each(&mut invalid, peers, |family, peer, interface| {
        for (reason, count) in peer.discovery.iter().flat_map(|found| &found.invalid) {
            family.add(&[("peer", interface), ("reason", reason)], *count);
        }
    });
}

fn add_bfd(families: &mut Families, peers: &[PeerStatus]) {
    let with = |peer: &PeerStatus| peer.bfd.clone();
    let mut up = families.gauge(
        "bfd_session_up",
        "Whether BFD with the peer is up; absent for peers without BFD.",
    );
    each(&mut up, peers, |family, peer, address| {
        if let Some(bfd) = with(peer) {
            family.add(&[("peer", address)], bfd.up());
        }
    });
    let mut failures = families.counter(
        "bfd_session_failures_total",
        "BFD sessions that went from Up to Down, and neither operator wanted it.",
    );
    each(&mut failures, peers, |family, peer, address| {
        if let Some(bfd) = with(peer) {
            family.add(&[("peer", address)], bfd.failures);
        }
    });
    let mut discards = families.counter(
        "bfd_discards_total",
        "BFD packets from the peer that did not count, by reason.",
    );
    each(&mut discards, peers, |family, peer, address| {
        for (reason, count) in with(peer).unwrap_or_default().discards {
            family.add(&[("peer", address), ("reason", &reason)], count);
        }
    });
}

fn add_strangers(families: &mut Families, strangers: &Strangers) {
    let mut refused = families.counter(
        "bgp_refused_connections_total",
        "Connections to the BGP port from addresses of no peer.",
    );
    refused.add(&[], strangers.connections);
    let mut last = families.gauge(
        "bgp_refused_last_info",
        "Who connected last to the BGP port and is no peer; always 1.",
    );
    if let Some(address) = strangers.last {
        last.add(&[("remote", &address.to_string())], true);
    }
}

fn add_ranges(families: &mut Families, ranges: &[RangeStatus]) {
    let each = |mut family: Family<'_>, value: fn(&RangeStatus) -> u64| {
        for range in ranges {
            family.add(&[("range", &range.range.to_string())], value(range));
        }
    };
    let members = "Peers that are there of those whom a range of addresses lets in.";
    each(families.gauge("bgp_range_peers", members), |range| {
        range.members as u64
    });
    let max = "Peers that a range may have at once.";
    each(families.gauge("bgp_range_peers_max", max), |range| {
        range.max_peers as u64
    });
    let refused = "Connections that were refused because the range had no room.";
    each(
        families.counter("bgp_range_refused_total", refused),
        |range| range.refused,
    );
    let ended = "Peers of a range that have gone, with a session or without one.";
    each(families.counter("bgp_range_ended_total", ended), |range| {
        range.ended
    });
}

fn add_session(families: &mut Families, peers: &[PeerStatus]) {
    let mut up = families.gauge("bgp_session_up", "Whether the session is Established.");
    each(&mut up, peers, |family, peer, address| {
        family.add(&[("peer", address)], peer.established());
    });
    let mut state = families.gauge(
        "bgp_session_state",
        "State of the session by its RFC 4271 name: 1 for the one it is in.",
    );
    each(&mut state, peers, |family, peer, address| {
        for name in STATES {
            family.add(&[("peer", address), ("state", name)], peer.state == name);
        }
    });
    let mut flaps = families.counter(
        "bgp_session_flaps_total",
        "Established sessions that ended, by reason.",
    );
    each(&mut flaps, peers, |family, peer, address| {
        for (reason, count) in &peer.flaps {
            family.add(&[("peer", address), ("reason", reason)], *count);
        }
    });
}

fn add_messages(families: &mut Families, peers: &[PeerStatus]) {
    let mut received = families.counter(
        "bgp_messages_received_total",
        "Messages from the peer, by type.",
    );
    each(&mut received, peers, |family, peer, address| {
        for (kind, count) in &peer.received {
            family.add(&[("peer", address), ("type", kind)], *count);
        }
    });
    let mut sent = families.counter("bgp_messages_sent_total", "Messages to the peer, by type.");
    each(&mut sent, peers, |family, peer, address| {
        for (kind, count) in &peer.sent {
            family.add(&[("peer", address), ("type", kind)], *count);
        }
    });
    let mut notifications = families.counter(
        "bgp_notifications_total",
        "NOTIFICATION messages by direction and RFC 4271 error code and subcode.",
    );
    each(&mut notifications, peers, |family, peer, address| {
        for (direction, code, subcode, count) in &peer.notifications {
            let labels = [
                ("peer", address),
                ("direction", direction),
                ("code", &code.to_string()),
                ("subcode", &subcode.to_string()),
            ];
            family.add(&labels, *count);
        }
    });
}

/// Calls `add` with every peer and its address.
fn each(
    family: &mut Family<'_>,
    peers: &[PeerStatus],
    add: impl Fn(&mut Family<'_>, &PeerStatus, &str),
) {
    for peer in peers {
        add(family, peer, &peer.address.to_string());
    }
}
