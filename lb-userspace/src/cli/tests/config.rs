use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use clap::Parser as _;

use super::super::args::{Cli, Command};
use super::super::config;
use super::super::error::CliError;
use super::super::output::{Answer, Style};
use crate::api::scratch::Scratch;
use crate::status::Exit;

fn run(line: &str) -> Result<Answer, CliError> {
    let cli = Cli::try_parse_from(line.split(' ')).unwrap();
    let style = Style {
        format: cli.global.format(),
        colour: false,
    };
    match cli.command {
        Command::Config(command) => config::run(command, style),
        other => panic!("{other:?}"),
    }
}

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(&run(line).unwrap().text).unwrap()
}

#[test]
fn a_file_to_start_from_and_its_key_pass_the_check() {
    let dir = Scratch::new();
    let (file, key) = (dir.path().join("anylb.toml"), dir.path().join("hash.key"));
    let line = format!(
        "anylb config init {} --key {}",
        file.display(),
        key.display()
    );
    let answer = run(&line).unwrap();
    assert_eq!(
        answer.text,
        format!(
            "{key}: made; copy it to every node of every site\n{file}: written; put your addresses there, then: anylb \
             check {file}\n",
            key = key.display(),
            file = file.display()
        )
    );
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // The only thing that is real on every machine.
    let text = fs::read_to_string(&file).unwrap().replace("eth0", "lo");
    fs::write(&file, text).unwrap();
    let settings = crate::config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(settings.node.hash_key.is_some());
}

#[test]
fn two_keys_differ() {
    let dir = Scratch::new();
    let key = |name: &str| {
        let path = dir.path().join(name);
        run(&format!("anylb config init --key {}", path.display())).unwrap();
        fs::read_to_string(path).unwrap()
    };
    let (one, other) = (key("a"), key("b"));
    assert_ne!(one, other);
    assert_eq!(one.trim_end().len(), 32);
}

#[test]
fn nothing_is_overwritten_and_nothing_half_done() {
    let dir = Scratch::new();
    let (file, key) = (dir.path().join("anylb.toml"), dir.path().join("hash.key"));
    fs::write(&file, "mine").unwrap();
    let line = format!(
        "anylb config init {} --key {}",
        file.display(),
        key.display()
    );
    let error = run(&line).unwrap_err();
    assert_eq!(error.exit, Exit::Refused);
    let text = format!(
        "anylb: {} is there already, and stays as it is: name another file",
        file.display()
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert!(!key.exists(), "no key without its file");
    fs::remove_file(&file).unwrap();
    fs::write(&key, "mine").unwrap();
    assert_eq!(run(&line).unwrap_err().exit, Exit::Refused);
    assert_eq!(fs::read_to_string(&key).unwrap(), "mine");
    assert!(!file.exists(), "no file without its key");
}

#[test]
fn a_place_that_is_not_there_ends_with_1() {
    let dir = Scratch::new();
    let file = dir.path().join("missing/anylb.toml");
    let error = run(&format!("anylb config init {}", file.display())).unwrap_err();
    assert_eq!(error.exit, Exit::Failed);
    assert!(error.to_string().contains("cannot write"), "{error}");
}

#[test]
fn without_a_file_it_is_printed() {
    let text = run("anylb config init --backend").unwrap().text;
    assert!(text.contains("\n[backend]\n"), "{text}");
    assert_eq!(json("anylb config init --backend --json")["text"], text);
}

#[test]
fn the_schema_is_a_document_and_with_json_a_part_of_one() {
    let schema = json("anylb config schema");
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let envelope = json("anylb config schema --json");
    assert_eq!(envelope["schema"], "anylb/v1");
    assert_eq!(envelope["config_schema"], schema);
}

#[test]
fn show_fills_in_what_is_left_out() {
    let dir = Scratch::new();
    let file = dir.path().join("anylb.toml");
    let text = run("anylb config init --backend").unwrap().text;
    fs::write(&file, text.replace("eth0", "lo")).unwrap();
    let shown = run(&format!("anylb config show -c {}", file.display()))
        .unwrap()
        .text;
    assert!(shown.contains("\nlinger = \"30s\"  # default\n"), "{shown}");
    let json = json(&format!("anylb config show --json -c {}", file.display()));
    assert_eq!(json["config"]["node"]["linger"], "30s");
    assert_eq!(json["file"], file.display().to_string());
}

#[test]
fn show_of_a_bad_file_ends_with_3() {
    let dir = Scratch::new();
    let file = dir.path().join("anylb.toml");
    fs::write(&file, "version = 1\nnod = 2\n").unwrap();
    let line = format!("anylb config show -c {}", file.display());
    let error = run(&line).unwrap_err();
    assert_eq!(error.exit, Exit::ConfigInvalid);
    assert!(error.to_string().contains("unknown key `nod`"), "{error}");
    let answer = run(&format!("{line} --json")).unwrap();
    assert_eq!(answer.exit, Exit::ConfigInvalid);
}
