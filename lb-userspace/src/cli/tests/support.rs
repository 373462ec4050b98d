use std::fs;

use clap::{CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;

use super::super::args::{Cli, Format};
use super::super::output::Style;
use super::super::support;
use crate::api::scratch::Scratch;
use crate::status::Exit;

const TABLE: Style = Style {
    format: Format::Table,
    colour: false,
};
const JSON: Style = Style {
    format: Format::Json,
    colour: false,
};

/// Names of everything that can be called, `anylb-backend-drain`.
fn commands(command: &clap::Command, path: &str, out: &mut Vec<String>) {
    out.push(format!("{path}.1"));
    for below in command.get_subcommands() {
        commands(below, &format!("{path}-{}", below.get_name()), out);
    }
}

#[test]
fn every_shell_can_complete_every_command() {
    for shell in Shell::value_variants() {
        let script = support::completions(*shell).text;
        for word in ["explain", "drain", "peers", "--socket"] {
            assert!(
                script.contains(word.trim_start_matches('-')),
                "{shell}: {word}"
            );
        }
    }
}

#[test]
fn the_page_has_the_exit_codes() {
    let page = support::man(None, TABLE).unwrap().text;
    assert!(page.contains(".TH anylb 1"), "{page}");
    assert!(page.contains("10 differs"), "{page}");
    let error = support::man(None, JSON).unwrap_err();
    assert_eq!(error.exit, Exit::Usage);
}

#[test]
fn every_command_has_a_page() {
    let dir = Scratch::new();
    let pages = dir.path().join("man1");
    let answer = support::man(Some(&pages), JSON).unwrap();
    let json: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    let mut expected = Vec::new();
    commands(&Cli::command(), "anylb", &mut expected);
    assert_eq!(json["pages"], serde_json::json!(expected));
    for page in &expected {
        let text = fs::read_to_string(pages.join(page)).unwrap();
        let title = format!(".TH {} 1", page.trim_end_matches(".1"));
        assert!(
            text.contains(&title.replace('-', "\\-")) || text.contains(&title),
            "{page}: {text}"
        );
    }
    let answer = support::man(Some(&pages), TABLE).unwrap();
    let text = format!("{} pages written to {}\n", expected.len(), pages.display());
    assert_eq!(answer.text, text);
}

#[test]
fn pages_that_cannot_be_written_end_with_1() {
    let dir = Scratch::new();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = support::man(Some(&file), TABLE).unwrap_err();
    assert_eq!(error.exit, Exit::Failed);
    let place = file.display().to_string();
    assert!(
        error
            .to_string()
            .starts_with(&format!("anylb: cannot write man pages to {place}: ")),
        "{error}"
    );
}
