//! A file to start from: every key with what it does, those that must be there with a value to be replaced, the others as comments.
//!
//! Made from the table of keys, so that it is never older than what reads it.

use super::json_schema::literal;
use super::schema::{
    BACKEND, BGP, CHECK, Key, MEMBER, METRICS, NODE, PEER, POOL, Presence, SERVICE, Section,
};

/// Width of a comment.
const COLUMNS: usize = 78;

/// What the file is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// An LB node.
    Lb {
        /// Where its hash key is, as it is written in the file.
        hash_key_file: String,
    },
    /// A backend.
    Backend,
}

/// The text of the file.
pub fn template(kind: &Template) -> String {
    let (what, sections): (&str, &[&Section]) = match kind {
        Template::Lb { .. } => (
            "an LB node",
            &[&NODE, &METRICS, &BGP, &PEER, &POOL, &MEMBER, &SERVICE],
        ),
        Template::Backend => ("a backend", &[&NODE, &METRICS, &BACKEND, &SERVICE]),
    };
    let mut out = comment(&format!(
        "The configuration of {what}. Addresses, names and the AS numbers are examples: put yours. Lines such as \
         `#key = value` show what holds without them. `anylb check FILE` tells what is wrong with the file."
    ));
    out.push('\n');
    out.push_str("version = 1\n");
    for section in sections {
        out.push('\n');
        out.push_str(&comment(section.about));
        out.push_str(section.header);
        out.push('\n');
        for key in section
            .built()
            .filter(|key| section.below(key).is_none() || key.values == "inline table")
        {
            out.push('\n');
            out.push_str(&comment(key.about));
            out.push_str(&setting(kind, section, key));
        }
    }
    out
}

/// The line of one key; `check` has its keys within.
fn setting(kind: &Template, section: &Section, key: &Key) -> String {
    let name = key.name;
    if let Some(value) = example(kind, section, name) {
        return format!("{name} = {value}\n");
    }
    match key.presence {
        Presence::Required(_) if name == "check" => check(),
        Presence::Required(example) => format!("{example}\n"),
        Presence::Default(default) if literal(default).is_some() => {
            format!("#{name} = {default}\n")
        }
        Presence::Default(words) => match section.below(key) {
            // Whose presence alone says something.
            Some(below) if below.path() == "bfd" => {
                comment(below.about) + &comment(&inline(name, below))
            }
            Some(below) => format!("{}#{}\n", comment(below.about), inline(name, below)),
            None => comment(&format!("{name}: {words}")),
        },
        Presence::Reserved => String::new(),
    }
}

/// What is written although it need not be, or otherwise than the reference has it.
fn example(kind: &Template, section: &Section, key: &str) -> Option<String> {
    let text = |text: &str| Some(format!("{text:?}"));
    match (kind, section.path(), key) {
        (Template::Lb { .. }, "node", "router_id") => text("10.0.0.11"),
        (Template::Lb { hash_key_file }, "node", "hash_key_file") => text(hash_key_file),
        (Template::Lb { .. }, "bgp.peer", "address") => text("10.0.0.1"),
        (Template::Lb { .. }, "service", "pool") => text("web"),
        (Template::Backend, "node", "name") => text("web1"),
        _ => None,
    }
}

/// An inline table with what holds for keys that are left out of it.
fn inline(name: &str, below: &Section) -> String {
    let defaults = below.built().filter_map(|key| match key.presence {
        Presence::Default(default) => {
            literal(default).map(|default| format!("{} = {default}", key.name))
        }
        Presence::Required(_) | Presence::Reserved => None,
    });
    let defaults: Vec<String> = defaults.collect();
    format!("{name} = {{ {} }}", defaults.join(", "))
}

/// The keys that every type of check has.
fn check() -> String {
    const SHOWN: [&str; 3] = ["interval", "rise", "fall"];
    let keys = CHECK.built().filter_map(|key| match key.presence {
        Presence::Required(example) => Some(example.to_owned()),
        Presence::Default(default) => {
            let shown = SHOWN.contains(&key.name);
            shown.then(|| format!("{} = {default}", key.name))
        }
        Presence::Reserved => None,
    });
    format!("check = {{ {} }}\n", keys.collect::<Vec<_>>().join(", "))
}

/// `text` as lines that begin with `# `.
fn comment(text: &str) -> String {
    let mut out = String::new();
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > COLUMNS {
            out.push_str(&line);
            out.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    out + &line + "\n"
}
