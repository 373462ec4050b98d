use std::net::SocketAddr;

use clap::{CommandFactory, Parser};

use super::super::args::{Cli, Destination, DestinationError, Format};
use crate::model::Protocol;

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn short_help() {
    assert_eq!(Cli::command().render_help().to_string(), "\
An anycast layer-4 load balancer: XDP datapath, health checks, BGP

Usage: anylb [OPTIONS] <COMMAND>

Commands:
  run      Run the agent of an LB node
  backend  Run the agent of a backend; list, drain and ready backends
  check    Check a configuration file and show every error with its place
  status   Show interfaces, VIPs, pools and BGP sessions of this node
  bgp      Show BGP
  explain  Show which backend a packet would go to, and why
  drops    Show why packets were dropped, and what to do about it
  reload   Read the configuration file again; a file with errors changes nothing
  restart  End the agent for a successor: routes and datapath stay as they are
  version  Show the version
  help     Print this message or the help of the given subcommand(s)

Options:
      --socket <PATH>    Admin socket of the agent [env: ANYLB_SOCKET] [default: /run/anylb/admin.sock]
  -o, --output <FORMAT>  How to print the answer [default: table] [possible values: table, json, wide]
      --json             Short for `-o json`
  -h, --help             Print help (see more with '--help')
  -V, --version          Print version

Exit codes: 0 ok, 1 failed, 2 usage, 3 configuration invalid,
4 agent unreachable, 5 not found, 6 refused, 7 degraded, 8 timeout, 10 differs.
");
}

#[test]
fn status_documents_its_exit_code() {
    let mut command = Cli::command();
    let status = command.find_subcommand_mut("status").unwrap();
    let help = status.render_long_help().to_string();
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
            "198.51.100.1:80/udp",
            Err(DestinationError::Protocol("udp".into())),
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
