//! The configuration that is in force with a file: what it says, and what holds where it says nothing.
//!
//! Written again as a file, in the order of the reference. Secrets are in files of their own, of which only the paths are here.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use toml::{Table, Value};

use super::bgp::NAMES;
use super::json_schema::literal;
use super::schema::{FILE, Key, Presence, Section};
use super::value::in_words;
use crate::model::{Need, Settings, UdpFlows};

/// A file with everything that it leaves out; displayed, it is a file with the same meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    root: Filled,
}

/// A table of the file.
#[derive(Clone, Debug, PartialEq)]
struct Filled {
    section: &'static str,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    key: &'static str,
    content: Content,
}

#[derive(Clone, Debug, PartialEq)]
enum Content {
    /// As the file has it.
    Written(Value),
    /// Left out: this holds.
    Default(Value),
    /// Left out, and what holds cannot be written.
    Words(&'static str),
    /// `[a]`.
    Table(Filled),
    /// `[[a]]`.
    Tables(Vec<Filled>),
    /// `a = { }`.
    Inline(Filled),
}

/// What defaults depend on: other keys of the checked file.
struct Context<'a> {
    settings: &'a Settings,
    /// Name of the pool, or of the service, that is being filled.
    name: Option<String>,
}

impl Effective {
    /// From the `text` of a file and the `settings` that it was checked to be.
    pub fn of(text: &str, settings: &Settings) -> Self {
        // A text that became settings is a table.
        let table: Table = toml::from_str(text).unwrap_or_default();
        let context = Context {
            settings,
            name: None,
        };
        Self {
            root: fill(&FILE, &table, &context),
        }
    }
}

fn fill(section: &'static Section, table: &Table, context: &Context<'_>) -> Filled {
    let name = table.get("name").and_then(Value::as_str).map(str::to_owned);
    let context = Context {
        settings: context.settings,
        name: name.or_else(|| context.name.clone()),
    };
    let entries = section.built().filter_map(|key| {
        let content = content(section, key, table, &context)?;
        Some(Entry {
            key: key.name,
            content,
        })
    });
    Filled {
        section: section.header,
        entries: entries.collect(),
    }
}

fn content(
    section: &'static Section,
    key: &Key,
    table: &Table,
    context: &Context<'_>,
) -> Option<Content> {
    let written = table.get(key.name);
    if let (Some(below), Some(written)) = (section.below(key), written) {
        return Some(match written {
            Value::Table(table) if key.values == "inline table" => {
                Content::Inline(fill(below, table, context))
            }
            Value::Table(table) => Content::Table(fill(below, table, context)),
            Value::Array(list) => {
                let tables = list.iter().filter_map(Value::as_table);
                Content::Tables(tables.map(|table| fill(below, table, context)).collect())
            }
            // A checked file has nothing else there.
            other => Content::Written(other.clone()),
        });
    }
    if let Some(written) = written {
        return Some(Content::Written(written.clone()));
    }
    match key.presence {
        Presence::Default(_) if !applies(section, key, table, context) => None,
        Presence::Default(words) => Some(
            derived(section, key, context)
                .or_else(|| literal(words))
                .map_or(Content::Words(words), Content::Default),
        ),
        // One is never left out of a checked file, the other never in it.
        Presence::Required(_) | Presence::Reserved => None,
    }
}

/// Whether a key has a meaning in this table: some are of one type of check, one protocol, one mode or other ASes only, and
/// refused where they have none.
fn applies(section: &Section, key: &Key, table: &Table, context: &Context<'_>) -> bool {
    let is = |name: &str, wanted: &[&str]| {
        table
            .get(name)
            .and_then(Value::as_str)
            .is_some_and(|value| wanted.contains(&value))
    };
    match (section.path(), key.name) {
        ("check", _) => match key.about.split_once(": ") {
            // "`http`, `https`: path of the request."
            Some((types, _)) if key.name != "type" && types.starts_with('`') => {
                let types: Vec<&str> = types
                    .split(", ")
                    .map(|kind| kind.trim_matches('`'))
                    .collect();
                is("type", &types)
            }
            _ => true,
        },
        ("service", "udp") => is("protocol", &["udp"]),
        ("service", "udp_timeout") => {
            let mut services = context.settings.services.iter();
            let name = context.name.as_deref();
            let service = services.find(|service| Some(service.name.as_str()) == name);
            service.is_some_and(|service| service.udp == UdpFlows::FlowTable)
        }
        ("bfd", "min_ttl") => table.get("multihop").and_then(Value::as_bool) == Some(true),
        ("pool", "hops") => !is("mode", &["stateless", "flow-table"]),
        ("bgp.peer", "max_peers") => table.contains_key("range"),
        ("bgp.peer", "port" | "passive" | "bfd") => !table.contains_key("range"),
        ("bgp.peer", key) if NAMES.contains(&key) => {
            let mut names = NAMES.into_iter();
            !names.any(|name| name != key && table.contains_key(name))
        }
        ("bgp.peer", "med" | "prepend") => {
            let ours = context.settings.bgp.as_ref().map(|bgp| bgp.asn);
            let theirs = table.get("asn").and_then(Value::as_integer);
            theirs != ours.map(i64::from)
        }
        _ => true,
    }
}

/// Defaults that depend on other keys, from what was made of them.
fn derived(section: &Section, key: &Key, context: &Context<'_>) -> Option<Value> {
    let name = context.name.as_deref()?;
    match (section.path(), key.name) {
        ("check", "timeout") => {
            let mut pools = context.settings.pools.values();
            let pool = pools.find(|pool| pool.name.0 == name)?;
            Some(Value::String(in_words(pool.check.timeout)))
        }
        ("service", "fragments") => {
            let mut services = context.settings.services.iter();
            let service = services.find(|service| service.name == name)?;
            Some(Value::Boolean(service.fragments))
        }
        ("service", "udp") => {
            let mut services = context.settings.services.iter();
            let service = services.find(|service| service.name == name)?;
            Some(Value::String(service.udp.as_str().to_owned()))
        }
        ("service", "udp_timeout") => {
            let mut services = context.settings.services.iter();
            let service = services.find(|service| service.name == name)?;
            Some(Value::String(in_words(service.udp_timeout)))
        }
        ("service", "need") => {
            let mut services = context.settings.services.iter();
            let service = services.find(|service| service.name == name)?;
            service.pool.as_ref()?;
            Some(match service.need {
                Need::Count(count) => Value::Integer(i64::from(count)),
                Need::Percent(percent) => Value::String(format!("{percent}%")),
            })
        }
        _ => None,
    }
}

impl std::fmt::Display for Effective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&lines(&self.root))
    }
}

/// Plain values first: behind a header they would belong to its table.
fn lines(table: &Filled) -> String {
    let mut out = String::new();
    let mut below = String::new();
    for Entry { key, content } in &table.entries {
        // Writing to a string cannot fail, here and below.
        let _ = match content {
            Content::Written(value) => writeln!(out, "{key} = {value}"),
            Content::Default(value) => writeln!(out, "{key} = {value}  # default"),
            Content::Words(words) => writeln!(out, "# {key}: {words}"),
            Content::Inline(table) => writeln!(out, "{key} = {{ {} }}", inline(table)),
            Content::Table(table) => write!(below, "\n{}\n{}", table.section, lines(table)),
            Content::Tables(tables) => tables
                .iter()
                .try_for_each(|table| write!(below, "\n{}\n{}", table.section, lines(table))),
        };
    }
    out + &below
}

/// No comment has room here: what cannot be written is left out.
fn inline(table: &Filled) -> String {
    let pairs = table
        .entries
        .iter()
        .filter_map(|entry| match &entry.content {
            Content::Written(value) | Content::Default(value) => {
                Some(format!("{} = {value}", entry.key))
            }
            Content::Inline(table) | Content::Table(table) => {
                Some(format!("{} = {{ {} }}", entry.key, inline(table)))
            }
            Content::Words(_) | Content::Tables(_) => None,
        });
    pairs.collect::<Vec<_>>().join(", ")
}

impl Serialize for Effective {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json_of(&self.root).serialize(serializer)
    }
}

/// What cannot be written is null.
fn json_of(table: &Filled) -> Json {
    let value = |content: &Content| match content {
        Content::Written(value) | Content::Default(value) => json!(value),
        Content::Words(_) => Json::Null,
        Content::Table(table) | Content::Inline(table) => json_of(table),
        Content::Tables(tables) => tables.iter().map(json_of).collect(),
    };
    let entries = table.entries.iter();
    let object: Map<String, Json> = entries
        .map(|entry| (entry.key.to_owned(), value(&entry.content)))
        .collect();
    Json::Object(object)
}
