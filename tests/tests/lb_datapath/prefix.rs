//! VIPs that are prefixes.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anylb::dataplane::Dataplane;
use anylb::model::{Ports, Protocol};
use anylb::plan::{Desired, DesiredService, ServiceOptions};
use lb_common::lb::Exit;
use lb_tests::harness::privileged;
use lb_tests::packet::{
    ACK, Segment, fragments, frame, icmp_error, message, ping, set_ttl, source_of,
};

use crate::stage::{Loaded, at, desired, ip, probe, service, udp_service};

/// Client, some addresses of the prefixes, and what follows the last one of each.
const FAMILIES: [(&str, [&str; 4], &str); 2] = [
    (
        "192.0.2.7",
        [
            "203.0.113.0",
            "203.0.113.1",
            "203.0.113.127",
            "203.0.113.255",
        ],
        "203.0.114.0",
    ),
    (
        "2001:db8:c::7",
        [
            "2001:db8:1::",
            "2001:db8:1::1",
            "2001:db8:1:0:ffff::9",
            "2001:db8:1:0:ffff:ffff:ffff:ffff",
        ],
        "2001:db8:1:1::",
    ),
];

fn state() -> Desired {
    let mut state = desired();
    let takes_fragments = |one: DesiredService| DesiredService {
        options: ServiceOptions {
            fragments: true,
            ..ServiceOptions::default()
        },
        ..one
    };
    let other_port = |one: DesiredService| DesiredService {
        ports: vec![Ports::one(81)],
        ..one
    };
    state.services.extend([
        service("net-v4", "203.0.113.0/24", "four"),
        service("net-v6", "2001:db8:1::/64", "six"),
        takes_fragments(udp_service("net-voice-v4", "203.0.113.0/24", "six")),
        takes_fragments(udp_service("net-voice-v6", "2001:db8:1::/64", "four")),
        // Inside, and with other ports.
        other_port(service("host", "203.0.113.9", "four")),
        other_port(service("half", "203.0.113.128/28", "six")),
    ]);
    state
}

fn exit(loaded: &Loaded, packet: &[u8]) -> Exit {
    let result = loaded.plane().probe(packet).expect("a test run");
    assert!(result.agrees, "{result:?}");
    result.exit
}

fn tcp(from: &str, to: &str, port: u16) -> Vec<u8> {
    let (from, to) = (
        SocketAddr::new(ip(from), 4001),
        SocketAddr::new(ip(to), port),
    );
    Dataplane::probe_packet(Protocol::Tcp, from, to)
}

#[test]
fn every_address_of_a_prefix_is_the_vip() {
    if !privileged::available("every_address_of_a_prefix_is_the_vip") {
        return;
    }
    let loaded = Loaded::new("prefix", &state());
    for (client, addresses, behind) in FAMILIES {
        let mut used = BTreeSet::new();
        for address in addresses {
            for port in 4001..4033 {
                let (from, to) = (
                    SocketAddr::new(ip(client), port),
                    SocketAddr::new(ip(address), 80),
                );
                let segment = Segment::new(from, to, ACK).ip();
                let result = loaded.plane().probe(&frame(&segment)).expect("a test run");
                assert!(
                    result.agrees && result.exit == Exit::Sent,
                    "{address}: {result:?}"
                );
                used.insert(result.hops[0]);
                // The client's packet as it came, with its own destination.
                let mut expected = segment.clone();
                let ttl = if to.is_ipv4() { 8 } else { 7 };
                let before = expected[ttl];
                set_ttl(&mut expected, before - 1);
                assert!(result.packet.ends_with(&expected), "{address}");
            }
            for part in fragments(
                &message(
                    SocketAddr::new(ip(client), 4001),
                    SocketAddr::new(ip(address), 53),
                    0,
                    &[7; 3000],
                ),
                1024,
                9,
            ) {
                assert_eq!(exit(&loaded, &frame(&part)), Exit::Sent, "{address}");
            }
            assert_eq!(exit(&loaded, &tcp(client, address, 82)), Exit::NoService);
        }
        assert_eq!(used.len(), 5, "{used:?}");
        assert_eq!(exit(&loaded, &tcp(client, behind, 80)), Exit::NotVip);
    }
}

#[test]
fn the_longest_vip_has_an_address_alone() {
    if !privileged::available("the_longest_vip_has_an_address_alone") {
        return;
    }
    let loaded = Loaded::new("prefix-inside", &state());
    for (address, port, expected) in [
        ("203.0.113.9", 81, Exit::Sent),
        ("203.0.113.9", 80, Exit::NoService),
        ("203.0.113.8", 80, Exit::Sent),
        ("203.0.113.128", 81, Exit::Sent),
        ("203.0.113.143", 81, Exit::Sent),
        ("203.0.113.143", 80, Exit::NoService),
        ("203.0.113.144", 80, Exit::Sent),
        ("203.0.113.144", 81, Exit::NoService),
    ] {
        let found = exit(&loaded, &tcp("192.0.2.7", address, port));
        assert_eq!(found, expected, "{address} port {port}");
    }
}

#[test]
fn nobody_inside_is_a_client() {
    if !privileged::available("nobody_inside_is_a_client") {
        return;
    }
    let loaded = Loaded::new("prefix-source", &state());
    for (from, to) in [
        ("203.0.113.77", "203.0.113.1"),
        ("203.0.113.77", "198.51.100.1"),
        ("198.51.100.1", "203.0.113.1"),
        ("2001:db8:1::77", "2001:db8:1::1"),
        ("2001:db8:1::77", "2001:db8:100::1"),
    ] {
        assert_eq!(exit(&loaded, &tcp(from, to, 80)), Exit::BadSource, "{from}");
    }
    assert_eq!(
        exit(&loaded, &tcp("203.0.114.1", "203.0.113.1", 80)),
        Exit::Sent
    );
}

#[test]
fn pings_and_errors_are_those_of_the_address() {
    if !privileged::available("pings_and_errors_are_those_of_the_address") {
        return;
    }
    let loaded = Loaded::new("prefix-icmp", &state());
    for (client, addresses, _) in FAMILIES {
        for address in addresses {
            let answer = probe(&loaded, &frame(&ping(ip(address), ip(client))));
            assert_eq!(source_of(&answer[14..]), ip(address));

            let (from, to) = (
                SocketAddr::new(ip(client), 4001),
                SocketAddr::new(ip(address), 80),
            );
            let flow = loaded
                .plane()
                .probe(&Dataplane::probe_packet(Protocol::Tcp, from, to));
            let kind = if to.is_ipv4() { 3 } else { 1 };
            let about = Segment::new(to, from, ACK).ip();
            let router = at("192.0.2.99:0").ip();
            let router = if to.is_ipv4() {
                router
            } else {
                ip("2001:db8:9::9")
            };
            let error = loaded
                .plane()
                .probe(&frame(&icmp_error(router, kind, &about)));
            let (flow, error) = (flow.expect("a test run"), error.expect("a test run"));
            assert!(error.agrees && error.exit == Exit::Sent, "{error:?}");
            assert_eq!(error.hops, flow.hops, "{address}");
        }
    }
}

#[test]
fn a_removed_prefix_is_foreign() {
    if !privileged::available("a_removed_prefix_is_foreign") {
        return;
    }
    let mut loaded = Loaded::new("prefix-removed", &state());
    loaded.apply(&desired());
    let found = exit(&loaded, &tcp("192.0.2.7", "203.0.113.1", 80));
    assert_eq!(found, Exit::NotVip);
    assert_eq!(
        exit(&loaded, &tcp("203.0.113.1", "198.51.100.1", 80)),
        Exit::Sent
    );
    loaded.apply(&state());
    assert_eq!(
        exit(&loaded, &tcp("192.0.2.7", "203.0.113.1", 80)),
        Exit::Sent
    );
    loaded.reopen();
    assert_eq!(
        exit(&loaded, &tcp("192.0.2.7", "203.0.113.1", 80)),
        Exit::Sent
    );
}
