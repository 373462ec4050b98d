//! Headers, outer and inner: what is read, what is refused, what is changed.

use lb_common::backend::{Exit, Found};
use lb_tests::packet::{ACK, MACS, Segment, Tunnel, checksums_hold, datagram, fragments};

use crate::cases::{FAMILIES, ip};
use crate::check::{check, forwarded, host};
use crate::host::Host;

const FINAL: u8 = 2;

#[test]
fn what_is_no_tunnel_packet_is_left_alone() {
    for family in &FAMILIES {
        let (host, inner) = (host(Found::Live), family.data().ip());
        let tunnel = family.tunnel();
        let foreign = [
            ("plain TCP", family.data().frame()),
            (
                "another port",
                Tunnel {
                    ports: (1, 6081),
                    ..tunnel.clone()
                }
                .frame(&inner),
            ),
            (
                "another host",
                Tunnel {
                    destination: tunnel.hops[1],
                    ..tunnel.clone()
                }
                .frame(&inner),
            ),
            ("ARP", [&MACS[..], &[8, 6], &[0; 46]].concat()),
            ("an empty frame", vec![0; 14]),
            (
                "cut in the UDP header",
                tunnel.frame(&inner)[..if family.vip().is_ipv4() { 41 } else { 61 }].to_vec(),
            ),
        ];
        for (why, packet) in foreign {
            assert_eq!(
                host.run(&packet),
                (Exit::NotTunnel, packet.clone()),
                "{why}"
            );
        }
    }
}

#[test]
fn everything_that_lies_is_dropped_as_it_came() {
    for family in &FAMILIES {
        let (host, inner) = (host(Found::Live), family.data().ip());
        let tunnel = family.tunnel();
        let gue = if family.vip().is_ipv4() {
            14 + 28
        } else {
            14 + 48
        };
        let at = tunnel.inner_offset();
        let good = tunnel.frame(&inner);
        // Why, offset, value, exit.
        let changes = [
            ("variant", gue, 0x40 | good[gue], Exit::Malformed),
            ("control bit", gue, 0x20 | good[gue], Exit::Malformed),
            ("length", gue, good[gue] - 1, Exit::Malformed),
            ("protocol", gue + 1, 6, Exit::Malformed),
            ("GUE flags", gue + 2, 1, Exit::Malformed),
            ("version", gue + 4, 2, Exit::UnknownVersion),
            ("no hop", gue + 5, 0x00, Exit::Malformed),
            ("five hops", gue + 5, 0x05, Exit::Malformed),
            ("index past the end", gue + 5, 0x44, Exit::Malformed),
            ("family", gue + 6, good[gue + 6] ^ 1, Exit::Malformed),
            ("UDP length", gue - 3, good[gue - 3] - 1, Exit::Malformed),
            ("inner version", at, 0x75, Exit::Malformed),
            (
                "inner length",
                at + if family.vip().is_ipv4() { 2 } else { 4 },
                9,
                Exit::Malformed,
            ),
            (
                "inner protocol",
                at + if family.vip().is_ipv4() { 9 } else { 6 },
                132,
                Exit::UnsupportedProtocol,
            ),
        ];
        for (why, offset, value, expected) in changes {
            let mut packet = good.clone();
            packet[offset] = value;
            assert_eq!(host.run(&packet), (expected, packet.clone()), "{why}");
        }
        for end in tunnel.inner_offset() - 12..good.len() {
            assert_eq!(host.run(&good[..end]).0, Exit::Malformed, "cut at {end}");
        }
        for (why, tunnel, exit) in [
            (
                "source",
                Tunnel {
                    source: ip(if family.vip().is_ipv4() {
                        "10.2.0.1"
                    } else {
                        "fd00:2::1"
                    }),
                    ..tunnel.clone()
                },
                Exit::UntrustedSource,
            ),
            (
                "next hop",
                Tunnel {
                    hops: [&tunnel.hops[..1], &[tunnel.source]].concat(),
                    ..tunnel.clone()
                },
                Exit::AcceptedSocket,
            ),
        ] {
            check(why, &host, &tunnel, &inner, exit);
        }
        let elsewhere = Segment::new(family.client(), at_port_of(tunnel.hops[2]), ACK);
        check("no VIP", &host, &tunnel, &elsewhere.ip(), Exit::NotOurVip);
        let flagged = Tunnel {
            flags: FINAL,
            ..tunnel
        };
        check(
            "no VIP, FINAL",
            &host,
            &flagged,
            &elsewhere.ip(),
            Exit::NotOurVip,
        );
    }
}

fn at_port_of(address: std::net::IpAddr) -> std::net::SocketAddr {
    (address, 80).into()
}

/// Joined as the inner packets' own, one header is left, with the whole length; joined as the tunnel's, headers are in the middle.
#[test]
fn joined_packets_have_one_inner_packet_or_are_dropped() {
    for family in &FAMILIES {
        for (found, whole) in [
            (Found::Live, Exit::AcceptedSocket),
            (Found::Nothing, forwarded(family)),
        ] {
            let (host, inner) = (host(found), family.data().ip());
            let one = family.tunnel().frame(&inner);
            assert_eq!(host.run_joined(&one), whole);
            let two = family.tunnel().frame(&[&inner[..], &inner].concat());
            assert_eq!(host.run_joined(&two), Exit::Joined);
            assert_eq!(host.run(&two).0, whole, "not joined: the rest is padding");
        }
    }
}

#[test]
fn congestion_marks_cross_the_tunnels_end() {
    for family in &FAMILIES {
        for (inner_mark, outer_mark, left) in [
            (0, 1, Some(0)),
            (0, 2, Some(0)),
            (0, 3, None),
            (1, 2, Some(1)),
            (1, 3, Some(3)),
            (2, 0, Some(2)),
            (2, 1, Some(1)),
            (2, 3, Some(3)),
            (3, 0, Some(3)),
            (3, 1, Some(3)),
        ] {
            let segment = |mark: u8| Segment {
                tos: 0xb8 | mark,
                ..family.data()
            };
            let tunnel = Tunnel {
                tos: 0xb8 | outer_mark,
                ..family.tunnel()
            };
            let packet = tunnel.frame(&segment(inner_mark).ip());
            let expected = match left {
                Some(mark) => (Exit::AcceptedSocket, segment(mark).frame()),
                None => (Exit::EcnCongested, packet.clone()),
            };
            assert_eq!(
                host(Found::Live).run(&packet),
                expected,
                "{inner_mark} in {outer_mark}"
            );
            let onward = host(Found::Nothing).run(&packet).1;
            assert!(
                checksums_hold(&onward[14..]),
                "{inner_mark} in {outer_mark}, passed on"
            );
        }
    }
}

#[test]
fn options_and_extension_headers_are_walked_over() {
    for family in &FAMILIES {
        let lengths: &[usize] = if family.vip().is_ipv4() {
            &[4, 40]
        } else {
            &[8, 32]
        };
        for length in lengths {
            let segment = Segment {
                ip_options: vec![1; *length],
                ..family.data()
            };
            let host = host(Found::Live);
            check(
                "options",
                &host,
                &family.tunnel(),
                &segment.ip(),
                Exit::AcceptedSocket,
            );
            let flow = host.flow.take();
            check(
                "none",
                &host,
                &family.tunnel(),
                &family.data().ip(),
                Exit::AcceptedSocket,
            );
            assert_eq!(flow, host.flow.take());
        }
    }
    let six = &FAMILIES[1];
    let long = Segment {
        ip_options: vec![1; 40],
        ..six.data()
    };
    check(
        "five headers",
        &host(Found::Live),
        &six.tunnel(),
        &long.ip(),
        Exit::Malformed,
    );
}

#[test]
fn parts_follow_the_first() {
    for family in &FAMILIES {
        let whole = Segment {
            payload: 100,
            ..family.data()
        };
        let parts = fragments(&whole.ip(), 48, 7);
        let check_all = |what, host: &Host, first: Exit, others: Exit| {
            for (n, part) in parts.iter().enumerate() {
                let expected = if n == 0 { first } else { others };
                check(what, host, &family.tunnel(), part, expected);
            }
        };
        let accepted = Exit::AcceptedFragment;
        check_all(
            "its socket is here",
            &host(Found::Live),
            Exit::AcceptedSocket,
            accepted,
        );
        let passed = forwarded(family);
        let elsewhere = host(Found::Nothing);
        check(
            "before the first",
            &elsewhere,
            &family.tunnel(),
            &parts[1],
            accepted,
        );
        check_all("nothing here", &elsewhere, passed, passed);
        let back = Tunnel {
            flags: FINAL,
            ..family.tunnel()
        };
        for part in &parts {
            let accepted = Exit::AcceptedFinal;
            check("back, a new flow", &elsewhere, &back, part, accepted);
        }
        let again = Host {
            found: Found::Live,
            ..elsewhere
        };
        check_all(
            "its number again, and its socket is here",
            &again,
            Exit::AcceptedSocket,
            accepted,
        );
        let elsewhere = host(Found::Nothing);
        let other = fragments(&whole.ip(), 48, 8);
        check(
            "of another packet",
            &elsewhere,
            &family.tunnel(),
            &other[1],
            accepted,
        );
        let tiny = fragments(&whole.ip(), 8, 9);
        check(
            "half a header",
            &elsewhere,
            &family.tunnel(),
            &tiny[0],
            Exit::Malformed,
        );
    }
}

#[test]
fn datagrams_of_no_connection() {
    for family in &FAMILIES {
        let host = host(Found::Live);
        let udp = datagram(family.client(), family.vip());
        check(
            "UDP",
            &host,
            &family.tunnel(),
            &udp,
            Exit::AcceptedStateless,
        );
        assert!(host.flow.take().is_none(), "no socket is asked for");
    }
}

#[test]
fn a_tunnel_may_carry_the_other_family() {
    let [four, six] = &FAMILIES;
    for (outer, inner) in [(four, six), (six, four)] {
        check(
            "mixed, accepted",
            &host(Found::Live),
            &outer.tunnel(),
            &inner.data().ip(),
            Exit::AcceptedSocket,
        );
        check(
            "mixed, passed on",
            &host(Found::Nothing),
            &outer.tunnel(),
            &inner.data().ip(),
            forwarded(outer),
        );
    }
}
