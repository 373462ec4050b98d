//! The JSON Schema (2020-12) of the file, from the table of keys: for editors, and for programs that write such files.
//!
//! The words behind [`Key::values`] are its types: a small vocabulary, see [`of_words`]. What the words leave to prose
//! (a timeout no longer than its interval, a pool that exists) a schema cannot say; `anylb check` can.

use serde_json::{Map, Value, json};

use super::schema::{FILE, Key, Presence, SECTIONS, Section};
use crate::bgp::Community;

/// The schema of the whole file, as a document of its own.
pub fn json_schema() -> Value {
    let mut root = object(&FILE);
    root.insert(
        "$schema".into(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    root.insert("title".into(), json!("anylb configuration"));
    let sections = SECTIONS.iter().filter(|section| !section.header.is_empty());
    let definitions: Map<String, Value> = sections
        .map(|section| (section.path().to_owned(), Value::Object(object(section))))
        .collect();
    root.insert("$defs".into(), Value::Object(definitions));
    Value::Object(root)
}

fn object(section: &Section) -> Map<String, Value> {
    let keys = section.keys.iter();
    let properties: Map<String, Value> = keys
        .map(|key| (key.name.to_owned(), property(section, key)))
        .collect();
    let required: Vec<&str> = section
        .keys
        .iter()
        .filter(|key| matches!(key.presence, Presence::Required(_)))
        .map(|key| key.name)
        .collect();
    let object = json!({
        "description": section.about,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    match object {
        Value::Object(object) => object,
        // The literal above is one.
        _ => Map::new(),
    }
}

fn property(section: &Section, key: &Key) -> Value {
    if key.presence == Presence::Reserved {
        return json!({
            "description": format!("{} Reserved: not supported in this version.", key.about),
            "not": {},
        });
    }
    let type_of = match section.below(key) {
        Some(below) => reference(key.values, below),
        None => of_words(key.values).unwrap_or_default(),
    };
    let mut property = match type_of {
        Value::Object(property) => property,
        _ => Map::new(),
    };
    property.insert("description".into(), json!(description(key)));
    if let Presence::Default(written) = key.presence
        && let Some(default) = literal(written)
    {
        property.insert("default".into(), json!(default));
    }
    Value::Object(property)
}

fn reference(values: &str, below: &Section) -> Value {
    let reference = json!({ "$ref": format!("#/$defs/{}", below.path()) });
    match values {
        "tables" => json!({ "type": "array", "items": reference }),
        _ => reference,
    }
}

fn description(key: &Key) -> String {
    let mut text = key.about.to_owned();
    if let Presence::Default(words) = key.presence
        && literal(words).is_none()
    {
        text.push_str(&format!(" Default: {words}."));
    }
    if !key.reserved.is_empty() {
        let reserved: Vec<String> = key
            .reserved
            .iter()
            .map(|value| format!("{value:?}"))
            .collect();
        text.push_str(&format!(
            " Reserved, not supported in this version: {}.",
            reserved.join(", ")
        ));
    }
    text
}

/// What is written behind a key, where it can be written so; none for words.
pub(super) fn literal(written: &str) -> Option<toml::Value> {
    let line: toml::Table = toml::from_str(&format!("value = {written}")).ok()?;
    line.get("value").cloned()
}

/// The type that words mean: a phrase, a list of it, or alternatives of these and of what may be written literally.
fn of_words(words: &str) -> Option<Value> {
    if let Some(known) = phrase(words) {
        return Some(known);
    }
    if let Some((types, last)) = words.rsplit_once(", or ") {
        let one = of_words(types)?;
        let other = match last {
            "a list of them" => json!({ "type": "array", "items": one }),
            other => of_words(other)?,
        };
        return Some(json!({ "anyOf": [one, other] }));
    }
    if let Some(items) = words.strip_prefix("list of ") {
        let item = of_words(&singular(items)).or_else(|| of_words(items))?;
        return Some(json!({ "type": "array", "items": item }));
    }
    let parts = alternatives(words);
    if parts.len() < 2 {
        return None;
    }
    let types: Vec<Value> = parts
        .iter()
        .map(|part| of_words(part))
        .collect::<Option<_>>()?;
    let constants: Option<Vec<&Value>> = types.iter().map(|one| one.get("const")).collect();
    Some(match constants {
        Some(constants) => json!({ "enum": constants }),
        None => json!({ "anyOf": types }),
    })
}

/// `A or B`, `A, B or C`.
fn alternatives(words: &str) -> Vec<&str> {
    words
        .split(" or ")
        .flat_map(|part| part.split(", "))
        .collect()
}

/// `ports`, `addresses and ports`, `prefixes`: one of them.
fn singular(words: &str) -> String {
    let one = |word: &str| match word {
        "addresses" => "address".to_owned(),
        "prefixes" => "prefix".to_owned(),
        other => other.strip_suffix('s').unwrap_or(other).to_owned(),
    };
    words.split(' ').map(one).collect::<Vec<_>>().join(" ")
}

fn phrase(words: &str) -> Option<Value> {
    const ANY_NAME: &str = "^[A-Za-z0-9._-]{1,64}$";
    Some(match words {
        "name" | "name of a pool" | "name of service" => {
            json!({ "type": "string", "pattern": ANY_NAME })
        }
        "a well-known name" => {
            let names = Community::WELL_KNOWN.iter().map(|(name, _)| *name);
            json!({ "enum": names.collect::<Vec<_>>() })
        }
        "a name" | "name or address" => json!({ "type": "string", "minLength": 1 }),
        "path" => json!({ "type": "string", "minLength": 1 }),
        "interface name" => json!({ "type": "string", "minLength": 1, "maxLength": 15 }),
        "address" | "address of peer" => {
            json!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
        }
        "{ file = path }" => json!({
            "type": "object",
            "properties": { "file": { "type": "string", "minLength": 1 } },
            "required": ["file"],
            "additionalProperties": false,
        }),
        "IPv4 address" => json!({ "type": "string", "format": "ipv4" }),
        "IPv6 address" => json!({ "type": "string", "format": "ipv6" }),
        "address and port" => json!({ "type": "string", "pattern": "^.+:[0-9]{1,5}$" }),
        "prefix" => json!({ "type": "string", "pattern": "^[0-9A-Fa-f.:]+/[0-9]{1,3}$" }),
        "\"asn:value\"" => json!({ "type": "string", "pattern": "^[0-9]{1,5}:[0-9]{1,5}$" }),
        "\"asn:value:value\"" => {
            json!({ "type": "string", "pattern": "^[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}$" })
        }
        "port and range" => json!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": u16::MAX },
            { "type": "string", "pattern": "^[0-9]{1,5}-[0-9]{1,5}$" },
        ] }),
        "\"2xx\" to \"5xx\"" => json!({ "type": "string", "pattern": "^[2-5]xx$" }),
        "AS number" => json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX }),
        "port" => json!({ "type": "integer", "minimum": 1, "maximum": u16::MAX }),
        "bandwidth" => json!({ "type": "string", "pattern": "^[0-9]+[KMGT]$" }),
        "true or false" => json!({ "type": "boolean" }),
        "\"1%\" to \"100%\"" => json!({ "type": "string", "pattern": "^([1-9][0-9]?|100)%$" }),
        "number from 1" => json!({ "type": "integer", "minimum": 1 }),
        _ if words.starts_with("duration") => {
            json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
        }
        _ if words.starts_with("host") || words.starts_with("text") => json!({ "type": "string" }),
        _ => return constant(words).or_else(|| range(words)),
    })
}

/// `"auto"`, `1`.
fn constant(words: &str) -> Option<Value> {
    match literal(words)? {
        value @ (toml::Value::String(_) | toml::Value::Integer(_)) => {
            Some(json!({ "const": value }))
        }
        _ => None,
    }
}

/// `1 to 4`.
fn range(words: &str) -> Option<Value> {
    let (least, most) = words.split_once(" to ")?;
    let (least, most): (u64, u64) = (least.parse().ok()?, most.parse().ok()?);
    Some(json!({ "type": "integer", "minimum": least, "maximum": most }))
}

#[cfg(test)]
mod tests;
