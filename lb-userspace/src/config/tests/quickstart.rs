//! `docs/quickstart.md`: its files are read, fit together, and fit `docs/routers.md`.

use std::net::IpAddr;
use std::path::Path;

use super::host;
use crate::config::host::FakeHost;
use crate::config::parse;
use crate::model::Settings;

const DOCUMENT: &str = include_str!("../../../../docs/quickstart.md");
const ROUTERS: &str = include_str!("../../../../docs/routers.md");

/// The blocks of TOML of a document.
fn blocks(document: &'static str) -> Vec<&'static str> {
    let parts = document.split("```toml\n").skip(1);
    let block = |part: &'static str| part.split_once("```").expect("an end of the block").0;
    parts.map(block).collect()
}

/// The node's file, the backend's, the backend that is added, and what makes a node both: all that there are.
fn files() -> [&'static str; 4] {
    let found = blocks(DOCUMENT);
    found.try_into().expect("four blocks")
}

fn site() -> FakeHost {
    host()
        .file("/etc/anylb/r1.key", 0o600, "correct-horse-1\n")
        .file("/etc/anylb/r2.key", 0o600, "correct-horse-2\n")
}

fn read(text: &str) -> Settings {
    let path = Path::new("/etc/anylb/anylb.toml");
    parse(text, path, &site()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The second node's, by the document's own words.
fn second(node: &str) -> String {
    let line = r#"sed -e 's/"lb1"/"lb2"/' -e 's/10\.0\.1\./10.0.2./' anylb.toml"#;
    assert!(DOCUMENT.contains(line));
    let changed = node.lines().map(|line| {
        line.replacen("\"lb1\"", "\"lb2\"", 1)
            .replacen("10.0.1.", "10.0.2.", 1)
    });
    changed.collect::<Vec<_>>().join("\n")
}

#[test]
fn both_nodes_spread_the_same_services_over_the_same_pool() {
    let [node, ..] = files();
    let (first, second) = (read(node), read(&second(node)));
    assert_eq!(first.pools, second.pools);
    assert_eq!(first.services, second.services);
    assert_eq!(first.services.len(), 2);
    assert_eq!((&*first.node.name, &*second.node.name), ("lb1", "lb2"));
    assert_ne!(first.node.router_id, second.node.router_id);
}

#[test]
fn backends_have_the_services_and_trust_whom_the_site_has() {
    let [node, backend, ..] = files();
    let role = read(backend);
    let names = |settings: &Settings| -> Vec<_> {
        let services = settings.services.iter();
        services
            .map(|of| (of.name.clone(), of.vip, of.protocol, of.ports.clone()))
            .collect()
    };
    assert_eq!(names(&role), names(&read(node)));
    let trust = role.backend.expect("a backend's file");
    for settings in [read(node), read(&second(node))] {
        let id = IpAddr::from(settings.node.router_id.expect("a node's file"));
        assert!(trust.trusted_lbs.iter().any(|net| net.contains(&id)));
        for backend in settings.pools.values().flat_map(|pool| &pool.backends) {
            let mut trusted = trust.trusted_backends.iter();
            assert!(trusted.any(|net| net.contains(&backend.address)));
        }
    }
}

#[test]
fn a_backend_more_is_a_backend_more() {
    let [node, _, added, _] = files();
    let more = node.replacen("[[service]]", &format!("{added}\n[[service]]"), 1);
    let count = |settings: Settings| {
        settings
            .pools
            .values()
            .map(|pool| pool.backends.len())
            .sum()
    };
    let (before, after): (usize, usize) = (count(read(node)), count(read(&more)));
    assert_eq!((before, after), (3, 4));
}

#[test]
fn a_node_with_a_backends_section_is_both() {
    let [node, _, _, both] = files();
    let settings = read(&node.replacen("[[pool]]", &format!("{both}\n[[pool]]"), 1));
    let summary = crate::config::Summary::of(&settings);
    assert_eq!((summary.role, summary.backends), ("combined", 3));
}

/// Those are tried with real daemons.
#[test]
fn the_sessions_are_those_of_the_routers() {
    let [node, ..] = files();
    let bare = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.split('#').next());
        let lines = lines.map(|line| line.unwrap_or_default().trim().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    };
    let [told] = blocks(ROUTERS).try_into().expect("one block");
    let (node, told) = (bare(node).join("\n"), bare(told).join("\n"));
    assert!(node.contains(&told), "no\n{told}\nin\n{node}");
}
