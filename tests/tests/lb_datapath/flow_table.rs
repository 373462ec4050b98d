//! Pools whose flows the node remembers.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anylb::dataplane::Dataplane;
use anylb::model::{Encap, Mode, PoolName, Protocol};
use anylb::plan::{Desired, DesiredPool, DesiredService, ServiceOptions};
use anylb::status::Health;
use lb_common::flow_table::FlowCount;
use lb_tests::bench::bpf::test_run;
use lb_tests::bench::cpu;
use lb_tests::bench::wrapper::{Frame, Vary, Wrapped};
use lb_tests::harness::privileged;
use lb_tests::packet::{ACK, FIN, SYN, Segment, destination_of, frame, icmp_error, message};

use crate::stage::{FLOW_TABLE, Loaded, desired, ip, options, pool, probe, service, udp_service};

pub const BACKENDS: [&str; 5] = ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"];
/// Client and VIP.
pub const FAMILIES: [(&str, &str); 2] = [
    ("192.0.2.7", "198.51.100.1"),
    ("2001:db8:c::7", "2001:db8:100::1"),
];
const VOICE: u16 = 53;
const FLOWS: u16 = 100;

/// Services of TCP and UDP whose flows are remembered.
pub fn state(backends: &[&str], timeout: Duration) -> Desired {
    let mut state = desired();
    let plain = DesiredPool {
        encap: Encap::IpIp,
        mode: Mode::FlowTable,
        ..pool(backends, 4)
    };
    state.pools = [(PoolName("plain".into()), plain)].into();
    let kinds: [fn(&str, &str, &str) -> DesiredService; 2] = [service, udp_service];
    let services = FAMILIES.iter().flat_map(|(_, vip)| {
        let one = |kind: fn(&str, &str, &str) -> DesiredService| {
            let mut one = kind("", vip, "plain");
            one.name = format!("{vip} {}", one.protocol);
            one.options = ServiceOptions {
                flow_timeout: Some(timeout),
                ..one.options
            };
            one
        };
        kinds.map(one)
    });
    state.services = services.collect();
    state
}

fn plain(state: &mut Desired) -> &mut DesiredPool {
    state
        .pools
        .get_mut(&PoolName("plain".into()))
        .expect("the pool")
}

/// Every row has another backend than before.
pub fn moved(mut state: Desired) -> Desired {
    let plain = plain(&mut state);
    let count = plain.members.len() as u16;
    let rows = plain
        .rows
        .iter()
        .map(|row| row.map(|hop| (hop + 1) % count));
    plain.rows = rows.collect();
    state
}

/// Packets come to one CPU, as those of a flow do.
pub fn load(name: &str, state: &Desired) -> Loaded {
    cpu::stay().expect("a CPU to stay on");
    Loaded::new(name, state)
}

/// Where a packet from the wire goes.
fn hop(loaded: &Loaded, packet: &[u8]) -> IpAddr {
    let program = loaded.plane().program_fd().expect("loaded");
    let (verdict, sent) = test_run(program, &frame(packet), 1).expect("a test run");
    assert_eq!(verdict, 3, "{packet:02x?}");
    destination_of(&sent[14..])
}

fn client(from: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(from), 40_000 + port)
}

fn segment(from: &str, vip: &str, port: u16, flags: u8) -> Vec<u8> {
    Segment::new(client(from, port), SocketAddr::new(ip(vip), 80), flags).ip()
}

fn datagram(from: &str, vip: &str, port: u16) -> Vec<u8> {
    message(
        client(from, port),
        SocketAddr::new(ip(vip), VOICE),
        0,
        b"hello",
    )
}

/// A packet in the middle of each flow.
fn packets() -> Vec<Vec<u8>> {
    let of = |(from, vip): &(&str, &str)| -> Vec<_> {
        let flow = |port| [segment(from, vip, port, ACK), datagram(from, vip, port)];
        (0..FLOWS).flat_map(flow).collect()
    };
    FAMILIES.iter().flat_map(of).collect()
}

/// Where each flow's packets go: two of each, one after the other.
pub fn hops(loaded: &Loaded) -> Vec<IpAddr> {
    let flow = |packet: &Vec<u8>| {
        let first = hop(loaded, packet);
        assert_eq!(hop(loaded, packet), first);
        first
    };
    packets().iter().map(flow).collect()
}

pub fn counted(loaded: &Loaded) -> FlowCount {
    loaded.plane().counters().expect("readable").flows
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn flows_stay_where_they_were_and_new_ones_go_by_the_rows() {
    if !privileged::available("flows_stay_where_they_were_and_new_ones_go_by_the_rows") {
        return;
    }
    let before = state(&BACKENDS, LONG);
    let mut loaded = load("flows-stay", &before);
    let first = hops(&loaded);
    let flows = first.len() as u64;
    let count = counted(&loaded);
    assert_eq!((count.noted, count.entered), (flows, flows), "{count:?}");

    loaded.apply(&moved(before));
    assert_eq!(hops(&loaded), first, "remembered");
    assert_eq!(counted(&loaded).known, 2 * flows);
    for (from, vip) in FAMILIES {
        for port in 0..FLOWS {
            let known = hop(&loaded, &segment(from, vip, port, ACK));
            let opened = hop(&loaded, &segment(from, vip, port, SYN));
            assert_ne!(
                opened, known,
                "a SYN goes by the row, whatever its ports had"
            );
            let unknown = hop(&loaded, &segment(from, vip, port + FLOWS, ACK));
            let same_row = hop(&loaded, &segment(from, vip, port + FLOWS, SYN));
            assert_eq!(unknown, same_row, "who is not known goes by the row");
        }
    }
    let count = counted(&loaded);
    assert_eq!(count.entered, flows, "SYNs and first packets enter nothing");
}

#[test]
fn changes_of_membership_move_no_flow_but_those_of_who_left() {
    if !privileged::available("changes_of_membership_move_no_flow_but_those_of_who_left") {
        return;
    }
    let mut loaded = load("members", &state(&BACKENDS, LONG));
    let first = hops(&loaded);
    // One leaves, and one that comes takes its number.
    let without: Vec<_> = BACKENDS
        .iter()
        .copied()
        .filter(|one| *one != "10.1.0.2")
        .collect();
    loaded.apply(&state(&without, LONG));
    let with_another = [&without[..], &["10.1.0.9"]].concat();
    loaded.apply(&state(&with_another, LONG));
    let second = hops(&loaded);
    let mut released = 0;
    for (before, after) in first.iter().zip(&second) {
        if *before == ip("10.1.0.2") {
            assert!(*after != ip("10.1.0.9") && after != before, "{after}");
            released += 1;
        } else {
            assert_eq!(after, before);
        }
    }
    assert_ne!(released, 0);
    assert_eq!(counted(&loaded).released, released);
}

#[test]
fn flows_of_a_dead_backend_are_released() {
    if !privileged::available("flows_of_a_dead_backend_are_released") {
        return;
    }
    let before = state(&BACKENDS, LONG);
    let mut loaded = load("dead", &before);
    let first = hops(&loaded);
    let dead = ip("10.1.0.3");
    let with = |change: fn(&mut anylb::plan::DesiredBackend)| {
        let mut state = moved(before.clone());
        let members = plain(&mut state).members.iter_mut();
        members
            .filter(|member| member.address == dead)
            .for_each(change);
        state
    };
    let is_tcp = |packet: &[u8]| packet[if packet[0] >> 4 == 4 { 9 } else { 6 }] == 6;
    loaded.apply(&with(|member| member.health = Health::Down));
    for ((before, after), packet) in first.iter().zip(hops(&loaded)).zip(packets()) {
        let keeps = *before != dead || is_tcp(&packet);
        assert_eq!(
            after == *before,
            keeps,
            "the check failed: {before} {after}"
        );
    }
    loaded.apply(&with(|member| member.gone = true));
    for (before, after) in first.iter().zip(hops(&loaded)) {
        assert_eq!(after == *before, *before != dead, "nothing lives there");
    }
    loaded.apply(&with(|_| {}));
    let kept: Vec<_> = hops(&loaded);
    loaded.apply(&before);
    assert_eq!(
        hops(&loaded),
        kept,
        "they stay with those that have them now"
    );
}

#[test]
fn a_silent_udp_flow_is_forgotten_after_its_timeout() {
    if !privileged::available("a_silent_udp_flow_is_forgotten_after_its_timeout") {
        return;
    }
    // Longer than it takes an emulated machine to apply a change.
    let before = state(&BACKENDS, Duration::from_secs(5));
    let mut loaded = load("timeout", &before);
    let (from, vip) = FAMILIES[0];
    let packet = datagram(from, vip, 1);
    let first = hop(&loaded, &packet);
    assert_eq!(hop(&loaded, &packet), first);
    loaded.apply(&moved(before));
    assert_eq!(hop(&loaded, &packet), first);
    // And two ticks more, of 1.28 s at most.
    let end = Instant::now() + Duration::from_secs(8);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
    let second = hop(&loaded, &packet);
    assert_ne!(second, first);
    assert_eq!(hop(&loaded, &packet), second);
    assert_eq!(counted(&loaded).expired, 1);
}

#[test]
fn an_error_goes_where_its_flow_goes_and_a_probe_by_the_row() {
    if !privileged::available("an_error_goes_where_its_flow_goes_and_a_probe_by_the_row") {
        return;
    }
    let before = state(&BACKENDS, LONG);
    let mut loaded = load("errors", &before);
    let (from, vip) = FAMILIES[0];
    for port in 0..FLOWS {
        hop(&loaded, &segment(from, vip, port, ACK));
        hop(&loaded, &segment(from, vip, port, ACK));
    }
    loaded.apply(&moved(before));
    let count = counted(&loaded);
    let at = SocketAddr::new(ip(vip), 80);
    let mut went = Vec::new();
    for port in 0..FLOWS {
        let reply = Segment::new(at, client(from, port), ACK).ip();
        let error = hop(&loaded, &icmp_error(ip("203.0.113.9"), 3, &reply));
        let packet = Dataplane::probe_packet(Protocol::Tcp, client(from, port), at);
        let probed = destination_of(&probe(&loaded, &packet)[14..]);
        went.push((error, probed));
    }
    assert_eq!(counted(&loaded), count, "neither changes anything");
    for (port, (error, probed)) in (0..FLOWS).zip(went) {
        assert_eq!(error, hop(&loaded, &segment(from, vip, port, ACK)));
        assert_ne!(error, probed);
    }
}

#[test]
fn a_probe_tells_who_remembers_its_flow() {
    if !privileged::available("a_probe_tells_who_remembers_its_flow") {
        return;
    }
    let before = state(&BACKENDS, LONG);
    let mut loaded = load("explain-flows", &before);
    let cpu = cpu::stay().expect("a CPU to stay on");
    let flows = FAMILIES.iter().flat_map(|&(from, vip)| {
        [
            (Protocol::Tcp, 80, segment(from, vip, 1, ACK)),
            (Protocol::Udp, VOICE, datagram(from, vip, 1)),
        ]
        .map(|(protocol, port, packet)| {
            let at = SocketAddr::new(ip(vip), port);
            let opening = Dataplane::probe_packet(protocol, client(from, 1), at);
            (opening, packet)
        })
    });
    let flows: Vec<_> = flows.collect();
    let explain = |loaded: &Loaded, opening: &[u8]| {
        let result = loaded.plane().probe(opening).expect("a test run");
        assert!(result.sent(), "{result:?}");
        (result.hops, result.remembered)
    };
    let mut known = Vec::new();
    for (opening, packet) in &flows {
        let unknown = explain(&loaded, opening);
        let first = hop(&loaded, packet);
        assert_eq!(unknown, (vec![first], vec![]), "by the row");
        assert_eq!(explain(&loaded, opening), unknown, "a note is no entry");
        hop(&loaded, packet);
        known.push(first);
    }
    loaded.apply(&moved(before));
    for ((opening, packet), known) in flows.iter().zip(known) {
        let count = counted(&loaded);
        let (hops, remembered) = explain(&loaded, opening);
        let [flow] = &remembered[..] else {
            panic!("{remembered:?}");
        };
        assert_eq!((flow.cpu as usize, flow.backend), (cpu, known));
        assert!(flow.silent < Duration::from_secs(60), "{flow:?}");
        assert_ne!(hops, [known], "the row has moved");
        assert_eq!(counted(&loaded), count, "asking changes nothing");
        assert_eq!(hop(&loaded, packet), known);
    }
}

#[test]
fn the_next_agent_knows_the_flows_and_another_size_forgets_them() {
    if !privileged::available("the_next_agent_knows_the_flows_and_another_size_forgets_them") {
        return;
    }
    let before = state(&BACKENDS, LONG);
    let mut loaded = load("adopt-flows", &before);
    let first = hops(&loaded);
    loaded.apply(&moved(before));
    for (entries, keeps) in [(FLOW_TABLE, true), (4096, false), (FLOW_TABLE, false)] {
        loaded.plane = None;
        let options = options(&loaded.bpffs, entries);
        let mut plane = Dataplane::open(&options).expect("adopted");
        plane.attach().expect("there is no interface");
        assert_eq!(plane.flow_capacity() % 5, 0);
        loaded.plane = Some(plane);
        let now = hops(&loaded);
        let same = first.iter().zip(&now).filter(|(a, b)| a == b).count();
        assert_eq!(same, if keeps { first.len() } else { 0 }, "{entries}");
        let tables = std::fs::read_dir(options.pin_dir.join("flows")).expect("pins");
        assert_eq!(tables.count(), 1);
    }
}

/// At the rate of the program alone, SYNs, ACKs and datagrams of flows of one packet push out nothing.
#[test]
fn floods_evict_nothing() {
    if !privileged::available("floods_evict_nothing") {
        return;
    }
    const FLOOD: u32 = 1 << 22;
    let before = state(&BACKENDS, LONG);
    let mut loaded = load("flood", &before);
    let first = hops(&loaded);
    loaded.apply(&moved(before));
    let (from, vip) = ("10.0.0.1", FAMILIES[0].1);
    for (what, packet) in [
        ("SYN", segment(from, vip, 1, SYN)),
        ("ACK", segment(from, vip, 1, ACK)),
        ("FIN", segment(from, vip, 1, FIN | ACK)),
        ("UDP", datagram(from, vip, 1)),
    ] {
        let count = counted(&loaded);
        let flood = Frame {
            bytes: frame(&packet),
            restore: 40,
            vary: Some(Vary {
                offset: 14 + 12,
                flows: FLOOD,
            }),
        };
        let program = loaded.plane().program_fd().expect("loaded");
        let wrapped = Wrapped::of_any_kind(program.as_fd(), &flood).expect("a wrapper");
        let began = Instant::now();
        test_run(wrapped.wrapper(), &flood.bytes, FLOOD).expect("a test run");
        let rate = f64::from(FLOOD) / began.elapsed().as_secs_f64() / 1e6;
        println!("FLOOD of {what}: {FLOOD} flows of one packet at {rate:.1} Mpps on one CPU");
        let after = counted(&loaded);
        let noted = if what == "SYN" { 0 } else { u64::from(FLOOD) };
        assert_eq!(
            after,
            FlowCount {
                noted: count.noted + noted,
                ..count
            },
            "{what}"
        );
        assert!(hops(&loaded) == first, "{what}");
    }
}
