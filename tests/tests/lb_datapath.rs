//! The LB program in the kernel: packets in, verdict and bytes out, counters; and the same decision on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use anylb::dataplane::{Dataplane, Options};
use anylb::model::{Encap, Mode, PoolName, Ports, Protocol, Vlan, XdpMode};
use anylb::plan::desired::NextHop;
use anylb::plan::{Desired, DesiredBackend, DesiredPool, DesiredService, Observed, Slots, plan};
use anylb::status::Health;
use lb_common::abi;
use lb_common::exit::Action;
use lb_common::flow::FlowKey;
use lb_common::lb::Exit;
use lb_tests::harness::{bpffs::Bpffs, privileged};
use lb_tests::packet::{
    ACK, Segment, checksums_hold, destination_of, frame, ping, set_ttl, source_of,
};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address in a test")
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address in a test")
}

fn pool(backends: &[&str], hops: usize) -> DesiredPool {
    let members = backends.iter().map(|address| DesiredBackend {
        address: ip(address),
        next_hop: Some(NextHop {
            ifindex: 1,
            mtu: 1700,
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            vlan: None,
        }),
        health: Health::Up,
    });
    let count = backends.len() as u16;
    let row = |row: u16| {
        std::array::from_fn(|hop| {
            if hop < hops.min(backends.len()) {
                (row + hop as u16) % count
            } else {
                abi::ABSENT
            }
        })
    };
    DesiredPool {
        encap: Encap::Gue,
        mode: Mode::Rows,
        members: members.collect(),
        rows: (0..abi::ROWS).map(|i| row(i as u16 % count)).collect(),
        settling: false,
    }
}

fn service(name: &str, vip: &str, pool: &str) -> DesiredService {
    DesiredService {
        name: name.into(),
        vip: ip(vip),
        protocol: Protocol::Tcp,
        ports: vec![Ports::one(80), Ports::one(443)],
        pool: PoolName(pool.into()),
    }
}

fn desired() -> Desired {
    let v4 = ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"];
    let v6 = [
        "fd00:1::1",
        "fd00:1::2",
        "fd00:1::3",
        "fd00:1::4",
        "fd00:1::5",
    ];
    Desired {
        flow_key: FlowKey::new(*b"0123456789abcdef"),
        source_v4: Some([10, 0, 0, 11].into()),
        source_v6: Some("fd00::11".parse().expect("an address")),
        generation: 7,
        jiffies_per_sec: 250,
        own: v4.iter().chain(&v6).copied().map(ip).collect(),
        pools: [("four", pool(&v4, 4)), ("six", pool(&v6, 4))]
            .map(|(name, pool)| (PoolName(name.into()), pool))
            .into(),
        services: vec![
            service("web-v4", "198.51.100.1", "four"),
            service("web-v6", "2001:db8:100::1", "six"),
            udp_service("voice-v4", "198.51.100.1", "four"),
            udp_service("voice-v6", "2001:db8:100::1", "six"),
        ],
    }
}

fn udp_service(name: &str, vip: &str, pool: &str) -> DesiredService {
    DesiredService {
        protocol: Protocol::Udp,
        ports: ["53", "8000-8999"].map(ports).into(),
        ..service(name, vip, pool)
    }
}

fn ports(text: &str) -> Ports {
    text.parse().expect("ports in a test")
}

/// Numbers without pattern (splitmix64), the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }
}

/// A loaded datapath with `desired` applied; the file system goes with it.
struct Loaded {
    plane: Option<Dataplane>,
    slots: Slots,
    _bpffs: Bpffs,
}

impl Loaded {
    fn new(name: &str, desired: &Desired) -> Self {
        let bpffs = Bpffs::mount(&std::env::temp_dir().join(format!("anylb-test-{name}")))
            .expect("a BPF file system");
        let options = Options {
            pin_dir: bpffs.path().join("anylb"),
            interfaces: Vec::new(),
            mode: XdpMode::Auto,
        };
        let plane = Dataplane::open(&options).expect("the program loads");
        let mut loaded = Self {
            plane: Some(plane),
            slots: Slots::default(),
            _bpffs: bpffs,
        };
        loaded.apply(desired);
        loaded
    }

    fn plane(&self) -> &Dataplane {
        self.plane.as_ref().expect("open until dropped")
    }

    /// How many operations it took.
    fn apply(&mut self, desired: &Desired) -> usize {
        let plane = self.plane.as_mut().expect("open until dropped");
        let (image, mut ops) = desired.image(&mut self.slots).expect("an image");
        ops.extend(plan(&image, &plane.observed().expect("readable")).expect("a plan"));
        plane.apply(&ops).expect("applied");
        assert_eq!(
            plan(&image, &plane.observed().expect("readable")).expect("a plan"),
            [],
            "what was applied is read back as the same image"
        );
        ops.len()
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.plane = None;
    }
}

#[test]
fn syn_is_sent_to_the_hops_of_its_row() {
    if !privileged::available("syn_is_sent_to_the_hops_of_its_row") {
        return;
    }
    let loaded = Loaded::new("syn", &desired());
    for (source, destination, family) in [
        ("192.0.2.7:4001", "198.51.100.1:80", "10.1.0."),
        ("[2001:db8:c::7]:4001", "[2001:db8:100::1]:443", "fd00:1::"),
    ] {
        let result = loaded
            .plane()
            .probe(&Dataplane::probe_packet(
                Protocol::Tcp,
                at(source),
                at(destination),
            ))
            .expect("a test run");
        assert!(result.sent(), "{result:?}");
        let first = result.row % 5;
        let expected: Vec<_> = (0..4)
            .map(|hop| ip(&format!("{family}{}", (first + hop) % 5 + 1)))
            .collect();
        assert_eq!(result.hops, expected, "{source}");
    }
}

#[test]
fn every_exit_is_named_alike_by_kernel_and_host() {
    if !privileged::available("every_exit_is_named_alike_by_kernel_and_host") {
        return;
    }
    let loaded = Loaded::new("exits", &desired());
    let syn = Dataplane::probe_packet(Protocol::Tcp, at("192.0.2.7:4001"), at("198.51.100.1:80"));
    let syn6 = Dataplane::probe_packet(
        Protocol::Tcp,
        at("[2001:db8:c::7]:4001"),
        at("[2001:db8:100::1]:80"),
    );
    let datagram =
        Dataplane::probe_packet(Protocol::Udp, at("192.0.2.7:4001"), at("198.51.100.1:53"));
    let patched = |packet: &[u8], offset: usize, bytes: &[u8]| {
        let mut packet = packet.to_vec();
        packet[offset..offset + bytes.len()].copy_from_slice(bytes);
        packet
    };
    let cases: Vec<(&str, Vec<u8>, Exit)> = vec![
        ("sent", syn.clone(), Exit::Sent),
        ("sent over IPv6", syn6.clone(), Exit::Sent),
        ("ARP", patched(&syn, 12, &[0x08, 0x06]), Exit::NotIp),
        (
            "another destination",
            patched(&syn, 30, &[203, 0, 113, 1]),
            Exit::NotVip,
        ),
        (
            "a backend as destination",
            patched(&syn, 30, &[10, 1, 0, 1]),
            Exit::NotVip,
        ),
        (
            "another IPv6 destination",
            patched(&syn6, 53, &[9]),
            Exit::NotVip,
        ),
        (
            "another port",
            patched(&syn, 36, &[0x1f, 0x90]),
            Exit::NoService,
        ),
        (
            "UDP to a port of TCP",
            patched(&syn, 23, &[17]),
            Exit::NoService,
        ),
        ("a datagram", datagram.clone(), Exit::Sent),
        (
            "a datagram inside a range",
            patched(&datagram, 36, &8999_u16.to_be_bytes()),
            Exit::Sent,
        ),
        (
            "a datagram behind the range",
            patched(&datagram, 36, &9000_u16.to_be_bytes()),
            Exit::NoService,
        ),
        (
            "half a UDP header",
            patched(&datagram, 16, &[0, 27]),
            Exit::Malformed,
        ),
        (
            "a ping",
            frame(&ping(ip("192.0.2.7"), ip("198.51.100.1"))),
            Exit::EchoReply,
        ),
        (
            "a ping over IPv6",
            frame(&ping(ip("2001:db8:c::7"), ip("2001:db8:100::1"))),
            Exit::EchoReply,
        ),
        (
            "a ping from a backend",
            frame(&ping(ip("10.1.0.1"), ip("198.51.100.1"))),
            Exit::BadSource,
        ),
        ("ICMP of another type", patched(&syn, 23, &[1]), Exit::Icmp),
        (
            "a protocol without ports",
            patched(&syn, 23, &[47]),
            Exit::NoService,
        ),
        ("one tag", tagged(&syn, &[0x8100]), Exit::Sent),
        ("two tags", tagged(&syn6, &[0x88a8, 0x8100]), Exit::Sent),
        (
            "three tags",
            tagged(&syn, &[0x88a8, 0x8100, 0x8100]),
            Exit::NotIp,
        ),
        (
            "a tag and no more",
            tagged(&syn, &[0x8100])[..18].to_vec(),
            Exit::NotIp,
        ),
        (
            "a backend as source",
            patched(&syn, 26, &[10, 1, 0, 1]),
            Exit::BadSource,
        ),
        (
            "the VIP as source",
            patched(&syn, 26, &[198, 51, 100, 1]),
            Exit::BadSource,
        ),
        (
            "loopback as source",
            patched(&syn, 26, &[127, 0, 0, 1]),
            Exit::BadSource,
        ),
        (
            "multicast as source",
            patched(&syn, 26, &[224, 0, 0, 1]),
            Exit::BadSource,
        ),
        (
            "IPv6 multicast as source",
            patched(&syn6, 22, &[0xff]),
            Exit::BadSource,
        ),
        (
            "first fragment",
            patched(&syn, 20, &[0x20, 0]),
            Exit::Fragment,
        ),
        ("IPv6 fragment", patched(&syn6, 20, &[44]), Exit::Fragment),
        (
            "length beyond the packet",
            patched(&syn, 16, &[0, 60]),
            Exit::Malformed,
        ),
        (
            "length inside the header",
            patched(&syn, 16, &[0, 10]),
            Exit::Malformed,
        ),
        (
            "header length 4",
            patched(&syn, 14, &[0x41]),
            Exit::Malformed,
        ),
        (
            "no room for TCP",
            patched(&syn, 16, &[0, 30]),
            Exit::Malformed,
        ),
        ("TTL 1", patched(&syn, 22, &[1]), Exit::TtlExceeded),
        ("hop limit 1", patched(&syn6, 21, &[1]), Exit::TtlExceeded),
    ];
    for (what, packet, expected) in cases {
        let result = loaded.plane().probe(&packet).expect("a test run");
        assert_eq!(result.exit, expected, "{what}");
        assert_eq!(
            result.action,
            expected.action(),
            "{what}: the kernel agrees with the host"
        );
        if expected != Exit::Sent {
            let passed = &result.packet[..];
            assert!(
                expected.action() != Action::Pass || passed == packet,
                "{what}: passed untouched"
            );
        }
    }
    let counters = loaded.plane().counters().expect("counters");
    let counted: BTreeMap<_, _> = counters
        .exits
        .iter()
        .filter(|(_, count)| count.packets > 0)
        .map(|(exit, count)| (exit.name(), count.packets))
        .collect();
    assert_eq!(
        counted,
        BTreeMap::from([("probe", 34)]),
        "probes count only as probes"
    );
}

/// Puts VLAN tags with these EtherTypes before the frame's own.
fn tagged(frame: &[u8], ethertypes: &[u16]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for ethertype in ethertypes.iter().rev() {
        let tag = [ethertype.to_be_bytes(), [0x20, 0x64]].concat();
        frame.splice(12..12, tag);
    }
    frame
}

/// What the program makes of `packet`.
fn probe(loaded: &Loaded, packet: &[u8]) -> Vec<u8> {
    let result = loaded.plane().probe(packet).expect("a test run");
    assert!(result.agrees, "{result:?} for {packet:02x?}");
    result.packet
}

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
            };
            let mut expected = segment.ip();
            set_ttl(&mut expected, 63);
            assert_eq!(inner, expected, "{name} {vip}");
        }
    }
}

#[test]
fn the_narrowest_ports_around_a_packets_win() {
    if !privileged::available("the_narrowest_ports_around_a_packets_win") {
        return;
    }
    let vip = "198.51.100.1";
    let mut state = desired();
    state.services.clear();
    for (name, protocol, list) in [
        ("one", Protocol::Tcp, &["80", "8080"][..]),
        ("range", Protocol::Tcp, &["8000-8999", "1-79"]),
        ("any", Protocol::Tcp, &["any"]),
        ("udp", Protocol::Udp, &["8000-8999"]),
    ] {
        let backend = format!("10.1.1.{}", state.services.len() + 1);
        state
            .pools
            .insert(PoolName(name.into()), pool(&[&backend], 1));
        state.services.push(DesiredService {
            protocol,
            ports: list.iter().map(|text| ports(text)).collect(),
            ..service(name, vip, name)
        });
    }
    let loaded = Loaded::new("ports", &state);
    let hop = |protocol, port| {
        let destination = SocketAddr::new(ip(vip), port);
        let packet = Dataplane::probe_packet(protocol, at("192.0.2.7:4001"), destination);
        let result = loaded.plane().probe(&packet).expect("a test run");
        assert!(result.agrees, "{result:?}");
        result.hops.first().map(ToString::to_string)
    };
    for (protocol, port, expected) in [
        (Protocol::Tcp, 80, Some("10.1.1.1")),
        (Protocol::Tcp, 8080, Some("10.1.1.1")),
        (Protocol::Tcp, 8000, Some("10.1.1.2")),
        (Protocol::Tcp, 8999, Some("10.1.1.2")),
        (Protocol::Tcp, 79, Some("10.1.1.2")),
        (Protocol::Tcp, 7999, Some("10.1.1.3")),
        (Protocol::Tcp, 9000, Some("10.1.1.3")),
        (Protocol::Tcp, 65535, Some("10.1.1.3")),
        (Protocol::Udp, 8080, Some("10.1.1.4")),
        (Protocol::Udp, 7999, None),
        (Protocol::Udp, 53, None),
    ] {
        assert_eq!(
            hop(protocol, port).as_deref(),
            expected,
            "{port}/{protocol}"
        );
    }
}

/// Bytes changed, tails cut, options and extension headers put in: whatever comes, kernel and host decide alike and make the same
/// bytes, headroom included.
#[test]
fn kernel_and_host_agree_on_mutated_packets() {
    if !privileged::available("kernel_and_host_agree_on_mutated_packets") {
        return;
    }
    let loaded = Loaded::new("mutated", &desired());
    let mut dice = Dice(1);
    let mut exits = BTreeMap::new();
    for _ in 0..20_000 {
        let v4 = dice.next(2) == 0;
        let protocol = [Protocol::Tcp, Protocol::Udp][dice.next(2)];
        let port = match protocol {
            Protocol::Tcp => 80,
            Protocol::Udp => [53, 8500, 9000][dice.next(3)],
        };
        let (client, vip) = if v4 {
            ("192.0.2.7:4001", ip("198.51.100.1"))
        } else {
            ("[2001:db8:c::7]:4001", ip("2001:db8:100::1"))
        };
        let mut packet = Dataplane::probe_packet(protocol, at(client), SocketAddr::new(vip, port));
        if v4 && dice.next(4) == 0 {
            with_options(&mut packet, dice.next(11));
        } else if !v4 && dice.next(3) == 0 {
            with_extensions(&mut packet, dice.next(6), &mut dice);
        }
        packet.extend(std::iter::repeat_n(0x5a, dice.next(40)));
        if dice.next(5) == 0 {
            packet = frame(&ping(at(client).ip(), vip));
        }
        if dice.next(20) == 0 {
            let ttl = if v4 { 22 } else { 21 };
            packet[ttl] = 1;
        }
        let tags = [0x88a8, 0x8100, 0x8100];
        packet = tagged(&packet, &tags[dice.next(8).min(3)..]);
        for _ in 0..dice.next(3) {
            let offset = dice.next(packet.len());
            packet[offset] = dice.next(256) as u8;
        }
        if dice.next(8) == 0 {
            packet.truncate(14 + dice.next(packet.len() - 14));
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
        let kind = [0, 43, 60, 51][dice.next(4)];
        let mut header = vec![next, 0, 1, 4, 0, 0, 0, 0];
        if dice.next(3) == 0 {
            header[1] = if kind == 51 { 2 } else { 1 };
            header.extend([0; 8]);
        }
        packet[19] += header.len() as u8;
        packet.splice(54..54, header);
        next = kind;
    }
    packet[20] = next;
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
    assert_eq!(
        internet_checksum(&packet[14..34]),
        0,
        "outer header checksum"
    );
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

#[test]
fn an_equal_state_needs_nothing_and_a_change_swaps_the_bank() {
    if !privileged::available("an_equal_state_needs_nothing_and_a_change_swaps_the_bank") {
        return;
    }
    let mut state = desired();
    let mut loaded = Loaded::new("swap", &state);
    assert_eq!(loaded.apply(&state), 0);
    let before = loaded.plane().observed().expect("readable").bank;
    let four = state
        .pools
        .get_mut(&PoolName("four".into()))
        .expect("the pool");
    *four = pool(&["10.1.0.9", "10.1.0.1"], 4);
    loaded.apply(&state);
    assert_ne!(loaded.plane().observed().expect("readable").bank, before);
    let result = loaded
        .plane()
        .probe(&Dataplane::probe_packet(
            Protocol::Tcp,
            at("192.0.2.7:4001"),
            at("198.51.100.1:80"),
        ))
        .expect("a test run");
    let hops: BTreeSet<_> = result.hops.iter().copied().collect();
    assert_eq!(hops, BTreeSet::from([ip("10.1.0.1"), ip("10.1.0.9")]));
    state
        .services
        .retain(|service| service.vip != ip("198.51.100.1"));
    loaded.apply(&state);
    let result = loaded
        .plane()
        .probe(&Dataplane::probe_packet(
            Protocol::Tcp,
            at("192.0.2.7:4001"),
            at("198.51.100.1:80"),
        ))
        .expect("a test run");
    assert_eq!(result.exit, Exit::NotVip, "a removed VIP is foreign");
}

#[test]
fn a_second_agent_adopts_the_pinned_state() {
    if !privileged::available("a_second_agent_adopts_the_pinned_state") {
        return;
    }
    let state = desired();
    let mut loaded = Loaded::new("adopt", &state);
    let observed = loaded.plane().observed().expect("readable");
    let options = Options {
        pin_dir: loaded._bpffs.path().join("anylb"),
        interfaces: Vec::new(),
        mode: XdpMode::Auto,
    };
    loaded.plane = None;
    let second = Dataplane::open(&options).expect("adopted");
    assert!(second.adopted());
    assert_eq!(second.observed().expect("readable"), observed);
    assert_ne!(observed, Observed::default());
    loaded.plane = Some(second);
    assert_eq!(
        loaded.apply(&state),
        0,
        "an adopted datapath is not touched"
    );
}

fn internet_checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    !lb_common::wire::fold(sum)
}
