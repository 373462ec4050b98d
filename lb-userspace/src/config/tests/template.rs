//! The file to start from.

use super::read;
use crate::config::{Template, template};
use crate::model::Settings;

fn lb() -> String {
    template(&Template::Lb {
        hash_key_file: "/etc/anylb/hash.key".into(),
    })
}

fn settings(text: &str) -> Settings {
    read(text).unwrap_or_else(|errors| panic!("{}\n{text}", errors.render(false)))
}

/// With every setting that is a comment in force.
fn uncommented(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => setting,
        _ => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn it_is_valid_as_it_is() {
    let lb = settings(&lb());
    assert_eq!((lb.pools.len(), lb.services.len()), (1, 1));
    assert_eq!(lb.bgp.map(|bgp| bgp.peers.len()), Some(1));
    assert!(lb.node.hash_key.is_some() && lb.backend.is_none());
    let backend = settings(&template(&Template::Backend));
    assert!(backend.backend.is_some() && backend.pools.is_empty());
}

#[test]
fn what_is_a_comment_is_what_holds_without_it() {
    for text in [lb(), template(&Template::Backend)] {
        let all = uncommented(&text);
        assert_ne!(all, text);
        assert_eq!(settings(&all), settings(&text));
    }
}

#[test]
fn every_key_of_its_sections_is_explained() {
    let text = lb();
    for word in [
        "drain_wait",
        "ttl_security",
        "weight",
        "need",
        "hops",
        "next_hop_v6",
        "announce = { communities",
    ] {
        assert!(text.contains(word), "{word}");
    }
    for line in text.lines().filter(|line| !line.starts_with("check")) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn a_path_with_quotes_is_written_so_that_it_is_read() {
    let odd = "/etc/any\"lb\\/hash.key";
    let text = template(&Template::Lb {
        hash_key_file: odd.into(),
    });
    let table: toml::Table = toml::from_str(&text).expect("TOML");
    assert_eq!(table["node"]["hash_key_file"].as_str(), Some(odd));
}
