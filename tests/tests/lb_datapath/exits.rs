//! Where packets leave, and which service they find.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anylb::dataplane::Dataplane;
use anylb::model::{PoolName, Protocol};
use anylb::plan::DesiredService;
use lb_common::exit::Action;
use lb_common::lb::Exit;
use lb_tests::harness::privileged;
use lb_tests::packet::{frame, ping};

use crate::stage::{Loaded, at, desired, desired_with, ip, pool, ports, service, tagged};

#[test]
fn syn_is_sent_to_the_hops_of_its_row() {
    if !privileged::available("syn_is_sent_to_the_hops_of_its_row") {
        return;
    }
    for hops in 1..=4 {
        let loaded = Loaded::new(&format!("syn{hops}"), &desired_with(hops as usize));
        for (source, destination, family) in [
            ("192.0.2.7:4001", "198.51.100.1:80", "10.1.0."),
            ("[2001:db8:c::7]:4001", "[2001:db8:100::1]:443", "fd00:1::"),
        ] {
            let syn = Dataplane::probe_packet(Protocol::Tcp, at(source), at(destination));
            let result = loaded.plane().probe(&syn).expect("a test run");
            assert!(result.sent(), "{result:?}");
            let first = result.row % 5;
            let expected: Vec<_> = (0..hops)
                .map(|hop| ip(&format!("{family}{}", (first + hop) % 5 + 1)))
                .collect();
            assert_eq!(result.hops, expected, "{source}");
        }
    }
}

#[test]
fn every_exit_is_named_alike_by_kernel_and_host() {
    if !privileged::available("every_exit_is_named_alike_by_kernel_and_host") {
        return;
    }
    let loaded = Loaded::new("exits", &desired());
    let syn = Dataplane::probe_packet(Protocol::Tcp, at("192.0.2.7:4001"), at("198.51.100.1:80"));
    let syn6 = Dataplane::probe_packet(
        Protocol::Tcp,
        at("[2001:db8:c::7]:4001"),
        at("[2001:db8:100::1]:80"),
    );
    let datagram =
        Dataplane::probe_packet(Protocol::Udp, at("192.0.2.7:4001"), at("198.51.100.1:53"));
    let patched = |packet: &[u8], offset: usize, bytes: &[u8]| {
        let mut packet = packet.to_vec();
        packet[offset..offset + bytes.len()].copy_from_slice(bytes);
        packet
    };
    let cases: Vec<(&str, Vec<u8>, Exit)> = vec![
        ("sent", syn.clone(), Exit::Sent),
        ("sent over IPv6", syn6.clone(), Exit::Sent),
        ("ARP", patched(&syn, 12, &[0x08, 0x06]), Exit::NotIp),
        (
            "another destination",
            patched(&syn, 30, &[203, 0, 113, 1]),
            Exit::NotVip,
        ),
        (
            "a backend as destination",
            patched(&syn, 30, &[10, 1, 0, 1]),
            Exit::NotVip,
        ),
        (
            "another IPv6 destination",
            patched(&syn6, 53, &[9]),
            Exit::NotVip,
        ),
        (
            "another port",
            patched(&syn, 36, &[0x1f, 0x90]),
            Exit::NoService,
        ),
        (
            "UDP to a port of TCP",
            patched(&syn, 23, &[17]),
            Exit::NoService,
        ),
        ("a datagram", datagram.clone(), Exit::Sent),
        (
            "a datagram inside a range",
            patched(&datagram, 36, &8999_u16.to_be_bytes()),
            Exit::Sent,
        ),
        (
            "a datagram behind the range",
            patched(&datagram, 36, &9000_u16.to_be_bytes()),
            Exit::NoService,
        ),
        (
            "half a UDP header",
            patched(&datagram, 16, &[0, 27]),
            Exit::Malformed,
        ),
        (
            "a ping",
            frame(&ping(ip("192.0.2.7"), ip("198.51.100.1"))),
            Exit::EchoReply,
        ),
        (
            "a ping over IPv6",
            frame(&ping(ip("2001:db8:c::7"), ip("2001:db8:100::1"))),
            Exit::EchoReply,
        ),
        (
            "a ping from a backend",
            frame(&ping(ip("10.1.0.1"), ip("198.51.100.1"))),
            Exit::BadSource,
        ),
        ("ICMP of another type", patched(&syn, 23, &[1]), Exit::Icmp),
        (
            "a protocol without ports",
            patched(&syn, 23, &[47]),
            Exit::NoService,
        ),
        ("one tag", tagged(&syn, &[0x8100]), Exit::Sent),
        ("two tags", tagged(&syn6, &[0x88a8, 0x8100]), Exit::Sent),
        (
            "three tags",
            tagged(&syn, &[0x88a8, 0x8100, 0x8100]),
            Exit::NotIp,
        ),
        (
            "a tag and no more",
            tagged(&syn, &[0x8100])[..18].to_vec(),
            Exit::NotIp,
        ),
        (
            "a backend as source",
            patched(&syn, 26, &[10, 1, 0, 1]),
            Exit::BadSource,
        ),
        (
            "the VIP as source",
            patched(&syn, 26, &[198, 51, 100, 1]),
            Exit::BadSource,
        ),
        (
            "loopback as source",
            patched(&syn, 26, &[127, 0, 0, 1]),
            Exit::BadSource,
        ),
        (
            "multicast as source",
            patched(&syn, 26, &[224, 0, 0, 1]),
            Exit::BadSource,
        ),
        (
            "IPv6 multicast as source",
            patched(&syn6, 22, &[0xff]),
            Exit::BadSource,
        ),
        (
            "first fragment",
            patched(&syn, 20, &[0x20, 0]),
            Exit::Fragment,
        ),
        ("IPv6 fragment", patched(&syn6, 20, &[44]), Exit::Fragment),
        (
            "length beyond the packet",
            patched(&syn, 16, &[0, 60]),
            Exit::Malformed,
        ),
        (
            "length inside the header",
            patched(&syn, 16, &[0, 10]),
            Exit::Malformed,
        ),
        (
            "header length 4",
            patched(&syn, 14, &[0x41]),
            Exit::Malformed,
        ),
        (
            "no room for TCP",
            patched(&syn, 16, &[0, 30]),
            Exit::Malformed,
        ),
        ("TTL 1", patched(&syn, 22, &[1]), Exit::TtlExceeded),
        ("hop limit 1", patched(&syn6, 21, &[1]), Exit::TtlExceeded),
    ];
    for (what, packet, expected) in cases {
        let result = loaded.plane().probe(&packet).expect("a test run");
        assert_eq!(result.exit, expected, "{what}");
        assert_eq!(
            result.action,
            expected.action(),
            "{what}: the kernel agrees with the host"
        );
        if expected != Exit::Sent {
            let passed = &result.packet[..];
            assert!(
                expected.action() != Action::Pass || passed == packet,
                "{what}: passed untouched"
            );
        }
    }
    let counters = loaded.plane().counters().expect("counters");
    let counted: BTreeMap<_, _> = counters
        .exits
        .iter()
        .filter(|(_, count)| count.packets > 0)
        .map(|(exit, count)| (exit.name(), count.packets))
        .collect();
    assert_eq!(
        counted,
        BTreeMap::from([("probe", 34)]),
        "probes count only as probes"
    );
}

#[test]
fn the_narrowest_ports_around_a_packets_win() {
    if !privileged::available("the_narrowest_ports_around_a_packets_win") {
        return;
    }
    let vip = "198.51.100.1";
    let mut state = desired();
    state.services.clear();
    for (name, protocol, list) in [
        ("one", Protocol::Tcp, &["80", "8080"][..]),
        ("range", Protocol::Tcp, &["8000-8999", "1-79"]),
        ("any", Protocol::Tcp, &["any"]),
        ("udp", Protocol::Udp, &["8000-8999"]),
    ] {
        let backend = format!("10.1.1.{}", state.services.len() + 1);
        state
            .pools
            .insert(PoolName(name.into()), pool(&[&backend], 1));
        state.services.push(DesiredService {
            protocol,
            ports: list.iter().map(|text| ports(text)).collect(),
            ..service(name, vip, name)
        });
    }
    let loaded = Loaded::new("ports", &state);
    let hop = |protocol, port| {
        let destination = SocketAddr::new(ip(vip), port);
        let packet = Dataplane::probe_packet(protocol, at("192.0.2.7:4001"), destination);
        let result = loaded.plane().probe(&packet).expect("a test run");
        assert!(result.agrees, "{result:?}");
        result.hops.first().map(ToString::to_string)
    };
    for (protocol, port, expected) in [
        (Protocol::Tcp, 80, Some("10.1.1.1")),
        (Protocol::Tcp, 8080, Some("10.1.1.1")),
        (Protocol::Tcp, 8000, Some("10.1.1.2")),
        (Protocol::Tcp, 8999, Some("10.1.1.2")),
        (Protocol::Tcp, 79, Some("10.1.1.2")),
        (Protocol::Tcp, 7999, Some("10.1.1.3")),
        (Protocol::Tcp, 9000, Some("10.1.1.3")),
        (Protocol::Tcp, 65535, Some("10.1.1.3")),
        (Protocol::Udp, 8080, Some("10.1.1.4")),
        (Protocol::Udp, 7999, None),
        (Protocol::Udp, 53, None),
    ] {
        assert_eq!(
            hop(protocol, port).as_deref(),
            expected,
            "{port}/{protocol}"
        );
    }
}
