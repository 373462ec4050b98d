//! Allow and deny lists of a service.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anylb::filter::{Filter, PrefixList, Prefixes};
use anylb::plan::{Desired, ServiceOptions};
use lb_common::lb::Exit;
use lb_tests::bench::bpf;
use lb_tests::harness::privileged;
use lb_tests::packet::{Segment, fragments, frame, icmp_error, message};

use crate::stage::{Loaded, desired, ip};

fn list(text: &str) -> Arc<PrefixList> {
    Arc::new(PrefixList {
        file: None,
        prefixes: Arc::new(Prefixes::of_text(text).expect("a list")),
    })
}

/// Every service with these lists.
fn with(allow: Option<&str>, deny: Option<&str>) -> Desired {
    let filter = Filter::of(allow.map(list), deny.map(list)).map(Arc::new);
    let mut state = desired();
    for service in &mut state.services {
        service.options = ServiceOptions {
            filter: filter.clone(),
            fragments: service.name.starts_with("voice"),
            ..ServiceOptions::default()
        };
    }
    state
}

fn exit(loaded: &Loaded, ip: &[u8]) -> Exit {
    let result = loaded.plane().probe(&frame(ip)).expect("a test run");
    assert!(result.agrees, "{result:?}");
    result.exit
}

fn vip(source: IpAddr, port: u16) -> SocketAddr {
    let vip = match source {
        IpAddr::V4(_) => ip("198.51.100.1"),
        IpAddr::V6(_) => ip("2001:db8:100::1"),
    };
    (vip, port).into()
}

fn syn(loaded: &Loaded, source: &str) -> Exit {
    let source = ip(source);
    let segment = Segment::new((source, 4001).into(), vip(source, 80), 2);
    exit(loaded, &segment.ip())
}

#[test]
fn the_longest_prefix_decides_and_an_empty_list_means_nobody() {
    if !privileged::available("the_longest_prefix_decides_and_an_empty_list_means_nobody") {
        return;
    }
    let lists = (
        Some("203.0.113.0/24\n192.0.2.128/25\n2001:db8:a::/48"),
        Some("192.0.2.0/24\n203.0.113.7\n2001:db8:a:7::/64"),
    );
    let mut loaded = Loaded::new("lists", &with(lists.0, lists.1));
    for (source, expected) in [
        ("203.0.113.6", Exit::Sent),
        ("203.0.113.7", Exit::Denied),
        ("203.0.113.8", Exit::Sent),
        ("192.0.2.1", Exit::Denied),
        ("192.0.2.127", Exit::Denied),
        ("192.0.2.128", Exit::Sent),
        ("192.0.3.0", Exit::NotAllowed),
        ("2001:db8:a:6:ffff:ffff:ffff:ffff", Exit::Sent),
        ("2001:db8:a:7::", Exit::Denied),
        ("2001:db8:a:7:ffff:ffff:ffff:ffff", Exit::Denied),
        ("2001:db8:a:8::", Exit::Sent),
        ("2001:db8:b::1", Exit::NotAllowed),
    ] {
        assert_eq!(syn(&loaded, source), expected, "{source}");
    }
    loaded.apply(&with(Some(""), None));
    assert_eq!(syn(&loaded, "203.0.113.6"), Exit::NotAllowed);
    assert_eq!(syn(&loaded, "2001:db8:a::1"), Exit::NotAllowed);
    loaded.apply(&with(None, Some("192.0.2.0/24")));
    assert_eq!(syn(&loaded, "203.0.113.6"), Exit::Sent);
    assert_eq!(syn(&loaded, "192.0.2.6"), Exit::Denied);
    loaded.apply(&with(None, None));
    assert_eq!(syn(&loaded, "192.0.2.6"), Exit::Sent);
    let observed = loaded.plane().observed().expect("readable");
    assert_eq!(observed.filters, [].into(), "none is kept");
}

#[test]
fn fragments_and_errors_are_of_the_client_that_they_are_about() {
    if !privileged::available("fragments_and_errors_are_of_the_client_that_they_are_about") {
        return;
    }
    let loaded = Loaded::new("parts", &with(None, Some("192.0.2.0/24\n2001:db8:c::/64")));
    for (denied, other) in [
        ("192.0.2.7", "203.0.113.7"),
        ("2001:db8:c::7", "2001:db8:d::7"),
    ] {
        for (client, router, expected) in
            [(denied, other, Exit::Denied), (other, denied, Exit::Sent)]
        {
            let (client, router) = (ip(client), ip(router));
            let datagram = message((client, 4001).into(), vip(client, 53), 0, &[7; 3000]);
            for part in fragments(&datagram, 1024, 9) {
                assert_eq!(exit(&loaded, &part), expected, "a fragment of {client}");
            }
            let answer = Segment::new(vip(client, 80), (client, 4001).into(), 0x10).ip();
            let unreachable = if client.is_ipv4() { 3 } else { 1 };
            let error = icmp_error(router, unreachable, &answer);
            assert_eq!(exit(&loaded, &error), expected, "an error about {client}");
        }
    }
}

#[test]
fn lists_are_replaced_in_other_slots_and_adopted() {
    if !privileged::available("lists_are_replaced_in_other_slots_and_adopted") {
        return;
    }
    let first = with(None, Some("192.0.2.0/24"));
    let mut loaded = Loaded::new("slots", &first);
    let slots = |loaded: &Loaded| loaded.plane().observed().expect("readable").filters;
    assert_eq!(slots(&loaded), [0].into(), "one for all services");
    let maps = loaded.plane().inventory().expect("readable").maps;
    let told = maps.iter().find(|map| map.name == "filter 0");
    assert!(told.is_some_and(|map| map.value_bytes == 128), "{maps:?}");
    assert_eq!(loaded.apply(&first), 0, "the same needs nothing");
    let second = with(None, Some("192.0.2.0/25"));
    loaded.apply(&second);
    assert_eq!(slots(&loaded), [1].into());
    loaded.apply(&first);
    assert_eq!(slots(&loaded), [0].into());
    loaded.reopen();
    assert_eq!(loaded.apply(&first), 0, "what was pinned is adopted");
    assert_eq!(syn(&loaded, "192.0.2.200"), Exit::Denied);
}

/// While lists are replaced, the agent's way, packets come without a pause: whatever list a packet meets, it is a whole one.
#[test]
fn lists_are_replaced_without_a_gap() {
    if !privileged::available("lists_are_replaced_without_a_gap") {
        return;
    }
    const REPLACED: usize = 40;
    const XDP_DROP: u32 = 1;
    const XDP_TX: u32 = 3;
    let lists = [
        with(Some("203.0.113.0/24"), Some("203.0.113.7")),
        with(Some("203.0.112.0/22\n10.0.0.0/8"), Some("203.0.113.0/29")),
    ];
    let mut loaded = Loaded::new("gap", &lists[0]);
    let program = loaded.plane().program_fd().expect("loaded");
    let program = program.try_clone_to_owned().expect("a descriptor");
    let over = AtomicBool::new(false);
    let packets = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut packets = 0_u64;
            while !over.load(Relaxed) {
                for (source, expected) in [
                    ("203.0.113.7", XDP_DROP),
                    ("203.0.113.8", XDP_TX),
                    ("192.0.2.1", XDP_DROP),
                ] {
                    let source = (ip(source), 4001).into();
                    let packet = Segment::new(source, vip(ip("203.0.113.8"), 80), 2).frame();
                    let run = bpf::test_run(program.as_fd(), &packet, 1);
                    let (verdict, _) = run.expect("a test run");
                    assert_eq!(verdict, expected, "{source} after {packets} packets");
                    packets += 1;
                }
            }
            packets
        });
        for number in 1..=REPLACED {
            assert_ne!(loaded.apply(&lists[number % 2]), 0, "other lists");
        }
        over.store(true, Relaxed);
        traffic.join().expect("every packet met a whole list")
    });
    println!("{packets} packets while lists were replaced {REPLACED} times");
    assert!(packets > REPLACED as u64, "{packets} packets");
}

#[test]
fn a_million_prefixes_of_each_family() {
    if !privileged::available("a_million_prefixes_of_each_family") {
        return;
    }
    let v4 = (0..1_000_000_u32).map(|n| Ipv4Addr::from(0x0b00_0001 + 16 * n).to_string());
    let v6 =
        (0..1_000_000_u32).map(|n| format!("2001:db8:{:x}:{:x}::/64", n >> 16, (n & 0xffff) | 1));
    let text: Vec<String> = v4.chain(v6).collect();
    let loaded = Loaded::new("million", &with(None, Some(&text.join("\n"))));
    for (source, expected) in [
        ("11.0.0.0", Exit::Sent),
        ("11.0.0.1", Exit::Denied),
        ("11.0.0.2", Exit::Sent),
        ("11.122.18.1", Exit::Denied),
        ("11.244.35.241", Exit::Denied),
        ("11.244.36.1", Exit::Sent),
        ("2001:db8:0:1::9", Exit::Denied),
        ("2001:db8:0:2::9", Exit::Sent),
        ("2001:db8:f:423f::9", Exit::Denied),
        ("2001:db8:f:4241::9", Exit::Sent),
    ] {
        assert_eq!(syn(&loaded, source), expected, "{source}");
    }
}
