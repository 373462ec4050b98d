use super::*;
use crate::dataplane::features::Feature;
use crate::doctor::facts::HashFields;
use crate::doctor::facts::testing::well;
use crate::netlink::nic::XdpFeatures;
use FindingVerdict::{Fail, Ok as Well, Unknown, Warn};

/// The findings that are not well, after `spoil`.
fn ill(spoil: impl FnOnce(&mut Facts)) -> Vec<(String, FindingVerdict)> {
    let mut facts = well();
    spoil(&mut facts);
    let findings = judge(&facts).findings.into_iter();
    let ill = findings.filter(|finding| finding.verdict != Well);
    ill.map(|finding| (finding.check, finding.verdict))
        .collect()
}

fn nic(facts: &mut Facts) -> &mut Nic {
    facts.interfaces[0].nic.as_mut().expect("there")
}

#[test]
fn a_host_that_is_well() {
    assert_eq!(ill(|_| {}), []);
    assert!(!judge(&well()).failed());
}

#[test]
fn on_tc_ingress_neither_xdp_nor_its_offloads_matter() {
    let spoil = |facts: &mut Facts| {
        facts.tc = true;
        nic(facts).xdp = Some(XdpFeatures::default());
        nic(facts).offloads = Some(["rx-gro".into(), "rx-lro".into(), "rx-gro-hw".into()].into());
    };
    assert_eq!(ill(spoil), []);
    let under_xdp = |facts: &mut Facts| {
        spoil(facts);
        facts.tc = false;
    };
    assert_eq!(ill(under_xdp).len(), 2);
}

#[test]
fn each_fact_that_is_not_well_is_one_finding() {
    type Spoil = fn(&mut Facts);
    let cases: [(Spoil, &str, FindingVerdict); 37] = [
        (
            |facts| facts.path_mtu = Err("Operation not permitted (os error 1)".into()),
            "path MTU",
            Warn,
        ),
        (
            |facts| (facts.backend, nic(facts).udp_fields[0]) = (true, Some(HashFields(0x30))),
            "eth0 RSS",
            Warn,
        ),
        (
            |facts| (facts.tc, nic(facts).offloads) = (true, Some(["rx-gro-list".into()].into())),
            "eth0 TC ingress",
            Warn,
        ),
        (
            |facts| (facts.tc, nic(facts).offloads) = (true, None),
            "eth0 TC ingress",
            Unknown,
        ),
        (
            |facts| (facts.backend, nic(facts).udp_fields) = (true, [None; 2]),
            "eth0 RSS",
            Unknown,
        ),
        (
            |facts| facts.pools[0].mode = Mode::Stateless,
            "pool web MTU",
            Warn,
        ),
        (
            |facts| (facts.backend, nic(facts).rp_filter) = (true, Some(1)),
            "eth0 reverse path",
            Fail,
        ),
        (
            |facts| (facts.backend, nic(facts).rp_filter) = (true, None),
            "eth0 reverse path",
            Unknown,
        ),
        (
            |facts| facts.kernel = "5.15.0-91-generic".into(),
            "kernel",
            Warn,
        ),
        (|facts| facts.kernel = "next".into(), "kernel", Unknown),
        (|facts| facts.privileged = false, "privileges", Fail),
        (
            |facts| facts.features[1].supported = Some(false),
            "BPF",
            Fail,
        ),
        (|facts| facts.features[1].supported = None, "BPF", Unknown),
        (|facts| facts.jit = Some(false), "BPF compiler", Warn),
        (|facts| facts.jit = None, "BPF compiler", Unknown),
        (|facts| facts.bpf_fs = false, "BPF file system", Fail),
        (
            |facts| facts.file = ConfigFile::Bad("/etc/anylb/anylb.toml".into(), 3),
            "configuration",
            Fail,
        ),
        (
            |facts| facts.file = ConfigFile::Missing("/etc/anylb/anylb.toml".into()),
            "configuration",
            Unknown,
        ),
        (|facts| facts.interfaces[0].nic = None, "eth0", Fail),
        (|facts| nic(facts).up = false, "eth0", Fail),
        (|facts| nic(facts).ethernet = false, "eth0", Fail),
        (|facts| nic(facts).xdp = None, "eth0 XDP", Unknown),
        (
            |facts| nic(facts).xdp = Some(XdpFeatures(0)),
            "eth0 XDP",
            Warn,
        ),
        (|facts| nic(facts).mtu = 9000, "eth0 XDP", Fail),
        (|facts| nic(facts).offloads = None, "eth0 offloads", Unknown),
        (
            |facts| nic(facts).offloads = Some(["rx-lro".into()].into()),
            "eth0 offloads",
            Warn,
        ),
        (
            |facts| nic(facts).offloads = Some(["rx-gro-hw".into()].into()),
            "eth0 offloads",
            Warn,
        ),
        (|facts| nic(facts).queues = Some(1), "eth0 queues", Warn),
        (
            |facts| facts.pools[0].backends[0].way = Err("no route".into()),
            "backend 10.1.0.1",
            Fail,
        ),
        (
            |facts| facts.pools[0].backends[0].answer = Err("connection refused".into()),
            "backend 10.1.0.1",
            Warn,
        ),
        (
            |facts| {
                facts.pools[0].backends[1]
                    .way
                    .as_mut()
                    .expect("a way")
                    .interface = "eth7".into()
            },
            "backend 10.1.0.2",
            Fail,
        ),
        (
            |facts| facts.pools[0].backends[1].way.as_mut().expect("a way").mtu = 1400,
            "pool web MTU",
            Warn,
        ),
        (
            |facts| facts.peers[0].state = PeerState::NoRoute,
            "peer 10.0.0.1",
            Fail,
        ),
        (
            |facts| facts.peers[0].state = PeerState::Silent("refused".into()),
            "peer 10.0.0.1",
            Fail,
        ),
        (
            |facts| facts.peers[0].state = PeerState::Guarded,
            "peer 10.0.0.1",
            Unknown,
        ),
        (
            |facts| facts.peers[0].state = PeerState::Session("Active".into(), None),
            "peer 10.0.0.1",
            Fail,
        ),
        (|facts| facts.clock = Some(false), "clock", Warn),
    ];
    for (spoil, check, verdict) in cases {
        assert_eq!(ill(spoil), [(check.to_owned(), verdict)]);
    }
}

#[test]
fn what_fails_or_warns_has_a_fix() {
    let mut facts = well();
    facts.privileged = false;
    facts.jit = Some(false);
    facts.interfaces[0].nic = None;
    facts.pools[0].backends[0].way = Err("no route".into());
    facts.clock = Some(false);
    let report = judge(&facts);
    assert!(report.failed());
    for finding in report.findings {
        let needed = matches!(finding.verdict, Fail | Warn);
        assert!(finding.fix.is_some() || !needed, "{finding:?}");
        assert!(
            finding.fix.is_none() || finding.verdict != Well,
            "{finding:?}"
        );
    }
}

#[test]
fn a_thousand_backends_that_are_well_are_one_line() {
    let mut facts = well();
    let one = facts.pools[0].backends[0].clone();
    facts.pools[0].backends = vec![one; 1000];
    facts.pools[0].backends[7].answer = Err("timeout after 1s".into());
    let findings = judge(&facts).findings;
    let of = |check: &str| {
        findings
            .iter()
            .filter(|finding| finding.check == check)
            .count()
    };
    assert_eq!((of("backend 10.1.0.1"), of("pool web")), (1, 1));
    let found = findings.iter().find(|finding| finding.check == "pool web");
    let found = found.map(|finding| finding.found.as_str());
    assert_eq!(
        found,
        Some("999 of 1000 backends are reached and pass its check")
    );
}

#[test]
fn a_pool_of_which_nothing_is_reached() {
    let dead = |facts: &mut Facts| {
        for backend in &mut facts.pools[0].backends {
            backend.way = Err("no route".into());
        }
    };
    let expected = [
        ("backend 10.1.0.1".to_owned(), Fail),
        ("backend 10.1.0.2".to_owned(), Fail),
        ("pool web".to_owned(), Warn),
    ];
    assert_eq!(ill(dead), expected);
}

#[test]
fn versions_of_kernels() {
    for (release, expected) in [
        ("6.18.44-fc", Some((6, 18))),
        ("6.1.0-18-amd64", Some((6, 1))),
        ("7.0-rc1", Some((7, 0))),
        ("6", None),
        ("", None),
    ] {
        assert_eq!(version(release), expected, "{release:?}");
    }
}

#[test]
fn a_virtual_interface_has_no_queues_to_set() {
    let mut facts = well();
    nic(&mut facts).driver = None;
    nic(&mut facts).queues = Some(1);
    let findings = judge(&facts).findings;
    assert!(
        findings
            .iter()
            .all(|finding| finding.check != "eth0 queues")
    );
}

#[test]
fn what_concerns_backends_only_is_looked_at_on_backends_only() {
    let checks = |backend: bool| -> Vec<String> {
        let mut facts = well();
        facts.backend = backend;
        let findings = judge(&facts).findings.into_iter();
        findings.map(|finding| finding.check).collect()
    };
    let (lb, backend) = (checks(false), checks(true));
    let more: Vec<_> = backend.iter().filter(|check| !lb.contains(check)).collect();
    assert_eq!(more, ["eth0 RSS", "eth0 reverse path"]);
}

#[test]
fn features_are_told_by_name() {
    let mut facts = well();
    facts.features.push(Feature {
        name: "ring buffers",
        supported: Some(false),
    });
    let findings = judge(&facts).findings;
    let bpf = findings.iter().find(|finding| finding.check == "BPF");
    assert_eq!(
        bpf.map(|finding| finding.found.as_str()),
        Some("this kernel lacks ring buffers")
    );
}
