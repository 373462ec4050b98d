//! Commands and what they print.
//!
//! | module | holds | pure |
//! |---|---|---|
//! | [`args`] | the command line | yes |
//! | [`client`] | the other end of the admin API | no |
//! | [`error`] | one line and an exit code | yes |
//! | `output` | tables, colour, JSON | yes |
//! | `show` | each answer as a person reads it | yes |
//! | `remote` | commands that ask a running agent | no |
//! | `local` | commands that ask nobody | no |
//! | `config` | `anylb config` | no |
//! | `bench` | `anylb bench` | no |
//! | `doctor` | `anylb doctor` | no |
//! | `drain` | `anylb backend drain` and its wait | in parts |
//! | `trace` | `anylb trace` | in parts |
//! | `router` | `anylb router-config` | no |
//! | `router_config` | the router's side in the words of each | yes |
//! | `support` | completions and man pages | no |
//! | `role` | `run`, `backend run`, `bfd` | no |

pub mod args;
mod bench;
pub mod client;
mod config;
mod doctor;
mod drain;
pub mod error;
mod local;
mod output;
mod remote;
mod role;
mod router;
mod router_config;
mod show;
mod support;
mod trace;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};

pub use args::Cli;
use args::{BackendCommand, Command, Question};
pub use error::CliError;
use output::{Answer, Style, colour_on};

use crate::status::Exit;

/// Carries out one command line and returns how the process ends.
pub fn run(cli: Cli) -> Exit {
    let style = Style {
        format: cli.global.format(),
        colour: colour_on(io::stdout().is_terminal()),
    };
    let result = match cli.command {
        Command::Run(args) => role::node(args.run.config, args.bpf_log),
        Command::Backend(BackendCommand::Run(args)) => role::backend(args.config),
        Command::Bfd(args) => role::bfd(&args.runtime_dir),
        Command::Check(args) => local::check(&args.file, style),
        Command::Bench(args) => bench::run(args, style),
        Command::Doctor(args) => doctor::run(args, &cli.global.socket, style),
        Command::Config(command) => config::run(command, style),
        Command::RouterConfig(args) => router::run(args, style),
        Command::Version => local::version(style),
        Command::Completions { shell } => Ok(support::completions(shell)),
        Command::Man { directory } => support::man(directory.as_deref(), style),
        Command::Backend(BackendCommand::Ask(ask)) => {
            remote::ask(&cli.global.socket, Question::Backend(ask), style)
        }
        Command::Trace(args) => trace::run(&cli.global.socket, args, style),
        Command::Ask(ask) => remote::ask(&cli.global.socket, Question::Node(ask), style),
    };
    match result {
        Ok(answer) => print(&answer),
        Err(error) => {
            eprintln!("{error}");
            error.exit
        }
    }
}

fn print(answer: &Answer) -> Exit {
    match io::stdout().write_all(answer.text.as_bytes()) {
        Ok(()) => answer.exit,
        // The reader of a pipe has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => answer.exit,
        Err(error) => {
            eprintln!("anylb: cannot write the answer: {error}");
            Exit::Failed
        }
    }
}
