//! Good files.

use std::path::PathBuf;
use std::time::Duration;

use super::{GOOD, read};
use crate::model::*;

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
            hash_key: Some(HashKey([
                0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
            ])),
            tunnel_source_v4: None,
            tunnel_source_v6: None,
            state_dir: PathBuf::from("/var/lib/anylb"),
            runtime_dir: PathBuf::from("/run/anylb"),
            pin_dir: PathBuf::from("/sys/fs/bpf/anylb"),
            flow_memory: Duration::from_secs(86_400),
        },
        metrics: Some(([127, 0, 0, 1], 9488).into()),
        bgp: Some(Bgp {
            asn: 65001,
            hold_time: Duration::from_secs(9),
            communities: vec![(65001 << 16) | 100],
            graceful_restart: GracefulRestart::WithBfd,
            listen: vec![],
            peers: vec![BgpPeer {
                address: [10, 0, 0, 1].into(),
                port: 179,
                asn: 65000,
                password: Some("secret".into()),
                ttl_security: Some(1),
                passive: false,
                next_hop_v4: None,
                next_hop_v6: None,
            }],
        }),
        pools: [(
            web.clone(),
            Pool {
                name: web.clone(),
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
            ports: vec![80, 443],
            pool: Some(web),
            need: Need::Count(1),
        }],
        backend: None,
    };
    assert_eq!(settings, expected);
}

#[test]
fn the_example_of_a_backend() {
    let text = r#"
        version = 1
        [node]
        name = "web1"
        interfaces = ["eth0"]
        [backend]
        trusted_lbs = ["10.0.0.0/24", "2001:db8:0:1::/64"]
        trusted_backends = ["10.1.0.0/24"]
        mss = 1400
        [[service]]
        name = "web-v4"
        vip = "192.0.2.10"
        protocol = "tcp"
        ports = [80]
    "#;
    let settings = read(text).unwrap_or_else(|errors| panic!("{errors}"));
    let role = BackendRole {
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
