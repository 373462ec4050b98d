//! The command line of the lab. It exits with 0 when all checks held, 1 when not, 130 when interrupted; `lab serve` and
//! `lab answer` are the servers that run on each backend.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lb_tests::lab::options::Options;
use lb_tests::lab::{self, Verdict};
use lb_tests::load::{server, udp};

/// What shells use for a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// The lab: a site on one machine, and what must not break in it.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// A web server that answers its name and the peer address it saw.
    Serve {
        /// The name.
        #[arg(long)]
        name: String,
        /// TCP port, both families.
        #[arg(long)]
        port: u16,
    },
    /// The same over UDP, on a port with a connected socket per flow and on ports without.
    Answer {
        /// The name.
        #[arg(long)]
        name: String,
        /// The addresses.
        #[arg(long, required = true)]
        vip: Vec<IpAddr>,
        /// The port with sockets.
        #[arg(long)]
        connected: u16,
        /// The ports without, "6000-6099".
        #[arg(long, value_parser = range)]
        stateless: RangeInclusive<u16>,
    },
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let ports = text
        .split_once('-')
        .and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?));
    ports.ok_or_else(|| "two ports with a hyphen between them".to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Serve { name, port }) => {
            server::serve(name, port).await.map(|()| Verdict::Passed)
        }
        Some(Command::Answer {
            name,
            vip,
            connected,
            stateless,
        }) => udp::server::serve(udp::server::Plan {
            name,
            vips: vip,
            connected,
            stateless,
        })
        .await
        .map(|()| Verdict::Passed),
        None => lab::run(cli.options).await,
    };
    match result {
        Ok(Verdict::Passed) => ExitCode::SUCCESS,
        Ok(Verdict::Failed) => ExitCode::FAILURE,
        Ok(Verdict::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
