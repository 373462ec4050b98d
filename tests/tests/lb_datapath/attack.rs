//! Services that take known flows only.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anylb::dataplane::jiffies;
use anylb::model::RateLimit;
use anylb::plan::{Desired, ServiceOptions};
use lb_common::lb::Exit;
use lb_common::tunnel::flags::KNOWN_ONLY;
use lb_tests::bench::bpf::test_run;
use lb_tests::harness::privileged;
use lb_tests::packet::{ACK, SYN, Segment, fragments, frame, icmp_error, message};

use crate::flow_table::{self, BACKENDS, FAMILIES};
use crate::stage::{Loaded, desired, ip};

/// Every service, under attack or not; one packet a second, and one at once.
fn with(attack: bool, rate: bool) -> Desired {
    let mut state = desired();
    state.jiffies_per_sec = jiffies::per_second();
    for service in &mut state.services {
        service.options = ServiceOptions {
            attack,
            fragments: service.name.starts_with("voice"),
            rate: rate.then_some(RateLimit {
                per_sec: 1,
                burst: 1,
                only_new_flows: false,
            }),
            ..ServiceOptions::default()
        };
    }
    state
}

fn segment(from: &str, vip: &str, flags: u8) -> Vec<u8> {
    let client: SocketAddr = (ip(from), 4001).into();
    Segment::new(client, (ip(vip), 80).into(), flags).ip()
}

fn datagram(from: &str, vip: &str, length: usize) -> Vec<u8> {
    let client: SocketAddr = (ip(from), 4001).into();
    message(client, (ip(vip), 53).into(), 0, &vec![7; length])
}

/// What a client or a router sends of a flow that may be known.
fn others(from: &str, vip: &str) -> [Vec<u8>; 4] {
    let answer = Segment::new((ip(vip), 80).into(), (ip(from), 4001).into(), ACK).ip();
    let (router, unreachable): (IpAddr, u8) = match ip(from) {
        IpAddr::V4(_) => (ip("203.0.113.1"), 3),
        IpAddr::V6(_) => (ip("2001:db8:9::1"), 1),
    };
    [
        segment(from, vip, ACK),
        segment(from, vip, SYN | ACK),
        datagram(from, vip, 100),
        icmp_error(router, unreachable, &answer),
    ]
}

#[test]
fn nothing_new_gets_through_and_backends_are_told() {
    if !privileged::available("nothing_new_gets_through_and_backends_are_told") {
        return;
    }
    let mut loaded = Loaded::new("attack", &with(false, false));
    for attack in [false, true, false] {
        loaded.apply(&with(attack, false));
        let or_sent = |exit| if attack { exit } else { Exit::Sent };
        for (from, vip) in FAMILIES {
            let probe = |packet: &[u8]| {
                let result = loaded.plane().probe(&frame(packet)).expect("a test run");
                assert!(result.is_in_order() || attack, "{result:?}");
                assert!(result.agrees, "{result:?}");
                result
            };
            let opened = probe(&segment(from, vip, SYN));
            assert_eq!(opened.exit, or_sent(Exit::AttackSyn));
            assert!(opened.is_in_order(), "a self-probe is a SYN");
            for part in fragments(&datagram(from, vip, 3000), 1024, 9) {
                assert_eq!(probe(&part).exit, or_sent(Exit::AttackFragment));
            }
            for packet in others(from, vip) {
                let result = probe(&packet);
                assert_eq!(result.exit, Exit::Sent);
                // Of the tunnel's header, behind Ethernet, IP and UDP.
                let flags = result.packet[14 + 8 + 6 + if ip(vip).is_ipv4() { 20 } else { 40 }];
                assert_eq!(flags & KNOWN_ONLY != 0, attack, "{flags:#x}");
            }
        }
    }
}

fn verdict(loaded: &Loaded, packet: &[u8]) -> u32 {
    let program = loaded.plane().program_fd().expect("loaded");
    test_run(program, &frame(packet), 1).expect("a test run").0
}

const DROP: u32 = 1;
const TRANSMIT: u32 = 3;

#[test]
fn what_is_refused_takes_nothing_from_the_rate() {
    if !privileged::available("what_is_refused_takes_nothing_from_the_rate") {
        return;
    }
    let loaded = Loaded::new("attack-rate", &with(true, true));
    for (from, vip) in FAMILIES {
        for _ in 0..20 {
            assert_eq!(verdict(&loaded, &segment(from, vip, SYN)), DROP);
        }
        assert_eq!(verdict(&loaded, &segment(from, vip, ACK)), TRANSMIT);
    }
}

#[test]
fn a_node_lets_through_what_it_remembers() {
    if !privileged::available("a_node_lets_through_what_it_remembers") {
        return;
    }
    let calm = flow_table::state(&BACKENDS, Duration::from_secs(3600));
    let mut attacked = flow_table::moved(calm.clone());
    for service in &mut attacked.services {
        service.options.attack = true;
        service.options.fragments = true;
    }
    let mut loaded = flow_table::load("attack-known", &calm);
    let known = flow_table::hops(&loaded);
    let count = flow_table::counted(&loaded);
    loaded.apply(&attacked);
    assert_eq!(flow_table::hops(&loaded), known);
    for (from, vip) in [
        ("192.0.2.9", FAMILIES[0].1),
        ("2001:db8:c::9", FAMILIES[1].1),
    ] {
        let [ack, syn_ack, datagram_, error] = others(from, vip);
        for packet in [segment(from, vip, SYN), ack, syn_ack, datagram_] {
            for _ in 0..3 {
                assert_eq!(verdict(&loaded, &packet), DROP, "{packet:02x?}");
            }
        }
        assert_eq!(verdict(&loaded, &error), TRANSMIT, "an error");
        for part in fragments(&datagram(from, vip, 3000), 1024, 9) {
            assert_eq!(verdict(&loaded, &part), DROP, "a fragment");
        }
    }
    let after = flow_table::counted(&loaded);
    assert_eq!((after.noted, after.entered), (count.noted, count.entered));
    loaded.apply(&calm);
    for (from, vip) in FAMILIES {
        assert_eq!(verdict(&loaded, &segment(from, vip, SYN)), TRANSMIT);
    }
}
