//! What a file leaves out, written down.

use super::{BACKEND, GOOD, read};
use crate::config::Effective;

const EVERY_KEY: &str = include_str!("every_key.toml");

fn effective(text: &str) -> Effective {
    let settings = read(text).unwrap_or_else(|errors| panic!("{}\n{text}", errors.render(false)));
    Effective::of(text, &settings)
}

#[test]
fn what_is_shown_means_the_same_and_leaves_nothing_out() {
    for (name, text) in [
        ("good", GOOD),
        ("backend", BACKEND),
        ("every key", EVERY_KEY),
    ] {
        let shown = effective(text).to_string();
        let again = read(&shown).unwrap_or_else(|e| panic!("{name}: {}\n{shown}", e.render(false)));
        assert_eq!(read(text).ok(), Some(again), "{name}:\n{shown}");
        let twice = effective(&shown).to_string();
        assert_eq!(twice, shown.replace("  # default", ""), "{name}");
    }
}

#[test]
fn defaults_that_would_be_refused_are_left_out() {
    for (right, other) in [
        ("asn = 65000", "asn = 65001"),
        ("protocol = \"tcp\"", "protocol = \"udp\""),
        ("mode = \"rows\"", "mode = \"stateless\""),
        (
            "encap = \"gue\"\nmode = \"rows\"",
            "encap = \"ipip\"\nmode = \"stateless\"",
        ),
        ("type = \"tcp\"", "type = \"http\""),
        ("type = \"tcp\"", "type = \"https\", verify = false"),
        ("ports = [443, 80]", "ports = \"any\""),
        ("ports = [443, 80]", "ports = [443, \"8000-8999\"]"),
        ("need = 1", "announce = { med = 10 }"),
    ] {
        let text = GOOD.replace(right, other);
        assert_ne!(text, GOOD, "{right}");
        let shown = effective(&text).to_string();
        let again =
            read(&shown).unwrap_or_else(|e| panic!("{other}: {}\n{shown}", e.render(false)));
        assert_eq!(read(&text).ok(), Some(again), "{other}:\n{shown}");
    }
}

/// With `BLESS=1` in the environment the file is written instead.
#[test]
fn a_backends_file() {
    let shown = effective(BACKEND).to_string();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/config/tests/effective.toml"
    );
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &shown).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(path).expect("the file is in the repository");
    assert_eq!(shown, expected, "run this test with BLESS=1");
}

#[test]
fn defaults_that_depend_on_other_keys_are_what_they_came_to() {
    let shown = effective(&GOOD.replace("need = 1\n", "")).to_string();
    assert!(shown.contains("\nneed = 1  # default\n"), "{shown}");
    let quick = GOOD
        .replace("interval = \"2s\"", "interval = \"500ms\"")
        .replace(", timeout = \"1s\"", "");
    assert_ne!(quick, GOOD);
    let shown = effective(&quick).to_string();
    assert!(shown.contains("timeout = \"500ms\""), "{shown}");
}

#[test]
fn secrets_stay_where_they_are() {
    let shown = effective(GOOD);
    let all = format!("{shown}{}", serde_json::to_string(&shown).expect("JSON"));
    assert!(all.contains("/etc/anylb/hash.key"), "{all}");
    for secret in ["000102030405060708090a0b0c0d0e0f", "secret"] {
        assert!(!all.contains(secret), "{all}");
    }
}

#[test]
fn as_json_with_null_for_what_cannot_be_written() {
    let json = serde_json::to_value(effective(GOOD)).expect("JSON");
    assert_eq!(json["node"]["linger"], "30s");
    assert_eq!(json["node"]["tunnel_source_v4"], serde_json::Value::Null);
    assert_eq!(json["bgp"]["peer"][0]["port"], 179);
    assert_eq!(json["pool"][0]["check"]["rise"], 2);
    assert_eq!(json["backend"], serde_json::Value::Null);
}
