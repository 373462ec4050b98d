//! Fragments, and services that take several flows together.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anylb::model::{HashScope, PoolName, Protocol};
use anylb::plan::{Desired, DesiredService, ServiceOptions};
use lb_common::lb::Exit;
use lb_tests::packet::{Segment, fragments, frame, message};

use super::stage::{Loaded, at, desired, pool, probe, service, udp_service};

const BACKENDS: [&str; 5] = ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"];
const FAMILIES: [(&str, &str); 2] = [
    ("192.0.2.7", "198.51.100.1"),
    ("2001:db8:c::7", "2001:db8:100::1"),
];

fn with(options: ServiceOptions, base: fn(&str, &str, &str) -> DesiredService) -> Desired {
    let mut state = desired();
    let pools = [(PoolName("web".into()), pool(&BACKENDS, 4))];
    state.pools = pools.into();
    let service = |(_, vip)| DesiredService {
        options: options.clone(),
        ..base(vip, vip, "web")
    };
    state.services = FAMILIES.map(service).into();
    state
}

fn client(address: &str, number: u16) -> SocketAddr {
    let address = match address.strip_suffix('7') {
        Some(prefix) => format!("{prefix}{}", 1 + number % 200),
        None => address.to_owned(),
    };
    SocketAddr::new(address.parse().expect("an address"), 1024 + number)
}

/// The first hop that a packet is sent to.
fn hop(loaded: &Loaded, ip: &[u8]) -> String {
    let result = loaded.plane().probe(&frame(ip)).expect("a test run");
    assert!(result.agrees, "{result:?}");
    assert_eq!(result.exit, Exit::Sent, "{result:?}");
    result.hops[0].to_string()
}

fn exit(loaded: &Loaded, ip: &[u8]) -> Exit {
    let result = loaded.plane().probe(&frame(ip)).expect("a test run");
    assert!(result.agrees, "{result:?}");
    result.exit
}

fn taker() -> ServiceOptions {
    ServiceOptions {
        fragments: true,
        ..ServiceOptions::default()
    }
}

#[test]
fn all_parts_of_a_datagram_have_one_backend() {
    if !lb_tests::harness::privileged::available("all_parts_of_a_datagram_have_one_backend") {
        return;
    }
    let loaded = Loaded::new("fragments", &with(taker(), udp_service));
    let mut used = BTreeSet::new();
    for (from, vip) in FAMILIES {
        for n in 0..100 {
            let to = SocketAddr::new(vip.parse().expect("an address"), 53);
            let whole = message(client(from, n), to, 0, &[n as u8; 3000]);
            let parts = fragments(&whole, 1024, n);
            assert_eq!(parts.len(), 3);
            let hops: BTreeSet<String> = parts.iter().map(|part| hop(&loaded, part)).collect();
            assert_eq!(hops.len(), 1, "{n}: {hops:?}");
            used.extend(hops);
        }
    }
    assert_eq!(used.len(), BACKENDS.len(), "{used:?}");
}

#[test]
fn a_part_goes_out_as_it_came() {
    if !lb_tests::harness::privileged::available("a_part_goes_out_as_it_came") {
        return;
    }
    let loaded = Loaded::new("fragment-bytes", &with(taker(), udp_service));
    for (from, vip) in FAMILIES {
        let to = SocketAddr::new(vip.parse().expect("an address"), 53);
        for part in fragments(&message(client(from, 1), to, 0, &[7; 3000]), 1024, 9) {
            let sent = probe(&loaded, &frame(&part));
            let mut expected = part.clone();
            let ttl = if vip.contains(':') { 7 } else { 8 };
            lb_tests::packet::set_ttl(&mut expected, part[ttl] - 1);
            assert!(sent.ends_with(&expected), "{vip}");
        }
    }
}

#[test]
fn what_no_service_takes_is_dropped() {
    if !lb_tests::harness::privileged::available("what_no_service_takes_is_dropped") {
        return;
    }
    let none = Loaded::new(
        "no-fragments",
        &with(ServiceOptions::default(), udp_service),
    );
    let some = Loaded::new("some-fragments", &with(taker(), udp_service));
    for (from, vip) in FAMILIES {
        let datagram = |port| {
            let to = SocketAddr::new(vip.parse().expect("an address"), port);
            fragments(&message(client(from, 1), to, 0, &[7; 64]), 8, 9)
        };
        let to = SocketAddr::new(vip.parse().expect("an address"), 53);
        let segment = Segment {
            payload: 100,
            ..Segment::new(client(from, 1), to, 0x10)
        };
        let tcp = fragments(&segment.ip(), 8, 9);
        for (what, loaded, part, expected) in [
            (
                "a service that takes none",
                &none,
                &datagram(53)[0],
                Exit::Fragment,
            ),
            (
                "the same, behind the first",
                &none,
                &datagram(53)[1],
                Exit::Fragment,
            ),
            (
                "a port of no service",
                &some,
                &datagram(54)[0],
                Exit::NoService,
            ),
            ("another protocol", &some, &tcp[3], Exit::Fragment),
            ("TCP, its ports alone", &some, &tcp[0], Exit::TinyFragment),
            ("TCP, its flags alone", &some, &tcp[1], Exit::TinyFragment),
        ] {
            assert_eq!(exit(loaded, part), expected, "{what}, {vip}");
        }
        let mut short = datagram(53)[0].clone();
        short.truncate(short.len() - 4);
        let length = short.len() as u16;
        if vip.contains(':') {
            short[4..6].copy_from_slice(&(length - 40).to_be_bytes());
        } else {
            short[2..4].copy_from_slice(&length.to_be_bytes());
            lb_tests::packet::mend(&mut short);
        }
        assert_eq!(
            exit(&some, &short),
            Exit::TinyFragment,
            "half of UDP, {vip}"
        );
    }
}

#[test]
fn a_header_that_cuts_nothing_off_makes_no_fragment() {
    if !lb_tests::harness::privileged::available("a_header_that_cuts_nothing_off_makes_no_fragment")
    {
        return;
    }
    let loaded = Loaded::new("atomic", &with(ServiceOptions::default(), service));
    let (from, vip) = FAMILIES[1];
    let to = SocketAddr::new(vip.parse().expect("an address"), 80);
    let whole = Segment::new(client(from, 3), to, 2).ip();
    let [atomic] = <[Vec<u8>; 1]>::try_from(fragments(&whole, 1024, 9)).expect("one part");
    assert_eq!(hop(&loaded, &atomic), hop(&loaded, &whole));
}

#[test]
fn flows_of_a_pair_or_of_a_client_have_one_backend() {
    if !lb_tests::harness::privileged::available("flows_of_a_pair_or_of_a_client_have_one_backend")
    {
        return;
    }
    let hashed = |hash| ServiceOptions {
        hash,
        fragments: hash != HashScope::Flow,
        ..ServiceOptions::default()
    };
    for (scope, same_port, same_vip) in [
        (HashScope::Flow, false, false),
        (HashScope::Pair, true, false),
        (HashScope::Source, true, true),
    ] {
        let mut state = with(hashed(scope), service);
        let other = DesiredService {
            protocol: Protocol::Udp,
            options: hashed(scope),
            ..service("other", "198.51.100.2", "web")
        };
        state.services.push(other);
        let loaded = Loaded::new("hash", &state);
        let segment = |from: &str, vip: &str| {
            let segment = Segment::new(at(from), at(vip), 2);
            let payload = 60;
            Segment { payload, ..segment }.ip()
        };
        let mut hops = BTreeSet::new();
        let (mut ports_agree, mut vips_agree) = (true, true);
        for n in 1..100 {
            let one = segment(&format!("192.0.2.{n}:1024"), "198.51.100.1:80");
            let port = segment(&format!("192.0.2.{n}:1025"), "198.51.100.1:443");
            let source = at(&format!("192.0.2.{n}:1026"));
            let vip = message(source, at("198.51.100.2:80"), 0, b"");
            let first = hop(&loaded, &one);
            ports_agree &= first == hop(&loaded, &port);
            vips_agree &= first == hop(&loaded, &vip);
            if scope != HashScope::Flow {
                for part in fragments(&one, 24, n) {
                    assert_eq!(hop(&loaded, &part), first, "{scope:?}");
                }
            }
            hops.insert(first);
        }
        assert_eq!(hops.len(), BACKENDS.len(), "{scope:?}");
        assert_eq!(
            (ports_agree, vips_agree),
            (same_port, same_vip),
            "{scope:?}"
        );
    }
}
