//! Mutated messages: nothing may panic, and every error carries a NOTIFICATION that fits its message.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::*;
use crate::bgp::community::{AnyCommunity, Community, LinkBandwidth};
use crate::bgp::route::Family;

/// Deterministic, so that a failure can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let attributes = |next_hop: &str| Attributes {
        family: match next_hop.contains(':') {
            true => Family::Ipv6,
            false => Family::Ipv4,
        },
        as_path: vec![65001, 65002],
        next_hop: next_hop.parse().expect("an address"),
        link_local: None,
        med: Some(1),
        local_pref: Some(100),
        communities: (0..70)
            .map(|n| AnyCommunity::Standard(Community(n)))
            .collect(),
        bandwidth: Some((LinkBandwidth { bits: 8_000 }, 65001)),
    };
    let open = Open {
        asn: 4_200_000_001,
        hold_time_secs: 9,
        identifier: Ipv4Addr::new(192, 0, 2, 1),
        capabilities: Capabilities {
            families: BTreeSet::from(Family::ALL),
            other_families: false,
            route_refresh: true,
            four_octet_as: true,
            extended_next_hop: true,
            graceful_restart: Some(GracefulRestartCapability {
                restarting: true,
                restart_time_secs: 15,
                families: vec![(Family::Ipv4, true), (Family::Ipv6, false)],
            }),
            others: BTreeSet::new(),
        },
    };
    let prefixes = |list: &[&str]| {
        list.iter()
            .map(|p| p.parse().expect("a prefix"))
            .collect::<Vec<_>>()
    };
    let updates = [
        Update::Announce {
            attributes: attributes("10.0.0.1"),
            prefixes: prefixes(&["192.0.2.0/24", "198.51.100.7/32"]),
        },
        Update::Announce {
            attributes: attributes("2001:db8::1"),
            prefixes: prefixes(&["2001:db8::/48", "::/0"]),
        },
        Update::Withdraw {
            family: Family::Ipv4,
            prefixes: prefixes(&["192.0.2.0/24", "0.0.0.0/0"]),
        },
        Update::Withdraw {
            family: Family::Ipv6,
            prefixes: prefixes(&["2001:db8::/48"]),
        },
        Update::EndOfRib(Family::Ipv6),
    ];
    let mut corpus: Vec<Vec<u8>> = updates
        .iter()
        .map(|u| encode_update(u, true).expect("fits"))
        .collect();
    corpus.push(encode_open(&open));
    corpus.push(encode_keepalive());
    corpus.push(encode_notification(&Notification::shutdown("upgrade")));
    corpus.push(frame::message(MessageType::RouteRefresh, &[0, 1, 0, 1]));
    corpus
}

/// Mostly behind the header, or nearly all inputs would end at the marker.
fn mutate(message: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let first = if random.below(8) == 0 {
            0
        } else {
            HEADER_LEN.min(message.len())
        };
        let at = first + random.below((message.len() - first).max(1));
        match random.below(5) {
            0 if at < message.len() => message[at] = random.next() as u8,
            1 if at < message.len() => message[at] ^= 1 << random.below(8),
            2 if at < message.len() => drop(message.remove(at)),
            3 => message.insert(
                at.min(message.len()),
                [0, 1, 16, 0x7f, 0xff][random.below(5)],
            ),
            _ => message.truncate(at),
        }
    }
    if message.len() >= HEADER_LEN && random.below(8) != 0 {
        let length = (message.len() as u16).to_be_bytes();
        message[16..18].copy_from_slice(&length);
    }
}

#[test]
fn mutated_messages_never_panic() {
    let corpus = corpus();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..300_000 {
        let mut message = corpus[random.below(corpus.len())].clone();
        mutate(&mut message, &mut random);
        match decode(&message) {
            Ok(_) => accepted += 1,
            Err(DecodeError::Header(n) | DecodeError::Open(n) | DecodeError::Update(n)) => {
                refused += 1;
                assert!((1..=3).contains(&n.code), "{n:?}");
                assert!(encode_notification(&n).len() <= MESSAGE_MAX);
            }
        }
    }
    assert!(
        accepted > 30_000 && refused > 30_000,
        "mutations are too weak or too strong: {accepted} {refused}"
    );
}

/// What a session ends for must not depend on us alone: an independent decoder of the same messages.
#[test]
fn resets_are_those_of_an_independent_decoder() {
    let corpus = corpus();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut resets = 0;
    for _ in 0..100_000 {
        let mut message = corpus[random.below(5)].clone();
        mutate(&mut message, &mut random);
        let Ok(Some((length, MessageType::Update))) = frame(&message) else {
            continue;
        };
        let mut body = &message[HEADER_LEN..length];
        let ours = received::check_update(body).is_err();
        let parsed = rustbgpd_wire::UpdateMessage::decode(&mut body, length - HEADER_LEN)
            .and_then(|u| u.parse_revised(true, false, false, &[]));
        if ours {
            resets += 1;
            assert!(
                parsed.is_err(),
                "we would reset, the other would not: {message:02x?}"
            );
        }
    }
    assert!(resets > 1_000, "too few resets to compare: {resets}");
}
