//! Good files.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{BACKEND, CA, GOOD, host, read};
use crate::bgp::{AnyCommunity, Communities, Policy};
use crate::config::host::FakeHost;
use crate::config::parse;
use crate::config::schema::SECTIONS;
use crate::filter::{Filter, PrefixList};
use crate::model::*;

fn communities(written: &[&str]) -> Communities {
    let parse = |written: &&str| AnyCommunity::parse(written).expect("a community");
    written.iter().map(parse).collect()
}

#[test]
fn the_example_of_a_load_balancer() {
    let settings = read(GOOD).unwrap_or_else(|errors| panic!("{errors}"));
    let web = PoolName("web".into());
    let expected = Settings {
        node: Node {
            name: "lb1".into(),
            router_id: Some([10, 0, 0, 11].into()),
            interfaces: vec!["eth0".into()],
            xdp_mode: XdpMode::Auto,
            xdp_chain: None,
            hash_key: Some(HashKey([
                0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
            ])),
            tunnel_source_v4: None,
            tunnel_source_v6: None,
            state_dir: PathBuf::from("/var/lib/anylb"),
            runtime_dir: PathBuf::from("/run/anylb"),
            pin_dir: PathBuf::from("/sys/fs/bpf/anylb"),
            flow_memory: Duration::from_secs(86_400),
            drain_wait: Duration::from_secs(10),
            linger: Duration::from_secs(30),
            filter_memory_mib: 64,
            rate_buckets: 65_536,
            flow_table_entries: 65_536,
        },
        metrics: Some(([127, 0, 0, 1], 9488).into()),
        bgp: Some(Bgp {
            asn: 65001,
            hold_time: Duration::from_secs(9),
            communities: communities(&["65001:100"]),
            graceful_restart: GracefulRestart::WithBfd,
            listen: vec![],
            link_bandwidth: None,
            last_resort_communities: Communities::default(),
            aggregates: vec![],
            peers: vec![BgpPeer {
                name: std::net::IpAddr::from([10, 0, 0, 1]).into(),
                port: 179,
                asn: 65000,
                password: Some("secret".into()),
                password_file: Some("/etc/anylb/tor1.key".into()),
                ttl_security: Some(1),
                passive: false,
                members_max: 16,
                next_hop_v4: None,
                next_hop_v6: None,
                policy: Policy::default(),
                services: None,
                bfd: None,
            }],
        }),
        pools: [(
            web.clone(),
            Pool {
                name: web.clone(),
                encap: Encap::Gue,
                mode: Mode::Rows,
                hops: 4,
                check: Check {
                    kind: CheckKind::Tcp { port: 8080 },
                    interval: Duration::from_secs(2),
                    timeout: Duration::from_secs(1),
                    rise: 2,
                    fall: 3,
                },
                backends: vec![
                    Backend {
                        address: [10, 1, 0, 1].into(),
                        name: None,
                        weight: 100,
                    },
                    Backend {
                        address: [10, 1, 0, 2].into(),
                        name: Some("web2".into()),
                        weight: 100,
                    },
                ],
            },
        )]
        .into(),
        services: vec![Service {
            name: "web-v4".into(),
            vip: [192, 0, 2, 10].into(),
            protocol: Protocol::Tcp,
            ports: vec![Ports::one(80), Ports::one(443)],
            hash: HashScope::Flow,
            fragments: false,
            udp: UdpFlows::Stateless,
            filter: None,
            attack: false,
            rate: None,
            source_rate: None,
            udp_timeout: Duration::from_secs(120),
            pool: Some(web),
            need: Need::Count(1),
            below_need: BelowNeed::Withdraw,
            hold_up: Duration::from_secs(10),
            announce: Announce::default(),
        }],
        backend: None,
    };
    assert_eq!(settings, expected);
}

/// The lists of a service that has these lines at the end of the good file.
fn lists(lines: &str) -> Option<Arc<Filter>> {
    let settings = read(&format!("{GOOD}{lines}\n")).unwrap_or_else(|errors| panic!("{errors}"));
    settings.services[0].filter.clone()
}

#[test]
fn lists_are_prefixes_in_place_or_in_a_file() {
    let shown = |lines: &str| {
        let filter = lists(lines)?;
        let list = |list: &Option<Arc<PrefixList>>| {
            list.as_ref()
                .map_or("-".to_owned(), |list| list.to_string())
        };
        Some((list(&filter.allow), list(&filter.deny)))
    };
    let pair = |allow: &str, deny: &str| Some((allow.to_owned(), deny.to_owned()));
    for (lines, expected) in [
        ("", None),
        ("deny = []", None),
        ("allow = []", pair("no prefix", "-")),
        (
            "allow = [\"192.0.2.7\", \"::/0\"]",
            pair("192.0.2.7/32, ::/0", "-"),
        ),
        (
            "allow = [\"0.0.0.0/0\"]\ndeny = { file = \"drop.txt\" }",
            pair("0.0.0.0/0", "3 prefixes of /etc/anylb/drop.txt"),
        ),
    ] {
        assert_eq!(shown(lines), expected, "{lines}");
    }
}

#[test]
fn services_with_the_same_lists_share_them() {
    let text = format!("{GOOD}deny = {{ file = \"drop.txt\" }}\n");
    let (_, service) = text.split_once("[[service]]").expect("there is one");
    let second = service.replace("web-v4", "second").replace("443, 80", "81");
    let settings = read(&format!("{text}[[service]]{second}"));
    let services = settings
        .unwrap_or_else(|errors| panic!("{errors}"))
        .services;
    let filter = |n: usize| services[n].filter.as_ref().expect("it has a list");
    assert!(Arc::ptr_eq(filter(0), filter(1)));
}

#[test]
fn limits_count_packets_or_new_flows() {
    let shown = |lines: &str| {
        let settings =
            read(&format!("{GOOD}{lines}\n")).unwrap_or_else(|errors| panic!("{errors}"));
        let service = &settings.services[0];
        let (rate, source) = (service.rate, service.source_rate);
        (
            rate.map(|rate| rate.to_string()),
            source.map(|rate| rate.to_string()),
        )
    };
    assert_eq!(shown(""), (None, None));
    let (rate, source) = shown(
        "rate_limit = { new_flows = 5000 }\nrate_limit_source = { pps = 1000, burst = 50, prefix_v6 = 64 }",
    );
    assert_eq!(
        rate.as_deref(),
        Some("5000 new flows per second, burst 5000")
    );
    assert_eq!(
        source.as_deref(),
        Some("1000 packets per second, burst 50, of each /32 or /64")
    );
}

#[test]
fn more_lists_than_the_memory_holds_are_refused() {
    let prefixes: Vec<String> = (0..40_000_u32)
        .map(|n| format!("\"2001:db8:{n:x}::1\""))
        .collect();
    let text = format!("{GOOD}allow = [{}]\n", prefixes.join(", "));
    let text = text.replace("[node]\n", "[node]\nfilter_memory_mib = 1\n");
    let errors = read(&text).expect_err("more than one MiB");
    let [error] = errors.errors() else {
        panic!("{errors}");
    };
    assert_eq!(
        error.message,
        "the lists of prefixes need more than `node.filter_memory_mib`, 1 MiB: with this one 2 MiB"
    );
}

#[test]
fn the_example_of_a_backend() {
    let settings = read(BACKEND).unwrap_or_else(|errors| panic!("{errors}"));
    let role = BackendRole {
        hook: BackendHook::Xdp,
        trusted_lbs: vec![
            "10.0.0.0/24".parse().expect("a prefix"),
            "2001:db8:0:1::/64".parse().expect("a prefix"),
        ],
        trusted_backends: vec!["10.1.0.0/24".parse().expect("a prefix")],
        mss: Mss::Max(1400),
    };
    assert_eq!(settings.backend, Some(role));
    assert_eq!(settings.services[0].pool, None);
    assert_eq!(settings.services[0].need, Need::Count(1));
    assert_eq!(settings.node.hash_key, None);
}

#[test]
fn every_key_is_read() {
    let text = include_str!("every_key.toml");
    let settings = read(text).unwrap_or_else(|errors| panic!("{errors}"));
    let own_v4 = [10, 0, 0, 12].into();
    let own_v6 = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x12);
    let node = &settings.node;
    assert_eq!(node.router_id, Some([255; 4].into()));
    assert_eq!(node.xdp_mode, XdpMode::Native);
    assert_eq!(node.xdp_chain, Some("/sys/fs/bpf/firewall".into()));
    assert!(node.hash_key.is_some(), "read beside the file");
    assert_eq!(node.tunnel_source_v4, Some(own_v4));
    assert_eq!(node.tunnel_source_v6, Some(own_v6));
    let dirs = [&node.state_dir, &node.runtime_dir, &node.pin_dir];
    assert_eq!(
        dirs,
        ["/srv/state", "/etc/anylb/run", "/srv/bpf"].map(Path::new)
    );
    assert_eq!(node.flow_memory, Duration::from_secs(5400));
    assert_eq!(node.drain_wait, Duration::ZERO);
    assert_eq!(node.linger, Duration::from_millis(1500));
    assert_eq!((node.filter_memory_mib, node.rate_buckets), (512, 100_000));
    assert_eq!(settings.metrics, Some((Ipv6Addr::LOCALHOST, 9488).into()));

    let bgp = settings.bgp.expect("there is one");
    assert_eq!((bgp.asn, bgp.hold_time), (4_200_000_000, Duration::ZERO));
    assert_eq!(bgp.communities, communities(&["65001:100", "0:65535"]));
    assert_eq!(bgp.graceful_restart, GracefulRestart::Always);
    let listen = [([0; 4], 179).into(), (Ipv6Addr::UNSPECIFIED, 1179).into()];
    assert_eq!(bgp.listen, listen);
    let peer = BgpPeer {
        name: std::net::IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)).into(),
        port: 1179,
        asn: 65000,
        password: Some("secret".into()),
        password_file: Some("tor1.key".into()),
        ttl_security: Some(254),
        passive: true,
        members_max: 16,
        next_hop_v4: Some(own_v4),
        next_hop_v6: Some(own_v6),
        policy: Policy {
            communities: communities(&["65535:65281", "4200000000:0:4294967295"]),
            med: Some(0),
            prepend: 4,
            bandwidth: None,
        },
        services: Some(BTreeSet::from([
            "web".into(),
            "web-alt".into(),
            "voice".into(),
            "game".into(),
            "chat".into(),
            "dns".into(),
        ])),
        bfd: Some(Bfd {
            interval: Duration::from_millis(50),
            multiplier: 50,
            multihop: Some(255),
            strict: true,
        }),
    };
    let range = &bgp.peers[1];
    assert_eq!(range.name.to_string(), "10.9.0.0/24");
    assert!(range.passive && range.members_max == 4, "{range:?}");
    assert!(bgp.peers[..1] == [peer], "{:?}", bgp.peers);
    assert_eq!(bgp.link_bandwidth.map(|one| one.bits), Some(25_000_000_000));
    let last_resort = communities(&["65001:666", "65001:0:666"]);
    assert_eq!(bgp.last_resort_communities, last_resort);
    let aggregate = Aggregate {
        prefix: "2001:db8:100::/48".parse().expect("a prefix"),
        need: Need::Percent(50),
        policy: Policy {
            communities: communities(&["65001:48"]),
            med: Some(0),
            prepend: 1,
            bandwidth: None,
        },
    };
    assert_eq!(bgp.aggregates, [aggregate]);

    let pool = &settings.pools[&PoolName("web.v6_1-a".into())];
    assert_eq!(pool.hops, 1);
    let check = Check {
        kind: CheckKind::Tcp { port: 443 },
        interval: Duration::from_millis(500),
        timeout: Duration::from_millis(500),
        rise: 1,
        fall: 100,
    };
    assert_eq!(pool.check, check);
    let secure = &settings.pools[&PoolName("secure".into())].check;
    let CheckKind::Http(secure) = &secure.kind else {
        panic!("{secure:?}")
    };
    let expected = HttpCheck {
        port: 8443,
        tls: Some(TlsCheck {
            server_name: Some("lb.example".try_into().expect("a name")),
            trust: Trust::Roots(Arc::new(Roots(vec![ca()]))),
        }),
        method: HttpMethod::Get,
        path: PathAndQuery::from_static("/alive?deep"),
        host: Some(HeaderValue::from_static("web.example:443")),
        expect: Expect(vec![StatusRange::One(200), StatusRange::Class(3)]),
        body: Some("well".into()),
    };
    assert_eq!(**secure, expected);
    let weights: Vec<u16> = pool.backends.iter().map(|backend| backend.weight).collect();
    assert_eq!(weights, [1000, 1, 100]);
    let needs: Vec<Need> = settings
        .services
        .iter()
        .map(|service| service.need)
        .take(3)
        .collect();
    assert_eq!(
        needs,
        [Need::Percent(50), Need::Percent(30), Need::Percent(30)],
        "30% from three backends on"
    );
    let announce = Announce {
        policy: Policy {
            communities: communities(&["65535:0"]),
            med: Some(u32::MAX),
            prepend: 6,
            bandwidth: None,
        },
        peers: Some(BTreeSet::from([bgp.peers[0].name])),
    };
    assert_eq!(settings.services[0].announce, announce);
    assert_eq!(settings.services[1].announce, Announce::default());
    assert_eq!(settings.services[1].ports, [Ports::one(8080)]);
    let udp = &settings.services[2];
    let ports: Vec<String> = udp.ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["53", "8000-8999"]);
    assert_eq!(
        (udp.protocol, udp.udp),
        (Protocol::Udp, UdpFlows::Connected)
    );
    let remembered = settings.services[3..].iter();
    let remembered: Vec<_> = remembered
        .map(|one| (one.udp, one.udp_timeout.as_secs()))
        .collect();
    let expected = [
        (UdpFlows::FlowTable, 90),
        (UdpFlows::FlowTable, 120),
        (UdpFlows::Stateless, 120),
    ];
    assert_eq!(remembered, expected);
    assert_eq!(node.flow_table_entries, 1 << 20);
    let plain = &settings.pools[&PoolName("plain".into())];
    assert_eq!((plain.mode, plain.hops), (Mode::FlowTable, 4));
}

/// A key that is added to the schema must be added to the file above, and so to the assertions.
#[test]
fn the_file_with_every_key_has_every_key() {
    let texts = [include_str!("every_key.toml"), BACKEND];
    for key in SECTIONS.iter().flat_map(|section| section.built()) {
        let written = |text: &&str| {
            text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .any(|word| word == key.name)
        };
        assert!(texts.iter().any(written), "{} is in no good file", key.name);
    }
}

#[test]
fn a_timeout_is_never_longer_than_its_interval() {
    let text = GOOD.replace(
        "interval = \"2s\", timeout = \"1s\"",
        "interval = \"200ms\"",
    );
    let settings = read(&text).unwrap_or_else(|errors| panic!("{errors}"));
    let check = &settings.pools[&PoolName("web".into())].check;
    assert_eq!(
        (check.interval, check.timeout),
        (Duration::from_millis(200), Duration::from_millis(200))
    );
}

fn https(more: &str) -> TlsCheck {
    let check = format!("check = {{ type = \"https\", port = 443{more} }}");
    let line = GOOD.lines().find(|line| line.starts_with("check = "));
    let text = GOOD.replace(line.expect("there is a check"), &check);
    let host = FakeHost {
        system_roots: vec![b"no certificate".to_vec(), ca().to_vec()],
        ..host()
    };
    let settings = parse(&text, Path::new("/etc/anylb/anylb.toml"), &host);
    let settings = settings.unwrap_or_else(|errors| panic!("{errors}"));
    match &settings.pools[&PoolName("web".into())].check.kind {
        CheckKind::Http(check) => check.tls.clone().expect("TLS"),
        CheckKind::Tcp { .. } => panic!("not HTTPS"),
    }
}

fn ca() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(CA.as_bytes()).expect("a certificate")
}

#[test]
fn the_systems_roots_are_trusted_unless_told() {
    let system = Trust::Roots(Arc::new(Roots(vec![ca()])));
    let name = |name: &'static str| Some(name.try_into().expect("a name"));
    let cases = [
        ("", system.clone(), None),
        (", verify = true", system.clone(), None),
        (", verify = false", Trust::Anything, None),
        (", ca_file = \"ca.pem\"", system.clone(), None),
        (
            ", host = \"web.example:80\"",
            system.clone(),
            name("web.example"),
        ),
        (
            ", host = \"[2001:db8::1]:80\"",
            system.clone(),
            name("2001:db8::1"),
        ),
        (
            ", host = \"a.example\", server_name = \"b.example\"",
            system,
            name("b.example"),
        ),
    ];
    for (more, trust, server_name) in cases {
        assert_eq!(https(more), TlsCheck { server_name, trust }, "{more}");
    }
}

#[test]
fn an_http_check_may_have_a_port_and_nothing_else() {
    let text = GOOD.replace("type = \"tcp\"", "type = \"http\"");
    let settings = read(&text).unwrap_or_else(|errors| panic!("{errors}"));
    let expected = HttpCheck {
        port: 8080,
        tls: None,
        method: HttpMethod::Get,
        path: PathAndQuery::from_static("/"),
        host: None,
        expect: Expect(vec![StatusRange::Class(2)]),
        body: None,
    };
    let check = &settings.pools[&PoolName("web".into())].check;
    assert_eq!(check.kind, CheckKind::Http(Arc::new(expected)));
}

#[test]
fn a_file_may_have_a_node_and_nothing_else() {
    let settings = read("version = 1\n[node]\nname = \"a\"\ninterfaces = [\"eth0\"]\n");
    let settings = settings.unwrap_or_else(|errors| panic!("{errors}"));
    assert!(settings.services.is_empty() && settings.pools.is_empty() && settings.bgp.is_none());
}
