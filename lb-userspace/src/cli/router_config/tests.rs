//! Every platform to the letter, and what cannot be said.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use clap::ValueEnum as _;

use super::plan::{Plan, Wanted};
use super::{Platform, text};
use crate::bgp::PeerName;
use crate::cli::tests::same_as;
use crate::config::{self, Host, HostFile};
use crate::model::Settings;
use crate::status::{Exit, Refusal};

const EXTERNAL: &str = r#"
version = 1
[node]
name = "lb1"
router_id = "10.0.0.11"
interfaces = ["eth0"]
hash_key_file = "/etc/anylb/hash.key"
[bgp]
asn = 65001
hold_time = "9s"
graceful_restart = "always"
[[bgp.peer]]
address = "10.0.0.1"
asn = 65000
password_file = "/etc/anylb/tor1.key"
ttl_security = 1
[[bgp.peer]]
address = "2001:db8:1::1"
asn = 65000
ttl_security = 2
[[bgp.peer]]
address = "10.0.0.2"
asn = 65001
services = ["web-v4"]
[[pool]]
name = "v4"
check = { type = "tcp", port = 80 }
backend = [{ address = "10.1.0.1" }]
[[pool]]
name = "v6"
check = { type = "tcp", port = 80 }
backend = [{ address = "2001:db8:2::1" }]
[[service]]
name = "web-v4"
vip = "192.0.2.10"
protocol = "tcp"
ports = [80]
pool = "v4"
[[service]]
name = "net-v4"
vip = "198.51.100.0/26"
protocol = "tcp"
ports = [80]
pool = "v4"
[[service]]
name = "web-v6"
vip = "2001:db8:100::1"
protocol = "tcp"
ports = [80]
pool = "v6"
"#;

struct Machine;

impl Host for Machine {
    fn read(&self, path: &Path) -> io::Result<HostFile> {
        let content: &[u8] = match path.to_str() {
            Some("/etc/anylb/hash.key") => b"000102030405060708090a0b0c0d0e0f\n",
            _ => b"correct horse\n",
        };
        Ok(HostFile {
            content: content.to_vec(),
            mode: 0o600,
        })
    }

    fn interfaces(&self) -> Vec<String> {
        vec!["eth0".into()]
    }

    fn addresses(&self) -> Vec<IpAddr> {
        Vec::new()
    }

    fn system_roots(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

fn settings(text: &str) -> Settings {
    config::parse(text, Path::new("/etc/anylb/anylb.toml"), &Machine)
        .unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    all(list)
}

fn peers(list: &[&str]) -> Vec<PeerName> {
    all(list)
}

fn all<T>(list: &[&str]) -> Vec<T>
where
    T: std::str::FromStr<Err: std::fmt::Debug>,
{
    list.iter().map(|one| one.parse().unwrap()).collect()
}

fn plan(peers: &[&str], nodes: &[&str], show_secrets: bool) -> Result<Plan, Refusal> {
    let wanted = Wanted {
        peers: self::peers(peers),
        nodes: addresses(nodes),
        show_secrets,
        ..Wanted::default()
    };
    Plan::new(&settings(EXTERNAL), &wanted)
}

#[test]
fn two_nodes_in_sessions_over_both_families() {
    let plan = plan(
        &["10.0.0.1", "2001:db8:1::1"],
        &["10.0.0.11", "10.0.0.12", "2001:db8:1::11"],
        false,
    );
    let plan = plan.unwrap();
    for platform in Platform::value_variants() {
        let text = text(*platform, &plan);
        assert!(!text.contains("correct horse"), "{text}");
        assert!(text.contains("/etc/anylb/tor1.key"), "{text}");
        same_as(&format!("router-config-{}.txt", platform.as_str()), &text);
    }
}

#[test]
fn one_as_for_both_and_one_service() {
    let plan = plan(&["10.0.0.2"], &["10.0.0.11"], false).unwrap();
    assert_eq!(plan.prefixes, ["192.0.2.10/32".parse().unwrap()]);
    for platform in Platform::value_variants() {
        let text = text(*platform, &plan);
        same_as(
            &format!("router-config-{}-internal.txt", platform.as_str()),
            &text,
        );
    }
}

#[test]
fn bfd_is_said_to_both_sides() {
    let file = EXTERNAL
        .replace("graceful_restart = \"always\"\n", "")
        .replace(
            "ttl_security = 1",
            "bfd = { interval = \"100ms\", multihop = true }",
        );
    let wanted = Wanted {
        peers: self::peers(&["10.0.0.1"]),
        nodes: addresses(&["10.0.0.11", "10.0.0.12"]),
        ..Wanted::default()
    };
    let plan = Plan::new(&settings(&file), &wanted).unwrap();
    assert!(plan.graceful_restart, "offered to peers with BFD");
    let expected: [(Platform, &[&str]); 6] = [
        (
            Platform::Frr,
            &[
                " neighbor 10.0.0.11 bfd profile anylb-100x3\n",
                "bfd\n profile anylb-100x3\n  detect-multiplier 3\n  receive-interval 100\n  transmit-interval 100\n exit\nexit\n",
            ],
        ),
        (
            Platform::Bird,
            &[
                "  local 10.0.0.1 as 65000;\n",
                "  multihop;\n",
                "  bfd { interval 100 ms; multiplier 3; };\n",
            ],
        ),
        (
            Platform::Junos,
            &[
                "neighbor 10.0.0.11 bfd-liveness-detection minimum-interval 100\n",
                "neighbor 10.0.0.11 bfd-liveness-detection multiplier 3\n",
                "neighbor 10.0.0.11 bfd-liveness-detection session-mode multihop\n",
            ],
        ),
        (
            Platform::Eos,
            &[
                " neighbor 10.0.0.11 bfd\n",
                "`bfd interval 100 min-rx 100 multiplier 3`",
            ],
        ),
        (
            Platform::Nxos,
            &[
                "feature bfd\n",
                "    bfd\n",
                "`bfd interval 100 min_rx 100 multiplier 3`",
            ],
        ),
        (
            Platform::IosXr,
            &["  bfd fast-detect\n  bfd minimum-interval 100\n  bfd multiplier 3\n"],
        ),
    ];
    for (platform, lines) in expected {
        let text = text(platform, &plan);
        for line in lines {
            assert!(text.contains(line), "{}: {line}\n{text}", platform.as_str());
        }
    }
}

#[test]
fn a_peer_on_an_interface_is_said_by_the_routers_own() {
    let file = EXTERNAL.replace(
        "address = \"10.0.0.1\"",
        "interface = \"eth0\"\nbfd = { interval = \"100ms\" }",
    );
    let mut wanted = Wanted {
        peers: self::peers(&["eth0"]),
        ..Wanted::default()
    };
    let refusal = Plan::new(&settings(&file), &wanted).expect_err("no interface");
    assert_eq!(
        (refusal.exit(), refusal.message.as_str()),
        (
            Exit::Usage,
            "which interface has the router towards this node? it has a name of its own for the link of eth0: say so with \
             --interface, such as --interface swp1"
        )
    );
    wanted.interfaces = vec!["swp1".into(), "swp2".into()];
    let plan = Plan::new(&settings(&file), &wanted).unwrap();
    for platform in [Platform::Frr, Platform::Bird] {
        platform.can_say(&plan).expect("it has such neighbors");
        let text = text(platform, &plan);
        same_as(
            &format!("router-config-{}-unnumbered.txt", platform.as_str()),
            &text,
        );
    }
    let refusal = Platform::Junos.can_say(&plan).expect_err("unknown here");
    assert_eq!(
        (refusal.exit(), refusal.message.as_str()),
        (
            Exit::Refused,
            "a peer that is known by its interface is said for FRR and BIRD alone in this version, and not for junos: see \
             \"Peers by their interface\" in docs/bgp.md"
        )
    );
}

#[test]
fn a_password_is_shown_only_where_that_is_asked_for() {
    let plan = plan(&["10.0.0.1"], &["10.0.0.11"], true).unwrap();
    for platform in Platform::value_variants() {
        let text = text(*platform, &plan);
        assert_eq!(text.matches("correct horse").count(), 1, "{text}");
    }
    assert!(!format!("{plan:?}").contains("horse"), "never in a log");
}

#[test]
fn what_is_not_clear_is_asked() {
    let here = &["10.0.0.11"];
    let table: [(&[&str], &[&str], Exit, &str); 4] = [
        (
            &[],
            here,
            Exit::Usage,
            "which router? say so with --peer, once for every address of it: 10.0.0.1 (AS 65000), 2001:db8:1::1 (AS 65000), \
             10.0.0.2 (AS 65001)",
        ),
        (
            &["10.0.0.1", "10.0.0.2"],
            here,
            Exit::Usage,
            "10.0.0.1 is in AS 65000 and 10.0.0.2 in AS 65001: one router at a time",
        ),
        (
            &["10.0.0.9"],
            here,
            Exit::NotFound,
            "there is no BGP peer 10.0.0.9: this node has 10.0.0.1, 2001:db8:1::1, 10.0.0.2",
        ),
        (
            &["2001:db8:1::1"],
            here,
            Exit::Usage,
            "which address has the node towards 2001:db8:1::1? this host has none: say so with --node",
        ),
    ];
    for (peers, nodes, exit, words) in table {
        let refusal = plan(peers, nodes, false).expect_err(words);
        assert_eq!((refusal.exit(), refusal.message.as_str()), (exit, words));
    }
    let mut settings = settings(EXTERNAL);
    settings.services.clear();
    let wanted = Wanted {
        peers: self::peers(&["10.0.0.2"]),
        ..Wanted::default()
    };
    let refusal = Plan::new(&settings, &wanted).expect_err("nothing to announce");
    assert_eq!(refusal.exit(), Exit::Refused);
}
