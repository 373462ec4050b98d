//! Every answer to the letter: the real commands ask the real server over a unix socket; only the node is fake.

mod backend;
mod bench;
mod bgp;
mod bpf;
mod change;
mod config;
mod diff;
mod doctor;
mod explain;
mod health;
mod help;
mod local;
mod service;
mod status;
mod support;
mod unreachable;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;

use super::args::{BackendCommand, Command, Question};
use super::client::Client;
use super::output::Style;
use super::{Cli, remote};
use crate::api::Node;
use crate::api::admin::{self, AdminSocket};
use crate::api::fake::START_TIME_SECS;
use crate::api::scratch::Scratch;
use crate::status::Exit;

/// A node's admin socket, served.
pub(super) struct Bench {
    _dir: Scratch,
    socket: PathBuf,
}

impl Bench {
    pub(super) fn new(node: impl Node) -> Self {
        let dir = Scratch::new();
        let socket = AdminSocket::bind(dir.path()).unwrap();
        let path = socket.path().to_path_buf();
        tokio::spawn(admin::serve(socket, Arc::new(node), std::future::pending()));
        Self {
            _dir: dir,
            socket: path,
        }
    }

    /// A client of it.
    pub(super) fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    /// What `anylb LINE` prints, to standard output or to standard error, and how it ends.
    pub(super) async fn run(&self, line: &str) -> (String, Exit) {
        run(&self.socket, line, false).await
    }

    /// The same on a terminal.
    async fn run_in_colour(&self, line: &str) -> (String, Exit) {
        run(&self.socket, line, true).await
    }
}

async fn run(socket: &Path, line: &str, colour: bool) -> (String, Exit) {
    let cli = Cli::try_parse_from(["anylb"].into_iter().chain(line.split(' '))).unwrap();
    let question = match cli.command {
        Command::Ask(ask) => Question::Node(ask),
        Command::Backend(BackendCommand::Ask(ask)) => Question::Backend(ask),
        Command::Run(_)
        | Command::Backend(_)
        | Command::Bench(_)
        | Command::Check(_)
        | Command::Config(_)
        | Command::Doctor(_)
        | Command::RouterConfig(_)
        | Command::Version
        | Command::Completions { .. }
        | Command::Trace(_)
        | Command::Bfd(_)
        | Command::Man { .. } => panic!("`{line}` asks no agent"),
    };
    let style = Style {
        format: cli.global.format(),
        colour,
    };
    let now_secs = START_TIME_SECS + 7_500;
    match remote::answer(&Client::new(socket), question, style, now_secs).await {
        Ok(answer) => (answer.text, answer.exit),
        Err(error) => (error.to_string(), error.exit),
    }
}

/// Lines longer than 80 columns.
pub(super) fn too_wide(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| line.chars().count() > 80)
        .collect()
}

/// Compares with the file `shown/NAME`. With `BLESS=1` in the environment the file is written instead.
pub(super) fn same_as(name: &str, text: &str) {
    let path = format!("{}/src/cli/tests/shown/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name}: run this test with BLESS=1");
}
