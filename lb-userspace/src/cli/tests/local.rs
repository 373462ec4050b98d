use std::fs;

use super::super::args::Format;
use super::super::local;
use super::super::output::Style;
use crate::api::scratch::Scratch;
use crate::dataplane::layout;
use crate::status::Exit;

const TABLE: Style = Style {
    format: Format::Table,
    colour: false,
};
const JSON: Style = Style {
    format: Format::Json,
    colour: false,
};
/// A backend's file: it needs neither key nor interface.
const GOOD: &str = r#"version = 1

[node]
name = "b1"
interfaces = ["lo"]

[backend]
trusted_lbs = ["10.0.0.0/24"]
trusted_backends = ["10.1.0.0/24"]

[[service]]
name = "web-v4"
vip = "198.51.100.10"
protocol = "tcp"
ports = [80]
"#;

#[test]
fn version() {
    let version = env!("CARGO_PKG_VERSION");
    let commit = option_env!("ANYLB_COMMIT");
    let shown = commit.map_or_else(String::new, |commit| format!(" ({commit})"));
    let answer = local::version(TABLE).unwrap();
    let layout = layout::name();
    assert_eq!(
        answer.text,
        format!("anylb {version}{shown}\nmap ABI 1 ({layout}), tunnel header 1, flow hash 1\n")
    );
    let answer = local::version(JSON).unwrap();
    let json: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    let expected = serde_json::json!({
        "schema": "anylb/v1",
        "generation": 0,
        "version": version,
        "commit": commit,
        "map_abi": 1,
        "map_layout": layout,
        "tunnel": 1,
        "flow_hash": 1,
    });
    assert_eq!(json, expected);
}

#[test]
fn check_of_a_good_file_says_what_is_in_it() {
    let dir = Scratch::new();
    let file = dir.path().join("anylb.toml");
    fs::write(&file, GOOD).unwrap();
    let answer = local::check(&file, TABLE).unwrap();
    assert_eq!(
        answer.text,
        format!(
            "{}: ok\nbackend b1 on lo\n1 service, 1 VIP\n",
            file.display()
        )
    );
    assert_eq!(answer.exit, Exit::Ok);
    let answer = local::check(&file, JSON).unwrap();
    let json: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    let expected = serde_json::json!({
        "schema": "anylb/v1",
        "generation": 0,
        "file": file.display().to_string(),
        "errors": [],
        "summary": {
            "role": "backend",
            "node": "b1",
            "interfaces": ["lo"],
            "asn": null,
            "peers": 0,
            "pools": 0,
            "backends": 0,
            "services": 1,
            "vips": 1,
            "notes": [],
        },
    });
    assert_eq!(json, expected);
}

#[test]
fn check_of_a_bad_file_ends_with_3() {
    let dir = Scratch::new();
    let file = dir.path().join("anylb.toml");
    fs::write(&file, GOOD.replace("vip =", "vipp =")).unwrap();
    let error = local::check(&file, TABLE).unwrap_err();
    assert_eq!(error.exit, Exit::ConfigInvalid);
    let text = error.to_string();
    assert!(
        text.starts_with("error: "),
        "no prefix before a caret: {text}"
    );
    assert!(text.contains(&format!("{}:13:1", file.display())), "{text}");

    let answer = local::check(&file, JSON).unwrap();
    assert_eq!(answer.exit, Exit::ConfigInvalid);
    let json: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(json["schema"], "anylb/v1");
    assert_eq!(json["file"], file.display().to_string());
    assert_eq!(json["errors"][0]["line"], 13);
}

#[test]
fn check_of_a_file_that_is_not_there_ends_with_3() {
    let dir = Scratch::new();
    let file = dir.path().join("anylb.toml");
    let error = local::check(&file, TABLE).unwrap_err();
    assert_eq!(error.exit, Exit::ConfigInvalid);
    assert!(error.to_string().contains("cannot read"), "{error}");
}
