//! LB node and backend on one box: what goes from one program to the other.

use std::net::{IpAddr, SocketAddr};

use anylb::backend::datapath::{Datapath, Entry};
use anylb::backend::image::{Endpoint, Image, Wanted};
use anylb::backend::kernel_types::Offsets;
use lb_common::lb::Exit;
use lb_tests::bench::bpf::test_run;
use lb_tests::harness::netns::Netns;
use lb_tests::harness::privileged;
use lb_tests::packet::{ACK, Segment, Tunnel, set_ttl, source_of};

use crate::stage::{Loaded, at, desired, ip};

const DROP: u32 = 1;
const PASS: u32 = 2;
const TRANSMIT: u32 = 3;
const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

struct Family {
    client: SocketAddr,
    vip: SocketAddr,
    /// This box, which is LB node and backend.
    own: IpAddr,
    other: IpAddr,
}

fn families() -> [Family; 2] {
    [
        Family {
            client: at("192.0.2.7:4000"),
            vip: at("198.51.100.1:80"),
            own: ip("10.1.0.1"),
            other: ip("10.1.0.2"),
        },
        Family {
            client: at("[2001:db8:7::7]:4000"),
            vip: at("[2001:db8:100::1]:80"),
            own: ip("fd00:1::1"),
            other: ip("fd00:1::2"),
        },
    ]
}

/// The backend's side; `blind` says that its servers cannot be seen, so that it takes what it gets.
fn backend(blind: bool) -> Datapath {
    let endpoints = families().map(|family| Endpoint::tcp(family.vip));
    let prefix = |text: &str| text.parse().expect("a prefix in a test");
    let wanted = Wanted {
        own: families().map(|family| family.own).into(),
        tunnel_port: 6080,
        trusted_lbs: vec![prefix("10.0.0.0/24"), prefix("fd00::/64")],
        trusted_backends: vec![prefix("10.1.0.0/24"), prefix("fd00:1::/64")],
        endpoints: endpoints.into(),
        blind: if blind {
            endpoints.into()
        } else {
            Default::default()
        },
        mss: (0, 0),
        hertz: 250,
    };
    let image = Image::new(&wanted).expect("an image");
    Datapath::load(&image, Offsets::default(), Entry::LbNode).expect("the program loads")
}

/// A datapath whose first backend of each pool is this box.
fn node() -> Loaded {
    let mut state = desired();
    for pool in state.pools.values_mut() {
        let hop = pool.members[0].next_hop.as_mut().expect("a next hop");
        (hop.source_mac, hop.destination_mac, hop.local) = (OWN_MAC, OWN_MAC, true);
    }
    Loaded::with("both", &state, true)
}

fn run(loaded: &Loaded, packet: &[u8]) -> (u32, Vec<u8>) {
    let program = loaded.plane().program_fd().expect("a program");
    test_run(program, packet, 1).expect("a test run")
}

fn count(loaded: &Loaded, exit: Exit) -> u64 {
    let counters = loaded.plane().counters().expect("readable");
    let mut all = counters.exits.iter();
    all.find(|(one, _)| *one == exit)
        .map_or(0, |(_, count)| count.packets)
}

/// The first segment of the family, by the client's port, whose first hop is this box, or is not.
fn segment(loaded: &Loaded, family: &Family, local: bool) -> Vec<u8> {
    let segments = (4000..4100).map(|port| {
        let client = SocketAddr::new(family.client.ip(), port);
        Segment::new(client, family.vip, ACK).frame()
    });
    let first = |packet: &Vec<u8>| loaded.plane().probe(packet).expect("a test run").hops[0];
    let mut segments = segments.filter(|packet| (first(packet) == family.own) == local);
    segments.next().expect("one of a hundred")
}

/// As the kernel gets it: one hop older.
fn received(packet: &[u8], ttl: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    set_ttl(&mut packet[14..], ttl);
    packet
}

#[test]
fn what_is_for_this_box_goes_through_the_backends_program_without_leaving() {
    if !privileged::available(
        "what_is_for_this_box_goes_through_the_backends_program_without_leaving",
    ) {
        return;
    }
    let netns = Netns::create("lb-both").expect("a namespace");
    let loaded = node();
    let pins = loaded.bpffs.path().join("anylb");
    netns
        .run(|| {
            let mut datapath = backend(true);
            datapath.attach(&pins, "lo", false)?;
            assert!(datapath.is_attached());
            for family in families() {
                through_the_backend(&loaded, &family);
            }
            // A backend whose servers can be seen knows no such flow: the next hop may.
            let mut seeing = backend(false);
            assert!(seeing.attach(&pins, "lo", false)?, "found");
            assert!(seeing.is_attached() && !datapath.is_attached(), "replaced");
            for family in families() {
                let packet = segment(&loaded, &family, true);
                let (action, bytes) = run(&loaded, &packet);
                assert_eq!(action, TRANSMIT);
                let router = [&packet[6..12], &packet[..6]].concat();
                assert_eq!(bytes[..12], router, "where no better way is known");
                assert_eq!(source_of(&bytes[14..]), family.own, "passed on");
            }
            seeing.detach()?;
            for family in families() {
                let (action, _) = run(&loaded, &segment(&loaded, &family, true));
                assert_eq!(action, DROP, "there is no backend any more");
            }
            assert_eq!(count(&loaded, Exit::NoLocalBackend), 2);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error:#}"));
}

fn through_the_backend(loaded: &Loaded, family: &Family) {
    let here = segment(loaded, family, true);
    let before = count(loaded, Exit::Local);
    let sent = Segment::new(family.client, family.vip, ACK);
    assert_eq!(run(loaded, &here), (PASS, received(&here, 63)));
    assert_eq!(count(loaded, Exit::Local), before + 1);

    let there = segment(loaded, family, false);
    let (action, bytes) = run(loaded, &there);
    assert_eq!(action, TRANSMIT);
    assert_ne!(bytes, there, "to another box, in a tunnel");

    // What another box has sent here is no VIP's packet, and the backend's.
    let tunnel = Tunnel::new(family.other, &[family.own, family.other]);
    let inner = sent.ip();
    let (action, bytes) = run(loaded, &tunnel.frame(&inner));
    assert_eq!((action, &bytes[14..]), (PASS, &inner[..]));

    let foreign = Segment::new(family.client, SocketAddr::new(family.other, 22), ACK).frame();
    assert_eq!(run(loaded, &foreign), (PASS, foreign.clone()), "untouched");
}
