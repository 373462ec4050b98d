//! The bytes that packets leave with.

use std::net::SocketAddr;

use anylb::dataplane::Dataplane;
use anylb::model::{Encap, Mode, PoolName, Ports, Protocol, Vlan};
use anylb::plan::{DesiredPool, DesiredService};
use lb_tests::harness::privileged;
use lb_tests::packet::{
    ACK, Segment, checksum, checksums_hold, destination_of, frame, ping, set_ttl, source_of,
};

use crate::stage::{Loaded, at, desired, ip, pool, probe, service, tagged};

#[test]
fn tags_go_and_the_next_hops_comes() {
    if !privileged::available("tags_go_and_the_next_hops_comes") {
        return;
    }
    let mut state = desired();
    let loaded = Loaded::new("tags", &state);
    let packets = [
        ("192.0.2.7:4001", "198.51.100.1:80"),
        ("[2001:db8:c::7]:4001", "[2001:db8:100::1]:80"),
    ]
    .map(|(client, vip)| Dataplane::probe_packet(Protocol::Tcp, at(client), at(vip)));
    let untagged = packets.each_ref().map(|packet| probe(&loaded, packet));
    for tags in [&[0x8100][..], &[0x88a8, 0x8100]] {
        for (packet, expected) in packets.iter().zip(&untagged) {
            assert_eq!(
                &probe(&loaded, &tagged(packet, tags)),
                expected,
                "{tags:x?}"
            );
        }
    }
    drop(loaded);
    for pool in state.pools.values_mut() {
        for member in &mut pool.members {
            let hop = member.next_hop.as_mut().expect("a next hop");
            hop.vlan = Some(Vlan {
                ethertype: 0x8100,
                id: 0x123,
            });
        }
    }
    let loaded = Loaded::new("tags", &state);
    for (packet, untagged) in packets.iter().zip(untagged) {
        let mut expected = untagged;
        expected.splice(12..12, [0x81, 0, 0x01, 0x23]);
        assert_eq!(probe(&loaded, packet), expected);
        assert_eq!(probe(&loaded, &tagged(packet, &[0x8100])), expected);
    }
}

#[test]
fn a_ping_is_answered_with_its_own_bytes() {
    if !privileged::available("a_ping_is_answered_with_its_own_bytes") {
        return;
    }
    let loaded = Loaded::new("ping", &desired());
    for (client, vip) in [
        ("192.0.2.7", "198.51.100.1"),
        ("2001:db8:c::7", "2001:db8:100::1"),
    ] {
        let question = ping(ip(client), ip(vip));
        for tags in [&[][..], &[0x8100]] {
            let packet = tagged(&frame(&question), tags);
            let answer = probe(&loaded, &packet);
            let start = 14 + 4 * tags.len();
            assert_eq!(answer[..6], packet[6..12], "back to the sender");
            assert_eq!(answer[6..12], packet[..6]);
            assert_eq!(answer[12..start], packet[12..start], "the same tags");
            let answer = &answer[start..];
            assert!(checksums_hold(answer), "{answer:02x?}");
            let addresses = (source_of(answer), destination_of(answer));
            assert_eq!(addresses, (ip(vip), ip(client)));
            let header = question.len() - 40;
            assert_eq!(
                answer[header + 4..],
                question[header + 4..],
                "what was sent"
            );
            assert_eq!(answer[header], if client.contains(':') { 129 } else { 0 });
        }
    }
}

/// Headers as hosts without any part of ours expect them.
#[test]
fn plain_tunnels_have_no_bytes_of_their_own() {
    if !privileged::available("plain_tunnels_have_no_bytes_of_their_own") {
        return;
    }
    let mut state = desired();
    let pools = [
        ("ipip-4", Encap::IpIp, "10.1.0.1"),
        ("ipip-6", Encap::IpIp, "fd00:1::1"),
        ("gue-4", Encap::Gue, "10.1.0.1"),
        ("gue-6", Encap::Gue, "fd00:1::1"),
    ];
    state.services.clear();
    for (n, (name, encap, backend)) in pools.iter().enumerate() {
        let pool = DesiredPool {
            encap: *encap,
            mode: Mode::Stateless,
            ..pool(&[backend], 1)
        };
        state.pools.insert(PoolName((*name).into()), pool);
        for (family, vip) in [("4", "198.51.100.1"), ("6", "2001:db8:100::1")] {
            state.services.push(DesiredService {
                ports: vec![Ports::one(n as u16 + 1)],
                ..service(&format!("{name}-{family}"), vip, name)
            });
        }
    }
    let loaded = Loaded::new("plain", &state);
    for (n, (name, encap, backend)) in pools.iter().enumerate() {
        for (client, vip, kind) in [
            ("192.0.2.7:4001", "198.51.100.1", 4),
            ("[2001:db8:c::7]:4001", "2001:db8:100::1", 41),
        ] {
            let segment = Segment {
                tos: 0xb9,
                payload: 10,
                ..Segment::new(at(client), SocketAddr::new(ip(vip), n as u16 + 1), ACK)
            };
            let sent = probe(&loaded, &segment.frame());
            let outer = &sent[14..];
            let v4 = backend.contains('.');
            assert_eq!(sent[12..14], if v4 { [8, 0] } else { [0x86, 0xdd] });
            assert!(checksums_hold(outer), "{name} {vip}: {outer:02x?}");
            assert_eq!(destination_of(outer), ip(backend));
            let (header, next, tos) = if v4 {
                (20, outer[9], outer[1])
            } else {
                (40, outer[6], outer[0] << 4 | outer[1] >> 4)
            };
            assert_eq!(
                tos, 0xb9,
                "{name} {vip}: DSCP and ECN are copied (RFC 6040)"
            );
            let inner = match encap {
                Encap::IpIp => {
                    assert_eq!(next, kind, "{name} {vip}");
                    &outer[header..]
                }
                Encap::Gue => {
                    assert_eq!(next, 17, "{name} {vip}");
                    assert_eq!(outer[header + 2..header + 4], 6080_u16.to_be_bytes());
                    let length = outer.len() - header;
                    assert_eq!(outer[header + 4..header + 6], (length as u16).to_be_bytes());
                    assert_eq!(outer[header + 8..header + 12], [0, kind, 0, 0]);
                    &outer[header + 12..]
                }
                Encap::L2 => unreachable!("no tunnel"),
            };
            let mut expected = segment.ip();
            set_ttl(&mut expected, 63);
            assert_eq!(inner, expected, "{name} {vip}");
        }
    }
}

#[test]
fn packet_on_the_wire_has_the_documented_bytes() {
    if !privileged::available("packet_on_the_wire_has_the_documented_bytes") {
        return;
    }
    let loaded = Loaded::new("bytes", &desired());
    let syn = Dataplane::probe_packet(Protocol::Tcp, at("192.0.2.7:4001"), at("198.51.100.1:80"));
    let result = loaded.plane().probe(&syn).expect("a test run");
    let packet = &result.packet;
    assert_eq!(packet.len(), syn.len() + 56);
    assert_eq!(
        packet[..14],
        [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0],
        "next hop's MAC addresses"
    );
    assert_eq!(
        packet[14..24],
        [0x45, 0, 0, 96, 0, 0, 0x40, 0, 64, 17],
        "outer IPv4"
    );
    assert_eq!(checksum(&[&packet[14..34]]), 0, "outer header checksum");
    assert_eq!(packet[26..30], [10, 0, 0, 11]);
    assert_eq!(
        packet[36..40],
        [0x17, 0xc0, 0, 76],
        "UDP port 6080 and length"
    );
    assert_eq!(
        packet[42..54],
        [6, 4, 0, 0, 1, 4, 8, 0, 0, 7, 0, 0],
        "GUE, version 1, four hops, probe, generation 7"
    );
    let inner = &packet[70..];
    assert_eq!(inner[8], 63, "inner TTL taken down by one");
    assert_eq!(
        inner[12..],
        syn[26..],
        "the rest of the inner packet is untouched"
    );
}
