//! What the fake agents counted.

use std::collections::BTreeMap;

use crate::status::{
    BackendCount, CheckCount, Count, Counters, ExitCount, FlowTableCount, Histogram,
    IcmpErrorCount, PathMtuMessages, SecondChanceCount, ServiceCount,
};

/// What the LB node counted.
pub(crate) fn lb_counters() -> Counters {
    let web = ServiceCount {
        count: count(1_000, 64_000),
        new_flows: 40,
    };
    Counters {
        flow_table: Some(FlowTableCount {
            entries: 700,
            capacity_entries: 131_080,
            hits: 800,
            misses: 90,
            evictions: 3,
            expirations: 2,
            releases: 1,
        }),
        events_lost: Some(2),
        path_mtu_messages: Some(PathMtuMessages {
            lowered: 1,
            known: 3,
            foreign: 2,
            malformed: 0,
        }),
        received: BTreeMap::from([("eth0".into(), count(1_500, 96_000))]),
        icmp_errors: vec![IcmpErrorCount {
            family: "ipv6".into(),
            kind: "too_big".into(),
            packets: 12,
        }],
        exits: vec![
            exit("not_vip", "pass", 490, None),
            exit("sent", "tx", 900, None),
            exit("redirected", "redirect", 100, None),
            exit("malformed", "drop", 0, Some("broken sender, or an attack")),
            exit(
                "no_service",
                "drop",
                7,
                Some("clients use a port or protocol that no [[service]] has"),
            ),
            exit(
                "bad_source",
                "drop",
                3,
                Some(
                    "spoofed sources: filter them at the edge; nodes and backends cannot be clients of a VIP",
                ),
            ),
        ],
        services: BTreeMap::from([("web-v4".into(), web)]),
        backends: vec![BackendCount {
            service: "web-v4".into(),
            backend: "10.1.0.1".parse().unwrap(),
            count: count(600, 38_400),
        }],
        checks: BTreeMap::from([(
            "tcp".into(),
            CheckCount {
                results: BTreeMap::from([("failure".into(), 3), ("success".into(), 97)]),
                duration: Histogram {
                    buckets: vec![(0.001, 60), (0.01, 97)],
                    sum_secs: 3.25,
                    count: 100,
                },
            },
        )]),
        health_state_changes: 4,
        ..Counters::default()
    }
}

/// What the backend counted.
pub(crate) fn backend_counters() -> Counters {
    Counters {
        received: BTreeMap::from([("eth0".into(), count(300, 30_000))]),
        exits: vec![
            exit("accepted", "pass", 290, None),
            exit("passed_on", "tx", 10, None),
            exit(
                "untrusted",
                "drop",
                0,
                Some("add the LB's prefix to trusted_lbs"),
            ),
        ],
        vip_connections: Some(BTreeMap::from([("web-v4".into(), 25)])),
        second_chance: Some(SecondChanceCount {
            decapsulated: 300,
            forwarded: BTreeMap::from([("ipv4".into(), 10), ("ipv6".into(), 0)]),
            accepted: BTreeMap::from([("socket".into(), 250), ("syn".into(), 40)]),
            blind: 1,
        }),
        ..Counters::default()
    }
}

fn exit(name: &str, action: &str, packets: u64, advice: Option<&str>) -> ExitCount {
    ExitCount {
        name: name.into(),
        action: action.into(),
        packets,
        advice: advice.map(str::to_string),
    }
}

fn count(packets: u64, bytes: u64) -> Count {
    Count { packets, bytes }
}
