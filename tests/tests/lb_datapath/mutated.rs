//! The kernel and the host on packets that nobody sends on purpose.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anylb::dataplane::Dataplane;
use anylb::model::Protocol;
use lb_tests::harness::privileged;
use lb_tests::lab::dice::Dice;
use lb_tests::packet::{ACK, Segment, frame, icmp_error, ping};

use crate::stage::{Loaded, at, desired, ip, tagged};

/// Bytes changed, tails cut, options and extension headers put in: whatever comes, kernel and host decide alike and make the same
/// bytes, headroom included.
#[test]
fn kernel_and_host_agree_on_mutated_packets() {
    if !privileged::available("kernel_and_host_agree_on_mutated_packets") {
        return;
    }
    let loaded = Loaded::new("mutated", &desired());
    let mut dice = Dice::new(1);
    let mut exits = BTreeMap::new();
    for _ in 0..20_000 {
        let v4 = dice.below(2) == 0;
        let protocol = [Protocol::Tcp, Protocol::Udp][dice.below(2)];
        let port = match protocol {
            Protocol::Tcp => 80,
            Protocol::Udp => [53, 8500, 9000][dice.below(3)],
        };
        let (client, vip) = if v4 {
            ("192.0.2.7:4001", ip("198.51.100.1"))
        } else {
            ("[2001:db8:c::7]:4001", ip("2001:db8:100::1"))
        };
        let mut packet = Dataplane::probe_packet(protocol, at(client), SocketAddr::new(vip, port));
        if v4 && dice.below(4) == 0 {
            with_options(&mut packet, dice.below(11));
        } else if !v4 && dice.below(3) == 0 {
            with_extensions(&mut packet, dice.below(6), &mut dice);
        }
        packet.extend(std::iter::repeat_n(0x5a, dice.below(40)));
        if dice.below(5) == 0 {
            packet = frame(&ping(at(client).ip(), vip));
        }
        if dice.below(6) == 0 {
            packet = frame(&error(vip, at(client), &mut dice));
        }
        if dice.below(20) == 0 {
            let ttl = if v4 { 22 } else { 21 };
            packet[ttl] = 1;
        }
        let tags = [0x88a8, 0x8100, 0x8100];
        packet = tagged(&packet, &tags[dice.below(8).min(3)..]);
        for _ in 0..dice.below(3) {
            let offset = dice.below(packet.len());
            packet[offset] = dice.below(256) as u8;
        }
        if dice.below(8) == 0 {
            packet.truncate(14 + dice.below(packet.len() - 14));
        }
        let result = loaded.plane().probe(&packet).expect("a test run");
        assert!(result.agrees, "{result:?} for {packet:02x?}");
        *exits.entry(result.exit.name()).or_insert(0) += 1;
    }
    for expected in [
        "sent",
        "echo_reply",
        "icmp",
        "not_ip",
        "not_vip",
        "malformed",
        "bad_source",
        "no_service",
        "fragment",
        "quotes_other",
        "quotes_fragment",
        "ttl_exceeded",
    ] {
        assert!(
            exits.contains_key(expected),
            "{expected} was never reached: {exits:?}"
        );
    }
}

/// Puts `words` words of options into an IPv4 packet.
fn with_options(packet: &mut Vec<u8>, words: usize) {
    packet.splice(34..34, vec![1; words * 4]);
    packet[14] += words as u8;
    packet[17] += words as u8 * 4;
}

/// Puts `count` extension headers between IPv6 and TCP.
fn with_extensions(packet: &mut Vec<u8>, count: usize, dice: &mut Dice) {
    let mut next = packet[20];
    for _ in 0..count {
        let kind = [0, 43, 60, 51][dice.below(4)];
        let mut header = vec![next, 0, 1, 4, 0, 0, 0, 0];
        if dice.below(3) == 0 {
            header[1] = if kind == 51 { 2 } else { 1 };
            header.extend([0; 8]);
        }
        packet[19] += header.len() as u8;
        packet.splice(54..54, header);
        next = kind;
    }
    packet[20] = next;
}

/// An error about a segment that the VIP sent, now and then about one of its fragments.
fn error(vip: IpAddr, client: SocketAddr, dice: &mut Dice) -> Vec<u8> {
    let extensions = dice.below(5) * 8;
    let mut quoted = Segment {
        ip_options: vec![0; extensions],
        ..Segment::new(SocketAddr::new(vip, 80), client, ACK)
    }
    .ip();
    if vip.is_ipv4() && dice.below(5) == 0 {
        quoted[6..8].copy_from_slice(&[0x20, dice.below(2) as u8]);
    } else if dice.below(5) == 0 {
        let next = std::mem::replace(&mut quoted[6], 44);
        let offset = [0, 8][dice.below(2)];
        quoted.splice(40..40, [next, 0, 0, offset | 1, 0, 0, 0, 1]);
    }
    let kind = if vip.is_ipv4() {
        [3, 11, 12][dice.below(3)]
    } else {
        dice.below(5) as u8
    };
    icmp_error(client.ip(), kind, &quoted)
}
