//! The decision, row by row, for both families.

use anylb::backend::image::Endpoint;
use lb_common::backend::{Exit, Found};
use lb_common::backend_abi::Macs;
use lb_tests::packet::{
    ACK, FIN, MACS, RST, SYN, Segment, Tunnel, checksums_hold, datagram, fragment, frame,
    icmp_error,
};

use crate::cases::{FAMILIES, at, ip, wanted};
use crate::check::{check, forwarded, host};
use crate::host::Host;

const FINAL: u8 = 2;
const SETTLING: u8 = 4;
const PROBE: u8 = 8;
const KNOWN_ONLY: u8 = 0x20;
/// A flag that this version does not know.
const UNKNOWN: u8 = 0x40;

#[test]
fn every_row_of_the_table() {
    for family in &FAMILIES {
        let go = forwarded(family);
        let (syn, data, rst) = (family.segment(SYN), family.data(), family.segment(RST));
        let fits = Found::Handshake(Some(5000));
        let other = Found::Handshake(Some(4999));
        // Why, segment, flags, what the kernel has; exit with hops left, exit at the last hop.
        let rows = [
            (
                "FINAL",
                &data,
                FINAL,
                Found::Nothing,
                Exit::AcceptedFinal,
                Exit::AcceptedFinal,
            ),
            (
                "PROBE",
                &syn,
                PROBE,
                Found::Nothing,
                Exit::AcceptedProbe,
                Exit::AcceptedProbe,
            ),
            (
                "PROBE and FINAL",
                &syn,
                PROBE | FINAL,
                Found::Nothing,
                Exit::AcceptedProbe,
                Exit::AcceptedProbe,
            ),
            (
                "SYN, listener",
                &syn,
                0,
                Found::Listener,
                Exit::AcceptedSyn,
                Exit::AcceptedSyn,
            ),
            (
                "SYN, its own socket",
                &syn,
                0,
                Found::Live,
                Exit::AcceptedSyn,
                Exit::AcceptedSyn,
            ),
            (
                "SYN, its own handshake",
                &syn,
                0,
                fits,
                Exit::AcceptedSyn,
                Exit::AcceptedSyn,
            ),
            (
                "SYN, no listener",
                &syn,
                0,
                Found::Nothing,
                go,
                Exit::AcceptedLastHop,
            ),
            (
                "socket",
                &data,
                0,
                Found::Live,
                Exit::AcceptedSocket,
                Exit::AcceptedSocket,
            ),
            (
                "socket, RST",
                &rst,
                0,
                Found::Live,
                Exit::AcceptedSocket,
                Exit::AcceptedSocket,
            ),
            (
                "TIME_WAIT",
                &data,
                0,
                Found::TimeWait,
                go,
                Exit::AcceptedSocket,
            ),
            (
                "TIME_WAIT, settling",
                &data,
                SETTLING,
                Found::TimeWait,
                go,
                Exit::AcceptedSocket,
            ),
            (
                "handshake, fits",
                &data,
                0,
                fits,
                Exit::AcceptedHandshake,
                Exit::AcceptedHandshake,
            ),
            (
                "handshake, another's",
                &data,
                0,
                other,
                go,
                Exit::AcceptedLastHop,
            ),
            (
                "handshake, nothing acknowledged",
                &rst,
                0,
                fits,
                go,
                Exit::AcceptedLastHop,
            ),
            (
                "handshake, unreadable",
                &data,
                0,
                Found::Handshake(None),
                Exit::AcceptedHandshake,
                Exit::AcceptedHandshake,
            ),
            (
                "listener, cookie",
                &data,
                0,
                Found::Cookie,
                Exit::AcceptedCookie,
                Exit::AcceptedCookie,
            ),
            (
                "listener, no cookie",
                &data,
                0,
                Found::Listener,
                go,
                Exit::AcceptedLastHop,
            ),
            (
                "nothing",
                &data,
                0,
                Found::Nothing,
                go,
                Exit::AcceptedLastHop,
            ),
            (
                "nothing, settling",
                &data,
                SETTLING,
                Found::Nothing,
                go,
                Exit::UnknownSettling,
            ),
            (
                "SYN, settling",
                &syn,
                SETTLING,
                Found::Nothing,
                go,
                Exit::AcceptedLastHop,
            ),
            (
                "RST, settling",
                &rst,
                SETTLING,
                Found::Nothing,
                go,
                Exit::AcceptedLastHop,
            ),
            (
                "attack, SYN",
                &syn,
                KNOWN_ONLY,
                Found::Listener,
                Exit::AttackUnknown,
                Exit::AttackUnknown,
            ),
            (
                "attack, listener",
                &data,
                KNOWN_ONLY,
                Found::Listener,
                go,
                Exit::AttackUnknown,
            ),
            (
                "attack, nothing",
                &data,
                KNOWN_ONLY,
                Found::Nothing,
                go,
                Exit::AttackUnknown,
            ),
            (
                "attack, RST",
                &rst,
                KNOWN_ONLY,
                Found::Nothing,
                go,
                Exit::AttackUnknown,
            ),
            (
                "attack, TIME_WAIT",
                &data,
                KNOWN_ONLY,
                Found::TimeWait,
                go,
                Exit::AcceptedSocket,
            ),
            (
                "attack, socket",
                &data,
                KNOWN_ONLY,
                Found::Live,
                Exit::AcceptedSocket,
                Exit::AcceptedSocket,
            ),
            (
                "attack, handshake",
                &data,
                KNOWN_ONLY,
                fits,
                Exit::AcceptedHandshake,
                Exit::AcceptedHandshake,
            ),
            (
                "attack, cookie",
                &data,
                KNOWN_ONLY,
                Found::Cookie,
                Exit::AcceptedCookie,
                Exit::AcceptedCookie,
            ),
            (
                "an unknown flag",
                &data,
                UNKNOWN,
                Found::Live,
                Exit::AcceptedSocket,
                Exit::AcceptedSocket,
            ),
        ];
        for (why, segment, flags, found, with_hops, at_last) in rows {
            let inner = segment.ip();
            let host = host(found);
            let tunnel = Tunnel {
                flags,
                ..family.tunnel()
            };
            check(why, &host, &tunnel, &inner, with_hops);
            let last = Tunnel {
                index: 3,
                destination: tunnel.hops[0],
                ..tunnel.clone()
            };
            check(why, &host, &last, &inner, at_last);
            let only = Tunnel {
                hops: tunnel.hops[..1].to_vec(),
                ..tunnel
            };
            check(why, &host, &only, &inner, at_last);
        }
    }
}

#[test]
fn an_icmp_error_follows_the_quoted_flow() {
    for family in &FAMILIES {
        let v4 = family.vip().is_ipv4();
        let router = ip(if v4 { "203.0.113.1" } else { "2001:db8:9::1" });
        let (unreachable, too_big) = if v4 { (3, 11) } else { (1, 2) };
        let reply = Segment {
            sequence: 5000,
            ..Segment::new(family.vip(), family.client(), SYN | ACK)
        };
        let go = forwarded(family);
        for (why, found, expected) in [
            ("socket", Found::Live, Exit::AcceptedSocket),
            ("nothing", Found::Nothing, go),
            (
                "its handshake",
                Found::Handshake(Some(5000)),
                Exit::AcceptedHandshake,
            ),
            ("another handshake", Found::Handshake(Some(5001)), go),
            ("a listener", Found::Listener, go),
        ] {
            for kind in [unreachable, too_big] {
                let host = host(found);
                check(
                    why,
                    &host,
                    &family.tunnel(),
                    &icmp_error(router, kind, &reply.ip()),
                    expected,
                );
                assert!(!host.cookie_asked.get(), "{why}: no cookie is in an error");
                let error_flow = host.flow.take();
                host.run(&family.tunnel().frame(&family.data().ip()));
                assert_eq!(error_flow, host.flow.take(), "{why}: the client's own flow");
            }
        }
        // Quotes that lie, end early, or are about something else.
        let quoted = reply.ip();
        let foreign = Segment::new(family.client(), family.vip(), ACK);
        let tcp_at = quoted.len() - 20;
        let behind_options = Segment {
            ip_options: if v4 { vec![1; 8] } else { vec![0; 16] },
            ..reply.clone()
        };
        let (echo, other) = (if v4 { 8 } else { 128 }, host(Found::Live));
        let to_vip = |mut packet: Vec<u8>| {
            let octets = match family.vip().ip() {
                std::net::IpAddr::V4(vip) => vip.octets().to_vec(),
                std::net::IpAddr::V6(vip) => vip.octets().to_vec(),
            };
            let end = if v4 { 20 } else { 40 };
            packet[end - octets.len()..end].copy_from_slice(&octets);
            lb_tests::packet::set_ttl(&mut packet, 64);
            packet
        };
        for (why, inner, expected) in [
            (
                "eight bytes of TCP are enough",
                icmp_error(router, unreachable, &quoted[..tcp_at + 8]),
                Exit::AcceptedSocket,
            ),
            (
                "seven are not",
                icmp_error(router, unreachable, &quoted[..tcp_at + 7]),
                Exit::Malformed,
            ),
            (
                "not from the VIP",
                to_vip(icmp_error(router, unreachable, &foreign.ip())),
                Exit::Malformed,
            ),
            (
                "about a datagram",
                icmp_error(
                    router,
                    unreachable,
                    &datagram(family.vip(), family.client()),
                ),
                Exit::AcceptedStateless,
            ),
            (
                "behind options or extension headers",
                icmp_error(router, unreachable, &behind_options.ip()),
                Exit::AcceptedSocket,
            ),
            (
                "about a first fragment",
                icmp_error(router, unreachable, &fragment(&quoted, 0)),
                Exit::AcceptedSocket,
            ),
            (
                "about a later one, which names no flow",
                icmp_error(router, unreachable, &fragment(&quoted, 1)),
                Exit::AcceptedUnknown,
            ),
            (
                "no error",
                icmp_error(router, echo, &quoted),
                Exit::UnsupportedProtocol,
            ),
        ] {
            check(why, &other, &family.tunnel(), &inner, expected);
        }
    }
}

#[test]
fn passing_on_has_its_own_refusals() {
    for family in &FAMILIES {
        let (host, inner) = (host(Found::Nothing), family.data().ip());
        let tunnel = family.tunnel();
        let to_lb = [&tunnel.hops[..1], &[tunnel.source], &tunnel.hops[2..]].concat();
        check(
            "hop outside",
            &host,
            &Tunnel {
                hops: to_lb,
                ..tunnel.clone()
            },
            &inner,
            Exit::UntrustedHop,
        );
        check(
            "TTL 1",
            &host,
            &Tunnel {
                ttl: 1,
                ..tunnel.clone()
            },
            &inner,
            Exit::TtlExceeded,
        );
        check(
            "TTL 2",
            &host,
            &Tunnel {
                ttl: 2,
                ..tunnel.clone()
            },
            &inner,
            forwarded(family),
        );
        host.budget.set(1);
        check("budget", &host, &tunnel, &inner, forwarded(family));
        check("none left", &host, &tunnel, &inner, Exit::AcceptedNoBudget);
        let settling = Tunnel {
            flags: SETTLING,
            ..tunnel
        };
        check(
            "none left, settling",
            &host,
            &settling,
            &inner,
            Exit::UnknownSettling,
        );
        let attacked = Tunnel {
            flags: KNOWN_ONLY,
            ..settling
        };
        check(
            "none left, attack",
            &host,
            &attacked,
            &inner,
            Exit::AttackUnknown,
        );
    }
}

#[test]
fn a_known_next_hop_gets_the_frame() {
    for family in &FAMILIES {
        let mut host = host(Found::Nothing);
        let macs: Vec<u8> = (1..=12).collect();
        let next = anylb::plan::desired::words(ip(family.hops[1]));
        host.next_hops.insert(
            next,
            Macs {
                low: u64::from_ne_bytes(macs[..8].try_into().expect("eight bytes")),
                high: u32::from_ne_bytes(macs[8..].try_into().expect("four bytes")),
                padding: 0,
            },
        );
        let (exit, bytes) = host.run(&family.tunnel().frame(&family.data().ip()));
        assert_eq!((exit, &bytes[..12]), (forwarded(family), &macs[..]));
        assert!(checksums_hold(&bytes[14..]));
    }
}

#[test]
fn a_packet_crosses_every_hop_in_turn() {
    for family in &FAMILIES {
        let inner = family.data().ip();
        let mut packet = family.tunnel().frame(&inner);
        for hop in 0..4 {
            let host = Host {
                found: Found::Nothing,
                ..Host::new(&anylb::backend::image::Wanted {
                    own: [ip(family.hops[hop])].into(),
                    ..wanted()
                })
            };
            let (exit, bytes) = host.run(&packet);
            if hop == 3 {
                assert_eq!(
                    (exit, bytes),
                    (Exit::AcceptedLastHop, swapped_three_times(&inner))
                );
                break;
            }
            assert_eq!(exit, forwarded(family));
            assert!(checksums_hold(&bytes[14..]));
            packet = bytes;
        }
    }
}

fn swapped_three_times(inner: &[u8]) -> Vec<u8> {
    let mut packet = frame(inner);
    packet[..6].copy_from_slice(&MACS[6..]);
    packet[6..12].copy_from_slice(&MACS[..6]);
    packet
}

#[test]
fn a_blind_service_accepts_as_the_first_hop_only() {
    for family in &FAMILIES {
        let blind = Host::new(&anylb::backend::image::Wanted {
            blind: [Endpoint::tcp(family.vip())].into(),
            ..wanted()
        });
        let inner = family.data().ip();
        check(
            "blind",
            &blind,
            &family.tunnel(),
            &inner,
            Exit::AcceptedBlind,
        );
        let second = Tunnel {
            index: 1,
            destination: ip(family.hops[0]),
            ..family.tunnel()
        };
        check(
            "blind, passed on to us",
            &blind,
            &second,
            &inner,
            forwarded(family),
        );
        let sees = Host {
            found: Found::Listener,
            ..Host::new(&anylb::backend::image::Wanted {
                blind: [Endpoint::tcp(family.vip())].into(),
                ..wanted()
            })
        };
        check(
            "blind until a moment ago, and a listener is here",
            &sees,
            &family.tunnel(),
            &inner,
            forwarded(family),
        );
        let other_port = Segment {
            destination: (family.vip().ip(), 443).into(),
            ..family.data()
        };
        check(
            "another port",
            &blind,
            &family.tunnel(),
            &other_port.ip(),
            forwarded(family),
        );
    }
}

#[test]
fn the_flow_is_the_clients() {
    let host = host(Found::Live);
    let four = &FAMILIES[0];
    host.run(&four.tunnel().frame(&four.segment(ACK | FIN).ip()));
    let raw = |address: [u8; 4]| u32::from_ne_bytes(address);
    assert_eq!(
        host.flow.take(),
        Some(lb_common::backend::Flow::V4 {
            client: raw([192, 0, 2, 77]),
            vip: raw([198, 51, 100, 10]),
            ports: u32::from_ne_bytes([0x9c, 0x40, 0, 80]),
        })
    );
    assert_eq!(four.client(), at("192.0.2.77:40000"));
}
