//! The binary itself: what reaches standard output and standard error, and the exit codes that scripts see.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A path at which nothing listens.
fn nowhere() -> PathBuf {
    std::env::temp_dir().join(format!("anylb-no-agent-{}.sock", std::process::id()))
}

/// Runs `anylb` away from the environment of whoever runs the tests.
fn anylb(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anylb"))
        .args(arguments)
        .env_remove("ANYLB_SOCKET")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Exit code, standard output, standard error.
fn shown(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn an_answer_goes_to_standard_output() {
    let version = format!("anylb {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        shown(anylb(&["--version"])),
        (Some(0), version, String::new())
    );
}

#[test]
fn an_unreachable_agent_is_one_line_on_standard_error_and_4() {
    let socket = nowhere();
    let line = format!(
        "anylb: no agent answers at {}: No such file or directory (os error 2): start it with `anylb run`, or name \
         its socket with --socket\n",
        socket.display()
    );
    let by_option = anylb(&["--socket", socket.to_str().unwrap(), "status"]);
    assert_eq!(shown(by_option), (Some(4), String::new(), line.clone()));
    let by_environment = Command::new(env!("CARGO_BIN_EXE_anylb"))
        .args(["backend", "list", "--json"])
        .env("ANYLB_SOCKET", &socket)
        .output()
        .unwrap();
    assert_eq!(shown(by_environment), (Some(4), String::new(), line));
}

#[test]
fn every_question_to_an_agent_that_is_not_there_ends_with_4() {
    let socket = nowhere();
    for line in [
        "service list",
        "service show web",
        "service withdraw web",
        "service announce web",
        "health show",
        "health probe web b1",
        "bpf maps",
        "bpf progs",
        "bpf verify",
        "drops",
    ] {
        let mut arguments = vec!["--socket", socket.to_str().unwrap()];
        arguments.extend(line.split(' '));
        let (code, stdout, stderr) = shown(anylb(&arguments));
        assert_eq!((code, stdout.as_str()), (Some(4), ""), "{line}");
        assert!(
            stderr.starts_with("anylb: no agent answers at "),
            "{line}: {stderr}"
        );
    }
}

#[test]
fn a_file_that_is_there_is_not_overwritten_and_6() {
    let file = nowhere().with_extension("kept");
    std::fs::write(&file, "mine").unwrap();
    let (code, stdout, stderr) = shown(anylb(&["config", "init", file.to_str().unwrap()]));
    let kept = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        (code, stdout.as_str(), kept.as_str()),
        (Some(6), "", "mine")
    );
    assert!(stderr.contains("stays as it is"), "{stderr}");
}

#[test]
fn a_wrong_command_line_is_2() {
    for arguments in [
        &["stauts"][..],
        &[],
        &["status", "-o", "xml"],
        &["backend", "drain"],
        &["service"],
        &["service", "show"],
        &["health", "probe", "web"],
        &["bpf"],
        &["config"],
        &["config", "init", "--backend", "--key", "hash.key"],
        &["completions", "csh"],
        &["man", "--json"],
        &["explain", "192.0.2.1:4000"],
        &["explain", "192.0.2.1:4000", "198.51.100.10:80/sctp"],
        &["explain", "192.0.2.1:4000", "[2001:db8::10]:80"],
    ] {
        let (code, stdout, stderr) = shown(anylb(arguments));
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert_eq!(stdout, "", "{arguments:?}");
        assert_ne!(stderr, "", "{arguments:?}");
    }
}

#[test]
fn a_configuration_that_is_not_there_is_3() {
    let missing = nowhere().with_extension("toml");
    let (code, stdout, stderr) = shown(anylb(&["check", missing.to_str().unwrap()]));
    assert_eq!((code, stdout.as_str()), (Some(3), ""));
    assert!(stderr.contains("cannot read"), "{stderr}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_anylb"))
        .arg("version")
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(shown(output), (Some(0), String::new(), String::new()));
}
