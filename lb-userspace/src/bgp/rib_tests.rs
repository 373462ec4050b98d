//! The Adj-RIB-Out against a receiver that only sees bytes, decoded by an independent decoder.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rustbgpd_wire::{AsPathSegment, LargeCommunity as Large, PathAttribute, Prefix, UpdateMessage};

use super::*;
use crate::bgp::codec::{HEADER_LEN, MESSAGE_MAX, encode_update};
use crate::bgp::community::{AnyCommunity, Communities, Community, LargeCommunity, LinkBandwidth};
use crate::bgp::fsm::NextHops;
use crate::bgp::fsm::testing::settings;

fn session(families: &[Family]) -> Negotiated {
    Negotiated {
        families: families.iter().copied().collect(),
        next_hops: NextHops {
            v4: Some(IpAddr::from([10, 0, 0, 11])),
            v6: Some("2001:db8::11".parse().expect("an address")),
            link_local: None,
        },
        hold_time: Duration::from_secs(9),
        four_octet_as: true,
        peer_identifier: Ipv4Addr::new(192, 0, 2, 2),
        capabilities: vec![],
    }
}

fn rib() -> AdjRibOut {
    AdjRibOut::new(&settings(), &session(&Family::ALL))
}

fn route(prefix: &str, policy: Policy) -> (IpNet, Policy) {
    (prefix.parse().expect("a prefix"), policy)
}

fn wanted(prefixes: &[&str]) -> BTreeMap<IpNet, Policy> {
    let plain = |p: &&str| route(p, Policy::default());
    prefixes.iter().map(plain).collect()
}

/// Community `n` of each kind.
fn community(n: u32) -> [AnyCommunity; 2] {
    [
        AnyCommunity::Standard(Community(n)),
        AnyCommunity::Large(LargeCommunity(n, 0, n)),
    ]
}

/// What is compared of a route.
type Heard = (IpAddr, Policy);

#[derive(Default)]
struct Receiver {
    routes: BTreeMap<IpNet, Heard>,
}

impl Receiver {
    fn hear(&mut self, update: &Update) {
        let bytes = encode_update(update, true).expect("it fits");
        assert!(bytes.len() <= MESSAGE_MAX, "{}", bytes.len());
        let body = &bytes[HEADER_LEN..];
        let parsed =
            UpdateMessage::decode(&mut &*body, body.len()).and_then(|u| u.parse(true, false, &[]));
        let parsed = parsed.expect("an independent decoder takes it");
        let v4 = |p: rustbgpd_wire::Ipv4Prefix| IpNet::new(p.addr.into(), p.len).expect("valid");
        let net = |p: Prefix| match p {
            Prefix::V4(p) => v4(p),
            Prefix::V6(p) => IpNet::new(p.addr.into(), p.len).expect("valid"),
        };
        let (mut next_hop, mut policy) = (None, Policy::default());
        let mut announced: Vec<IpNet> = parsed.announced.iter().map(|e| v4(e.prefix)).collect();
        let mut withdrawn: Vec<IpNet> = parsed.withdrawn.iter().map(|e| v4(e.prefix)).collect();
        for attribute in &parsed.attributes {
            match attribute {
                PathAttribute::NextHop(address) => next_hop = Some(IpAddr::V4(*address)),
                PathAttribute::Med(value) => policy.med = Some(*value),
                PathAttribute::Communities(list) => {
                    policy.communities.standard = list.iter().map(|n| Community(*n)).collect();
                    assert_eq!(policy.communities.standard.len(), list.len(), "each once");
                }
                PathAttribute::LargeCommunities(list) => {
                    let large =
                        |c: &Large| LargeCommunity(c.global_admin, c.local_data1, c.local_data2);
                    policy.communities.large = list.iter().map(large).collect();
                }
                PathAttribute::ExtendedCommunities(list) => {
                    let bandwidth = LinkBandwidth { bits: 8_000 };
                    let said: Vec<u64> = list.iter().map(|one| one.as_u64()).collect();
                    assert_eq!(said, [bandwidth.extended_community(65001)]);
                    policy.bandwidth = Some(bandwidth);
                }
                PathAttribute::AsPath(path) => {
                    let [AsPathSegment::AsSequence(path)] = path.segments.as_slice() else {
                        panic!("{path:?}")
                    };
                    assert!(path.iter().all(|asn| *asn == 65001), "{path:?}");
                    policy.prepend = u8::try_from(path.len() - 1).expect("short");
                }
                PathAttribute::MpReachNlri(mp) => {
                    next_hop = Some(mp.next_hop);
                    announced.extend(mp.announced.iter().map(|e| net(e.prefix)));
                }
                PathAttribute::MpUnreachNlri(mp) => {
                    withdrawn.extend(mp.withdrawn.iter().map(|e| net(e.prefix)))
                }
                _ => {}
            }
        }
        assert!(
            announced.is_empty() || withdrawn.is_empty(),
            "both in one message"
        );
        for prefix in withdrawn {
            assert!(
                self.routes.remove(&prefix).is_some(),
                "{prefix} withdrawn but never announced"
            );
        }
        for prefix in announced {
            let next_hop = next_hop.expect("an announcement has a next hop");
            self.routes.insert(prefix, (next_hop, policy.clone()));
        }
    }

    fn check(&self, wanted: &BTreeMap<IpNet, Policy>) {
        let expected: BTreeMap<IpNet, Heard> = wanted
            .iter()
            .map(|(prefix, policy)| {
                let next_hop = match prefix {
                    IpNet::V4(_) => "10.0.0.11",
                    IpNet::V6(_) => "2001:db8::11",
                };
                let next_hop = next_hop.parse().expect("an address");
                (*prefix, (next_hop, policy.clone()))
            })
            .collect();
        assert_eq!(self.routes, expected);
    }
}

#[test]
fn the_peer_hears_the_difference_and_nothing_else() {
    let mut rib = rib();
    let first = rib.updates(&wanted(&[
        "192.0.2.10/32",
        "192.0.2.11/32",
        "2001:db8::10/128",
    ]));
    assert_eq!(first.len(), 2, "one message per family: {first:?}");
    assert_eq!(
        rib.updates(&wanted(&[
            "192.0.2.10/32",
            "192.0.2.11/32",
            "2001:db8::10/128"
        ])),
        []
    );
    let second = rib.updates(&wanted(&[
        "192.0.2.11/32",
        "192.0.2.12/32",
        "2001:db8::10/128",
    ]));
    let gone = vec!["192.0.2.10/32".parse().expect("a prefix")];
    assert_eq!(
        second[0],
        Update::Withdraw {
            family: Family::Ipv4,
            prefixes: gone
        },
        "withdrawals first"
    );
    let Update::Announce { prefixes, .. } = &second[1] else {
        panic!("{second:?}")
    };
    assert_eq!(
        prefixes,
        &["192.0.2.12/32".parse::<IpNet>().expect("a prefix")]
    );
    assert_eq!(second.len(), 2);
    assert_eq!(rib.told().len(), 3);
}

/// Each part of a policy on its own: the peer hears of it, of nothing else, and without a withdrawal.
#[test]
fn rfc4271_3_1_a_changed_route_replaces_without_a_withdrawal() {
    let plain = Policy::default();
    for (about, changed) in [
        (
            "a community",
            Policy {
                communities: [AnyCommunity::Standard(Community::GRACEFUL_SHUTDOWN)]
                    .into_iter()
                    .collect(),
                ..plain.clone()
            },
        ),
        (
            "a large community",
            Policy {
                communities: [AnyCommunity::Large(LargeCommunity(65001, 1, 2))]
                    .into_iter()
                    .collect(),
                ..plain.clone()
            },
        ),
        (
            "MED",
            Policy {
                med: Some(0),
                ..plain.clone()
            },
        ),
        (
            "prepending",
            Policy {
                prepend: 1,
                ..plain.clone()
            },
        ),
    ] {
        let mut rib = rib();
        let mut wanted = wanted(&["192.0.2.10/32", "192.0.2.11/32"]);
        let mut receiver = Receiver::default();
        rib.updates(&wanted).iter().for_each(|u| receiver.hear(u));
        wanted.extend([route("192.0.2.10/32", changed)]);
        let updates = rib.updates(&wanted);
        let [Update::Announce { prefixes, .. }] = updates.as_slice() else {
            panic!("{about}: {updates:?}")
        };
        assert_eq!(prefixes.len(), 1, "{about}");
        receiver.hear(&updates[0]);
        receiver.check(&wanted);
        assert_eq!(rib.updates(&wanted), [], "{about}");
    }
}

#[test]
fn what_was_announced_is_what_was_sent() {
    let mut rib = rib();
    let policy = Policy {
        communities: community(7).into_iter().collect(),
        med: Some(5),
        prepend: 2,
        bandwidth: Some(LinkBandwidth { bits: 8_000 }),
    };
    let updates = rib.updates(&BTreeMap::from([route("192.0.2.10/32", policy)]));
    let [Update::Announce { attributes, .. }] = updates.as_slice() else {
        panic!("{updates:?}")
    };
    assert_eq!(attributes.as_path, [65001; 3]);
    let bandwidth = (LinkBandwidth { bits: 8_000 }, 65001);
    assert_eq!(attributes.bandwidth, Some(bandwidth), "and who says so");
    let announced: Vec<_> = rib.told().iter().collect();
    let prefix = "192.0.2.10/32".parse().expect("a prefix");
    assert_eq!(announced, [(&prefix, &Arc::new(attributes.clone()))]);
}

/// A change at one peer leaves the others' alone.
#[test]
fn peers_that_know_the_same_have_one_table() {
    let tables = Tables::default();
    let mut ribs = [rib(), rib()];
    let both = wanted(&["192.0.2.10/32", "192.0.2.11/32"]);
    for rib in &mut ribs {
        rib.updates(&both);
        rib.share(&tables);
    }
    let [first, second] = &mut ribs;
    assert!(Arc::ptr_eq(first.told(), second.told()));
    let one = wanted(&["192.0.2.10/32"]);
    assert_eq!(first.updates(&one).len(), 1);
    first.share(&tables);
    assert_eq!((first.told().len(), second.told().len()), (1, 2));
    assert_eq!(second.updates(&both), []);
    second.updates(&one);
    second.share(&tables);
    assert!(Arc::ptr_eq(first.told(), second.told()));
}

#[test]
fn rfc2918_4_a_refresh_repeats_one_family() {
    let mut rib = rib();
    let wanted = wanted(&["192.0.2.10/32", "2001:db8::10/128"]);
    rib.updates(&wanted);
    rib.resend(Family::Ipv6);
    rib.resend(Family::Ipv6);
    let updates = rib.updates(&wanted);
    let [Update::Announce { attributes, .. }] = updates.as_slice() else {
        panic!("{updates:?}")
    };
    assert_eq!(attributes.family, Family::Ipv6);
    assert_eq!(rib.updates(&wanted), [], "once");
}

#[test]
fn families_without_session_or_next_hop_are_left_out() {
    let mut only_v6 = AdjRibOut::new(&settings(), &session(&[Family::Ipv6]));
    let updates = only_v6.updates(&wanted(&["192.0.2.10/32", "2001:db8::10/128"]));
    assert_eq!(updates.len(), 1);
    assert_eq!(only_v6.end_of_rib(), [Update::EndOfRib(Family::Ipv6)]);
    let mut no_next_hop = session(&Family::ALL);
    no_next_hop.next_hops.v4 = None;
    let mut rib = AdjRibOut::new(&settings(), &no_next_hop);
    assert_eq!(rib.updates(&wanted(&["192.0.2.10/32"])), []);
}

#[test]
fn rfc8950_3_prefixes_of_both_families_with_one_next_hop_are_told_apart() {
    let mut session = session(&Family::ALL);
    session.next_hops.v4 = session.next_hops.v6.map(IpAddr::V6);
    let mut rib = AdjRibOut::new(&settings(), &session);
    let mut receiver = Receiver::default();
    let wanted = wanted(&["192.0.2.10/32", "2001:db8:1::10/128"]);
    let updates = rib.updates(&wanted);
    assert_eq!(updates.len(), 2, "{updates:?}");
    updates.iter().for_each(|update| receiver.hear(update));
    let hops: Vec<IpAddr> = receiver.routes.values().map(|(hop, _)| *hop).collect();
    assert_eq!(
        hops,
        [IpAddr::V6("2001:db8::11".parse().expect("an address")); 2]
    );
    let gone = rib.updates(&BTreeMap::new());
    gone.iter().for_each(|update| receiver.hear(update));
    assert!(receiver.routes.is_empty());

    session.next_hops.v4 = None;
    let mut rib = AdjRibOut::new(&settings(), &session);
    let told = rib.updates(&wanted);
    assert_eq!(
        told.len(),
        1,
        "without the capability IPv4 has no next hop: {told:?}"
    );
}

#[test]
fn rfc4724_2_end_of_rib_comes_once_even_for_nothing() {
    let mut rib = rib();
    assert_eq!(rib.updates(&wanted(&[])), []);
    assert!(!rib.is_finished());
    assert_eq!(
        rib.end_of_rib(),
        [
            Update::EndOfRib(Family::Ipv4),
            Update::EndOfRib(Family::Ipv6)
        ]
    );
    assert!(rib.is_finished());
    assert_eq!(rib.end_of_rib(), []);
}

/// RFC 4271 sections 5.1.2, 5.1.4 and 5.1.5.
#[test]
fn rfc4271_5_1_internal_peers_get_local_pref_and_neither_path_nor_med() {
    let settings = Settings {
        peer_asn: 65001,
        ..settings()
    };
    let mut rib = AdjRibOut::new(&settings, &session(&Family::ALL));
    let communities: Communities = community(7).into_iter().collect();
    let policy = Policy {
        communities: communities.clone(),
        med: Some(5),
        prepend: 2,
        bandwidth: None,
    };
    let updates = rib.updates(&BTreeMap::from([route("192.0.2.10/32", policy)]));
    let [Update::Announce { attributes, .. }] = updates.as_slice() else {
        panic!("{updates:?}")
    };
    let expected = Attributes {
        family: Family::Ipv4,
        as_path: vec![],
        next_hop: "10.0.0.11".parse().expect("an address"),
        link_local: None,
        med: None,
        local_pref: Some(100),
        communities,
        bandwidth: None,
    };
    assert_eq!(attributes, &expected);

    let drained = Policy {
        communities: [AnyCommunity::Standard(Community::GRACEFUL_SHUTDOWN)]
            .into_iter()
            .collect(),
        ..Policy::default()
    };
    let updates = rib.updates(&BTreeMap::from([route("192.0.2.10/32", drained)]));
    let [Update::Announce { attributes, .. }] = updates.as_slice() else {
        panic!("{updates:?}")
    };
    assert_eq!(attributes.local_pref, Some(0), "RFC 8326 section 4");
}

#[test]
fn rfc4271_4_3_ten_thousand_prefixes_fill_their_messages() {
    let prefixes = |n: u32| {
        (0..n).map(|i| IpNet::new(Ipv4Addr::from(0xc633_0000 + i).into(), 32).expect("valid"))
    };
    let wanted: BTreeMap<IpNet, Policy> = prefixes(10_000)
        .map(|prefix| (prefix, Policy::default()))
        .collect();
    let mut rib = rib();
    let mut receiver = Receiver::default();
    let updates = rib.updates(&wanted);
    updates.iter().for_each(|u| receiver.hear(u));
    receiver.check(&wanted);
    // 5 octets each, and 4096 less header, lengths and attributes for them.
    assert_eq!(updates.len(), 10_000_usize.div_ceil((4096 - 23 - 20) / 5));
    let gone = rib.updates(&BTreeMap::new());
    assert_eq!(gone.len(), 10_000_usize.div_ceil((4096 - 23) / 5));
    gone.iter().for_each(|u| receiver.hear(u));
    receiver.check(&BTreeMap::new());
}

/// Any sequence of route sets and refreshes: the receiver always ends up with what is wanted, and never hears of the
/// withdrawal of what it does not know.
#[test]
fn random_route_sets() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) % n
    };
    let prefix = |index: u64| match index % 3 {
        0 => IpNet::new(Ipv4Addr::new(198, 51, 100, index as u8).into(), 32).expect("valid"),
        1 => IpNet::new(Ipv4Addr::new(203, 0, index as u8, 0).into(), 24).expect("valid"),
        _ => IpNet::new(
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, index as u16]),
            128,
        )
        .expect("valid"),
    };
    let (mut rib, mut receiver, mut wanted) = (rib(), Receiver::default(), BTreeMap::new());
    for _ in 0..600 {
        for _ in 0..below(8) {
            let prefix = prefix(below(240));
            let policy = Policy {
                communities: (0..below(3) as u32 * 60).flat_map(community).collect(),
                med: [None, Some(0), Some(100)][below(3) as usize],
                prepend: below(1 + u64::from(Policy::PREPEND_MAX)) as u8,
                bandwidth: [None, Some(LinkBandwidth { bits: 8_000 })][below(2) as usize],
            };
            match below(3) {
                0 => drop(wanted.remove(&prefix)),
                _ => drop(wanted.insert(prefix, policy)),
            }
        }
        if below(10) == 0 {
            rib.resend(Family::ALL[below(2) as usize]);
        }
        for update in rib.updates(&wanted) {
            receiver.hear(&update);
        }
        receiver.check(&wanted);
        assert_eq!(rib.updates(&wanted), []);
    }
}
