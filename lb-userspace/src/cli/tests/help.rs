use std::net::SocketAddr;

use clap::{CommandFactory, Parser};

use super::super::args::{Cli, Destination, DestinationError, Format};
use super::too_wide;
use crate::model::Protocol;

/// Of the terminal that help is made for, whatever the one that the tests run in has.
const COLUMNS: usize = 80;
/// For clap.
const NO_WRAP: usize = 0;

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

/// With `BLESS=1` in the environment the file is written instead.
#[test]
fn short_help() {
    let help = Cli::command().term_width(COLUMNS).render_help().to_string();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/tests/help.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &help).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap();
    assert_eq!(help, expected, "run this test with BLESS=1");
}

#[test]
fn status_documents_its_exit_code() {
    let mut command = Cli::command();
    let status = command.find_subcommand_mut("status").unwrap();
    let help = status.clone().term_width(NO_WRAP).render_long_help();
    let help = help.to_string();
    assert!(help.contains("Exits 7 when the node is degraded"), "{help}");
}

#[test]
fn json_is_short_for_an_output_format() {
    let format = |line: &str| {
        Cli::try_parse_from(line.split(' '))
            .map(|cli| cli.global.format())
            .map_err(|error| error.exit_code())
    };
    assert_eq!(format("anylb status"), Ok(Format::Table));
    assert_eq!(format("anylb status --json"), Ok(Format::Json));
    assert_eq!(format("anylb --json status"), Ok(Format::Json));
    assert_eq!(format("anylb -o wide status"), Ok(Format::Wide));
    assert_eq!(format("anylb status -o wide --json"), Err(2), "not both");
    assert_eq!(format("anylb status -o xml"), Err(2));
}

#[test]
fn destinations() {
    let parsed = |address: &str| {
        Ok(Destination {
            address: address.parse::<SocketAddr>().unwrap(),
            protocol: Protocol::Tcp,
        })
    };
    for (text, expected) in [
        ("198.51.100.1:80/tcp", parsed("198.51.100.1:80")),
        ("198.51.100.1:80", parsed("198.51.100.1:80")),
        ("[2001:db8::1]:80/tcp", parsed("[2001:db8::1]:80")),
        (
            "198.51.100.1:53/udp",
            Ok(Destination {
                address: "198.51.100.1:53".parse().unwrap(),
                protocol: Protocol::Udp,
            }),
        ),
        (
            "198.51.100.1:80/sctp",
            Err(DestinationError::Protocol("sctp".into())),
        ),
    ] {
        assert_eq!(text.parse::<Destination>(), expected, "{text}");
    }
    for text in ["198.51.100.1/tcp", "2001:db8::1:80", "web:80", ""] {
        let error = text.parse::<Destination>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid socket address syntax: write VIP:PORT, an IPv6 address in brackets",
            "{text}"
        );
    }
}

const REFERENCE: &str = "\
# Commands

Everything that can be seen as a table can be had as JSON with `--json`: `{\"schema\": \"anylb/v1\", \"generation\": N, ...}`, and
what is in it only grows. Tables fit 80 columns; `-o wide` has more of them. Colour is used only on a terminal, and never with
NO_COLOR set. Answers go to standard output; errors are one line on standard error, except those of a configuration file,
which have carets, of a command line, and the risks that `anylb bench` lists.

| exit code | when |
|---|---|
| 0 | it was done |
| 1 | it was tried and went wrong |
| 2 | the command line makes no sense |
| 3 | the configuration file has errors |
| 4 | no agent answers at the socket |
| 5 | there is no such backend, pool or service |
| 6 | the agent will not do it, or the caller may not ask for it |
| 7 | the answer is there, and something is not well |
| 8 | it took too long |
| 10 | two things that were compared differ |

## The admin API

The commands that ask an agent use HTTP/1.1 and JSON on the unix socket `admin.sock` in `node.runtime_dir`, and so can anything
else: `curl --unix-socket /run/anylb/admin.sock http://anylb/v1/status`.

| resource | answer |
|---|---|
| `GET /v1/status` | as `anylb status --json` |
| `GET /v1/routes` | as `anylb bgp routes --json` |
| `GET /v1/counters` | what the datapath and the checks have counted |
| `GET /v1/explain?source=ADDRESS:PORT&destination=VIP:PORT&protocol=tcp` | as `anylb explain --json` |
| `GET /v1/health` | as `anylb health show --json` |
| `GET /v1/bpf` | maps and programs, as `anylb bpf maps --json` and `anylb bpf progs --json` |
| `GET /v1/bpf/verify` | as `anylb bpf verify --json` |
| `POST /v1/probe` with `{\"pool\": \"web\", \"backend\": \"b1\"}` | as `anylb health probe --json` |
| `POST /v1/trace` with `{\"vip\": null, \"source\": \"192.0.2.0/24\", \"exit\": null, \"sample\": 1}` | a number for the next |
| `POST /v1/trace/next` with `{\"trace\": NUMBER, \"last\": false}` | packets since the last time; a trace that nobody asks about for 5 s is over |
| `POST /v1/diff` with `{\"file\": null}` or `{\"file\": {\"path\": \"/etc/anylb/next.toml\", \"text\": \"version = 1 ...\"}}` | as `anylb diff --json` |
| `POST /v1/reload` with `{\"force\": false, \"wait_secs\": null}` | as `anylb reload --json` |
| `POST /v1/command` with `{\"command\": \"set_admin\", \"pool\": null, \"backend\": \"b1\", \"admin\": \"draining\", \"persist\": false}`, `{\"command\": \"set_weight\", \"pool\": null, \"backend\": \"b1\", \"weight\": 50, \"persist\": false}`, `{\"command\": \"withdraw\", \"service\": \"web\"}`, `{\"command\": \"announce\", \"service\": \"web\"}`, `{\"command\": \"attack\", \"service\": \"web\", \"on\": true}`, `{\"command\": \"reload\"}` or `{\"command\": \"handover\"}` | `{..., \"message\": \"what was done\"}` |

The socket has mode 0660 and belongs to the group `anylb` where there is one. Root, the agent's user and that group may change
things, have a probe made and see packets, whoever can open the socket may read. A change with the header `If-Match: GENERATION` is done only while the node is at that generation,
and answered with 412 otherwise. A refusal is `{..., \"error\": {\"kind\", \"message\"}}`.

This text is made from the command line that the program itself reads.
";

/// The long help of every command that does something.
fn reference() -> String {
    let mut out = REFERENCE.to_string();
    chapters(
        Cli::command().disable_help_subcommand(true),
        "anylb",
        &mut out,
    );
    out
}

fn chapters(command: clap::Command, path: &str, out: &mut String) {
    for sub in command.get_subcommands() {
        let path = format!("{path} {}", sub.get_name());
        if sub.has_subcommands() {
            chapters(sub.clone(), &path, out);
            continue;
        }
        let alone = sub.clone().bin_name(&path).disable_help_flag(true);
        let mut alone = alone.term_width(COLUMNS);
        let help = alone.render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        out.push_str(&format!(
            "\n## `{path}`\n\n```text\n{}\n```\n",
            lines.join("\n").trim_end()
        ));
    }
}

#[test]
fn help_fits_a_terminal() {
    let reference = reference();
    let help = reference.split("```text\n").skip(1);
    let help = help.filter_map(|part| part.split("```").next());
    let long: Vec<&str> = help.flat_map(too_wide).collect();
    assert_eq!(long, Vec::<&str>::new());
}

/// With `BLESS=1` in the environment the file is written instead.
#[test]
fn the_document_is_in_step_with_the_command_line() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/commands.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, reference()).unwrap();
    }
    let document = std::fs::read_to_string(path).unwrap();
    assert_eq!(document, reference(), "run this test with BLESS=1");
}
