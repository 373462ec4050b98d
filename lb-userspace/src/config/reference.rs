//! The reference documentation of the configuration, written from the table of keys.

use std::fmt::Write;

use super::schema::{Key, Presence, SECTIONS, Section};

/// `docs/configuration.md`.
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    for section in SECTIONS {
        out.push_str(&chapter(section));
    }
    out
}

const INTRODUCTION: &str = "\
# Configuration

One TOML file says everything: `anylb run -c FILE` on an LB node, `anylb backend run -c FILE` on a backend. `anylb check FILE`
tells what is wrong with one, all of it at once, each error with its place and, where there is one, the fix; it ends with 0
or 3, and `--json` has the same for programs.

Unknown keys are errors. Names marked *reserved* belong to a later version: this one says so and refuses them, rather than run
without what they ask for. A duration is a whole number with `ms`, `s`, `m`, `h` or `d`, in quotes. Relative paths start at
the directory of the file. A name has 1 to 64 letters, digits, `.`, `_` and `-`.

This text is made from the table of keys that the program itself reads.
";

fn chapter(section: &Section) -> String {
    let mut out = match section.header {
        "" => "\n## The file\n".to_owned(),
        header => format!("\n## `{header}`\n"),
    };
    // Writing to a string cannot fail.
    let _ = write!(out, "\n{}\n\n", section.about);
    out.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in section.built() {
        out.push_str(&row(key));
    }
    let reserved = reserved(section);
    if !reserved.is_empty() {
        let _ = write!(out, "\nReserved: {}.\n", reserved.join(", "));
    }
    out
}

fn row(key: &Key) -> String {
    let default = match key.presence {
        Presence::Required(example) => format!("required: `{example}`"),
        Presence::Default(default) => default.to_owned(),
        Presence::Reserved => String::new(),
    };
    format!(
        "| `{}` | {} | {} | {} |\n",
        key.name, key.values, default, key.about
    )
}

fn reserved(section: &Section) -> Vec<String> {
    let mut reserved = Vec::new();
    for key in section.keys {
        if key.presence == Presence::Reserved {
            reserved.push(format!("`{}`", key.name));
        }
        let values = key.reserved.iter();
        reserved.extend(values.map(|value| format!("`{} = \"{value}\"`", key.name)));
    }
    reserved
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `BLESS=1` in the environment the file is written instead.
    #[test]
    fn the_document_is_in_step_with_the_keys() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, markdown()).expect("the document can be written");
        }
        let document = std::fs::read_to_string(path).expect("the document is in the repository");
        assert_eq!(document, markdown(), "run this test with BLESS=1");
    }

    #[test]
    fn no_word_breaks_its_table() {
        for key in SECTIONS.iter().flat_map(|section| section.keys) {
            for text in [key.values, key.about] {
                assert!(!text.contains(['|', '\n']), "{}", key.name);
            }
            assert!(!key.about.is_empty(), "{}", key.name);
        }
    }
}
