//! Errors that come to a VIP, and those that it sends.

use std::net::SocketAddr;

use anylb::dataplane::Dataplane;
use anylb::model::{PoolName, Protocol};
use lb_common::lb::Exit;
use lb_tests::harness::privileged;
use lb_tests::packet::{
    ACK, Segment, checksums_hold, destination_of, fragment, frame, icmp_error, mend, message, ping,
    set_length, set_ttl, source_of,
};

use crate::stage::{Loaded, at, desired, ip, probe, tagged};

/// Client, VIP with a service of TCP, router on the way.
const FAMILIES: [[&str; 3]; 2] = [
    ["192.0.2.7:4001", "198.51.100.1:80", "203.0.113.9"],
    [
        "[2001:db8:c::7]:4001",
        "[2001:db8:100::1]:80",
        "2001:db8:9::9",
    ],
];

/// Types of errors with a quote: unreachable, too big, time exceeded, parameter.
fn kinds(vip: SocketAddr) -> &'static [u8] {
    if vip.is_ipv4() {
        &[3, 11, 12]
    } else {
        &[1, 2, 3, 4, 100]
    }
}

fn hops(loaded: &Loaded, packet: &[u8]) -> Vec<std::net::IpAddr> {
    let result = loaded.plane().probe(packet).expect("a test run");
    assert!(result.sent(), "{result:?}");
    result.hops
}

/// As the VIP's server answers.
fn reply(vip: SocketAddr, client: SocketAddr) -> Segment {
    Segment {
        payload: 100,
        ..Segment::new(vip, client, ACK)
    }
}

#[test]
fn an_error_goes_where_its_flow_goes() {
    if !privileged::available("an_error_goes_where_its_flow_goes") {
        return;
    }
    let loaded = Loaded::new("icmp", &desired());
    for [client, vip, router] in FAMILIES {
        let (vip, router) = (at(vip), ip(router));
        for port in 4001..4011 {
            let client = SocketAddr::new(at(client).ip(), port);
            let flow = Dataplane::probe_packet(Protocol::Tcp, client, vip);
            let expected = hops(&loaded, &flow);
            for kind in kinds(vip) {
                let error = icmp_error(router, *kind, &reply(vip, client).ip());
                let packet = frame(&error);
                assert_eq!(hops(&loaded, &packet), expected, "{client} {kind}");
                let sent = probe(&loaded, &packet);
                let inner = &sent[sent.len() - error.len()..];
                let mut aged = error.clone();
                set_ttl(&mut aged, 63);
                assert_eq!(inner, aged, "the error as it came, one hop further");
                assert_eq!(hops(&loaded, &tagged(&packet, &[0x8100])), expected);
            }
            let voice = SocketAddr::new(vip.ip(), 53);
            let flow = Dataplane::probe_packet(Protocol::Udp, client, voice);
            let error = icmp_error(router, kinds(vip)[0], &message(voice, client, 0, b"answer"));
            assert_eq!(hops(&loaded, &frame(&error)), hops(&loaded, &flow));
        }
    }
}

#[test]
fn what_an_error_quotes_decides() {
    if !privileged::available("what_an_error_quotes_decides") {
        return;
    }
    let loaded = Loaded::new("quotes", &desired());
    for [client, vip, router] in FAMILIES {
        let (client, vip, router) = (at(client), at(vip), ip(router));
        let v4 = vip.is_ipv4();
        let (kind, header) = (kinds(vip)[0], if v4 { 20 } else { 40 });
        let whole = reply(vip, client);
        let quoted = whole.ip();
        let error = |quoted: &[u8]| icmp_error(router, kind, quoted);
        let patched = |offset: usize, bytes: &[u8]| {
            let mut quoted = quoted.clone();
            quoted[offset..offset + bytes.len()].copy_from_slice(bytes);
            quoted
        };
        let to_vip = |quoted: &[u8]| {
            // Whatever is quoted, the error itself is for the VIP.
            let mut error = icmp_error(router, kind, &reply(vip, client).ip());
            error.splice(header + 8.., quoted.iter().copied());
            set_length(&mut error);
            error
        };
        let other_vip = SocketAddr::new(
            if v4 {
                ip("198.51.100.9")
            } else {
                ip("2001:db8:100::9")
            },
            80,
        );
        let closed = SocketAddr::new(vip.ip(), 81);
        let options = Segment {
            ip_options: if v4 { vec![1; 8] } else { vec![0; 16] },
            ..whole.clone()
        };
        let next = if v4 { 9 } else { 6 };
        let cases = [
            (
                "eight bytes of TCP",
                error(&quoted[..header + 8]),
                Exit::Sent,
            ),
            ("seven", error(&quoted[..header + 7]), Exit::Malformed),
            (
                "half an IP header",
                to_vip(&quoted[..header - 1]),
                Exit::Malformed,
            ),
            ("nothing", to_vip(&[]), Exit::Malformed),
            (
                "options or extension headers",
                error(&options.ip()),
                Exit::Sent,
            ),
            (
                "another sender",
                to_vip(&reply(other_vip, client).ip()),
                Exit::QuotesOther,
            ),
            (
                "a port without a service",
                error(&reply(closed, client).ip()),
                Exit::NoService,
            ),
            (
                "an answer to a ping",
                error(&ping(vip.ip(), client.ip())),
                Exit::Icmp,
            ),
            (
                "the other family",
                to_vip(&patched(0, &[if v4 { 0x60 } else { 0x45 }])),
                Exit::Malformed,
            ),
            ("GRE", error(&patched(next, &[47])), Exit::Icmp),
            ("a first fragment", error(&fragment(&quoted, 0)), Exit::Sent),
            (
                "a later fragment",
                error(&fragment(&quoted, 1)),
                Exit::QuotesFragment,
            ),
            (
                "no error at all",
                {
                    let mut packet = error(&quoted);
                    packet[header] = if v4 { 13 } else { 135 };
                    packet
                },
                Exit::Icmp,
            ),
        ];
        for (why, packet, expected) in cases {
            let result = loaded.plane().probe(&frame(&packet)).expect("a test run");
            assert!(result.agrees, "{why}: {result:?}");
            assert_eq!(result.exit, expected, "{why} {vip}");
        }
        // Cut at every byte: never more than is there.
        let packet = frame(&error(&options.ip()));
        for length in 14..packet.len() {
            let result = loaded.plane().probe(&packet[..length]).expect("a test run");
            assert!(result.agrees, "{length}: {result:?}");
            assert_ne!(result.exit, Exit::Sent, "{length}");
        }
    }
}

#[test]
fn what_does_not_fit_is_answered_from_the_vip() {
    if !privileged::available("what_does_not_fit_is_answered_from_the_vip") {
        return;
    }
    let mut state = desired();
    for (name, headers, mtu) in [("four", 56, 1500), ("six", 124, 1500)] {
        for member in &mut state
            .pools
            .get_mut(&PoolName(name.into()))
            .expect("a pool")
            .members
        {
            member.next_hop.as_mut().expect("a next hop").mtu = mtu;
        }
        let [client, vip, _] = FAMILIES[usize::from(name == "six")];
        let (client, vip) = (at(client), at(vip));
        let loaded = Loaded::new("too-big", &state);
        let (ip_header, most) = if vip.is_ipv4() { (20, 576) } else { (40, 1280) };
        let fits = mtu as usize - headers;
        let of_size = |size: usize| Segment {
            payload: size - ip_header - 20,
            ..Segment::new(client, vip, ACK)
        };
        assert!(probe(&loaded, &of_size(fits).frame()).len() > fits);
        for size in (fits + 1..fits + 70).chain([mtu as usize, 3000]) {
            for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100]] {
                let mut packet = of_size(size).ip();
                set_ttl(&mut packet, 7);
                let mut padded = tagged(&frame(&packet), tags);
                padded.extend([0xee; 3]);
                let answer = probe(&loaded, &padded);
                let start = 14 + 4 * tags.len();
                assert_eq!(answer[..6], padded[6..12], "back to the sender");
                assert_eq!(answer[6..12], padded[..6]);
                assert_eq!(answer[12..start], padded[12..start], "the same tags");
                let answer = &answer[start..];
                assert_eq!(answer.len(), most, "as much as may be quoted");
                assert!(checksums_hold(answer), "{answer:02x?}");
                assert_eq!(
                    (source_of(answer), destination_of(answer)),
                    (vip.ip(), client.ip())
                );
                let icmp = &answer[ip_header..];
                let mtu = u32::try_from(fits).expect("small").to_be_bytes();
                let kind = if vip.is_ipv4() { [3, 4] } else { [2, 0] };
                assert_eq!((&icmp[..2], &icmp[4..8]), (&kind[..], &mtu[..]));
                assert_eq!(icmp[8..], packet[..icmp.len() - 8], "the packet as it came");
            }
        }
        let exit = |packet: &[u8]| {
            let result = loaded.plane().probe(&frame(packet)).expect("a test run");
            assert!(result.agrees, "{result:?}");
            result.exit
        };
        let error = icmp_error(client.ip(), kinds(vip)[0], &{
            let mut reply = reply(vip, client);
            reply.payload = 1460;
            reply.ip()
        });
        assert_eq!(exit(&error), Exit::TooBig, "nothing is said about an error");
        if vip.is_ipv4() {
            let mut packet = of_size(1500).ip();
            packet[6] = 0;
            mend(&mut packet);
            assert_eq!(exit(&packet), Exit::TooBigNoDf);
        }
        let mut packet = of_size(1500).ip();
        set_ttl(&mut packet, 1);
        assert_eq!(exit(&packet), Exit::TtlExceeded);
    }
}

/// Quotes of every length, odd ones too, where the tunnel is so small that they are not cut.
#[test]
fn short_packets_are_quoted_whole() {
    if !privileged::available("short_packets_are_quoted_whole") {
        return;
    }
    let mut state = desired();
    for pool in state.pools.values_mut() {
        for member in &mut pool.members {
            member.next_hop.as_mut().expect("a next hop").mtu = 200;
        }
    }
    let loaded = Loaded::new("short", &state);
    for [client, vip, _] in FAMILIES {
        let header = if at(vip).is_ipv4() { 20 } else { 40 };
        for payload in (160..360).chain([500, 501, 502, 503, 1100, 1101, 1102]) {
            let packet = Segment {
                payload,
                ..Segment::new(at(client), at(vip), ACK)
            }
            .ip();
            let answer = probe(&loaded, &frame(&packet));
            let quote = &answer[14 + header + 8..];
            let most = if header == 20 { 548 } else { 1232 };
            assert_eq!(quote, &packet[..packet.len().min(most)], "{payload}");
            assert!(checksums_hold(&answer[14..]), "{payload}: {answer:02x?}");
        }
    }
}
