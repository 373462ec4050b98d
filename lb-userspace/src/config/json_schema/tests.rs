use serde_json::{Value, json};

use super::*;

#[test]
fn the_words_of_every_key_are_in_the_vocabulary() {
    for section in SECTIONS {
        for key in section.built() {
            let known = section.below(key).is_some() || of_words(key.values).is_some();
            assert!(known, "{} {}: {}", section.header, key.name, key.values);
        }
    }
}

#[test]
fn every_section_is_referred_to() {
    let text = json_schema().to_string();
    for section in SECTIONS.iter().filter(|section| !section.header.is_empty()) {
        let reference = format!("\"#/$defs/{}\"", section.path());
        assert!(text.contains(&reference), "{reference}");
    }
}

#[test]
fn words_and_their_types() {
    for (words, expected) in [
        (
            "1 to 4",
            json!({ "type": "integer", "minimum": 1, "maximum": 4 }),
        ),
        ("\"gue\"", json!({ "const": "gue" })),
        (
            "\"auto\" or \"native\"",
            json!({ "enum": ["auto", "native"] }),
        ),
        ("\"a\", \"b\" or \"c\"", json!({ "enum": ["a", "b", "c"] })),
        (
            "\"off\" or 536 to 65495",
            json!({ "anyOf": [{ "const": "off" }, { "type": "integer", "minimum": 536, "maximum": 65495 }] }),
        ),
        (
            "list of ports",
            json!({ "type": "array", "items": { "type": "integer", "minimum": 1, "maximum": 65535 } }),
        ),
        ("true or false", json!({ "type": "boolean" })),
        (
            "1 to 4, \"a\", or a list of them",
            json!({ "anyOf": [
                { "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 4 }, { "const": "a" }] },
                { "type": "array", "items":
                    { "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 4 }, { "const": "a" }] } },
            ] }),
        ),
    ] {
        assert_eq!(of_words(words), Some(expected), "{words}");
    }
    for words in [
        "",
        "something else",
        "\"a\" or something else",
        "list of things",
    ] {
        assert_eq!(of_words(words), None, "{words}");
    }
}

#[test]
fn reserved_keys_and_values_are_described_and_refused() {
    let schema = json_schema();
    let mtu = &schema["$defs"]["pool"]["properties"]["mtu"];
    assert_eq!(mtu["not"], json!({}));
    let about = mtu["description"].as_str().unwrap_or_default();
    assert!(
        about.ends_with("Reserved: not supported in this version."),
        "{about}"
    );
    let protocol = &schema["$defs"]["service"]["properties"]["protocol"];
    let about = protocol["description"].as_str().unwrap_or_default();
    assert!(
        about.ends_with("Reserved, not supported in this version: \"quic\"."),
        "{about}"
    );
}

#[test]
fn defaults_are_values_where_they_can_be_written_and_words_elsewhere() {
    let schema = json_schema();
    let bgp = &schema["$defs"]["bgp"]["properties"];
    assert_eq!(bgp["hold_time"]["default"], "9s");
    assert_eq!(bgp["communities"]["default"], json!([]));
    let peer = &schema["$defs"]["bgp.peer"]["properties"];
    assert_eq!(peer["port"]["default"], 179);
    assert_eq!(peer["password_file"].get("default"), None);
    let about = peer["password_file"]["description"]
        .as_str()
        .unwrap_or_default();
    assert!(about.ends_with("Default: no password."), "{about}");
}

/// The files that the reader takes, the schema takes; those that it refuses for a single value, the schema refuses.
#[test]
fn the_schema_agrees_with_the_reader() {
    let good = include_str!("../tests/every_key.toml");
    assert_eq!(errors(good), Vec::<String>::new());
    assert_eq!(
        errors(include_str!("../tests/good.toml")),
        Vec::<String>::new()
    );
    assert_eq!(
        errors(include_str!("../tests/backend.toml")),
        Vec::<String>::new()
    );
    for (right, wrong) in [
        ("version = 1", "version = 2"),
        ("router_id = \"255.255.255.255\"", "router_id = 7"),
        ("xdp_mode = \"native\"", "xdp_mode = \"skb\""),
        ("drain_wait = \"0s\"", "drain_wait = \"0\""),
        ("asn = 4200000000", "asn = 0"),
        ("\"0:65535\"", "\"all\""),
        ("ttl_security = 254", "ttl_security = 255"),
        ("passive = true", "passive = \"true\""),
        ("hops = 1", "hops = 5"),
        ("fall = 100", "fall = 101"),
        ("type = \"tcp\", ", ""),
        ("need = \"50%\"", "need = \"101%\""),
        ("ports = [443]", "ports = 443"),
        ("ports = [443]", "ports = [0]"),
        ("below_need = \"last-resort\"", "below_need = \"never\""),
        ("hold_up = \"0s\"", "hold_up = 10"),
        ("below_need = \"last-resort\"", "below_neeed = \"withdraw\""),
        ("weight = 1000", "weight = 1000\nserver_id = \"a\""),
    ] {
        assert!(good.contains(right), "{right}");
        assert_ne!(
            errors(&good.replacen(right, wrong, 1)),
            Vec::<String>::new(),
            "{wrong}"
        );
    }
}

fn errors(text: &str) -> Vec<String> {
    let file: toml::Table = toml::from_str(text).expect("TOML");
    let root = json_schema();
    let mut errors = Vec::new();
    check(&root, &root, &json!(file), "", &mut errors);
    errors
}

/// As much of a validator as the schema needs; a word that it does not know is an error.
fn check(root: &Value, schema: &Value, value: &Value, place: &str, errors: &mut Vec<String>) {
    for (word, wanted) in schema.as_object().expect("an object") {
        let fits = match word.as_str() {
            "description" | "default" | "title" | "$schema" | "$defs" | "format" => true,
            "additionalProperties" | "not" => true,
            "$ref" => {
                let pointer = wanted
                    .as_str()
                    .expect("a reference")
                    .trim_start_matches('#');
                let target = root.pointer(pointer).expect("a definition");
                check(root, target, value, place, errors);
                true
            }
            "type" => match wanted.as_str().expect("a type") {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_u64() || value.is_i64(),
                "boolean" => value.is_boolean(),
                other => panic!("type {other}"),
            },
            "const" => value == wanted,
            "enum" => wanted.as_array().expect("a list").contains(value),
            "minimum" => value
                .as_u64()
                .is_none_or(|n| n >= wanted.as_u64().expect("a number")),
            "maximum" => value
                .as_u64()
                .is_none_or(|n| n <= wanted.as_u64().expect("a number")),
            "minLength" => value
                .as_str()
                .is_none_or(|s| s.len() as u64 >= wanted.as_u64().expect("a number")),
            "maxLength" => value
                .as_str()
                .is_none_or(|s| s.len() as u64 <= wanted.as_u64().expect("a number")),
            "minItems" => value
                .as_array()
                .is_none_or(|l| l.len() as u64 >= wanted.as_u64().expect("a number")),
            "maxItems" => value
                .as_array()
                .is_none_or(|l| l.len() as u64 <= wanted.as_u64().expect("a number")),
            "pattern" => value
                .as_str()
                .is_none_or(|text| matches(wanted.as_str().expect("a pattern"), text)),
            "anyOf" => wanted.as_array().expect("a list").iter().any(|one| {
                let mut below = Vec::new();
                check(root, one, value, place, &mut below);
                below.is_empty()
            }),
            "items" => {
                for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, wanted, item, &format!("{place}/{at}"), errors);
                }
                true
            }
            "required" => wanted
                .as_array()
                .expect("a list")
                .iter()
                .all(|key| value.get(key.as_str().expect("a name")).is_some()),
            "properties" => {
                for (name, item) in value.as_object().into_iter().flatten() {
                    let below = format!("{place}/{name}");
                    match wanted.get(name) {
                        Some(property) if property.get("not").is_none() => {
                            check(root, property, item, &below, errors);
                        }
                        _ => errors.push(format!("{below}: no such key")),
                    }
                }
                true
            }
            other => panic!("a word that this validator does not know: {other}"),
        };
        if !fits {
            errors.push(format!("{place}: {value} against {word} {wanted}"));
        }
    }
}

/// The patterns of the vocabulary, by hand.
fn matches(pattern: &str, text: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match pattern {
        "^[A-Za-z0-9._-]{1,64}$" => {
            (1..=64).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        }
        "^.+:[0-9]{1,5}$" => text.rsplit_once(':').is_some_and(|(_, port)| number(port)),
        "^[0-9A-Fa-f.:]+/[0-9]{1,3}$" => text
            .split_once('/')
            .is_some_and(|(_, length)| number(length)),
        "^[0-9]{1,5}-[0-9]{1,5}$" => text
            .split_once('-')
            .is_some_and(|(a, b)| number(a) && number(b)),
        "^[0-9]{1,5}:[0-9]{1,5}$" => text
            .split_once(':')
            .is_some_and(|(a, b)| number(a) && number(b)),
        "^[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}$" => {
            text.split(':').count() == 3 && text.split(':').all(number)
        }
        "^[2-5]xx$" => ["2xx", "3xx", "4xx", "5xx"].contains(&text),
        "^([1-9][0-9]?|100)%$" => text
            .strip_suffix('%')
            .and_then(|digits| digits.parse::<u8>().ok())
            .is_some_and(|percent| (1..=100).contains(&percent)),
        "^[0-9]+(ms|s|m|h|d)$" => {
            let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
            unit.len() < text.len() && ["ms", "s", "m", "h", "d"].contains(&unit)
        }
        "^[0-9]+[KMGT]$" => text.strip_suffix(['K', 'M', 'G', 'T']).is_some_and(number),
        other => panic!("a pattern that this validator does not know: {other}"),
    }
}
