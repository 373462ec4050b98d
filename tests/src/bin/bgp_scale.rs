//! The command line of the benchmark of many peers and prefixes. It exits with 0 when time and memory are within their limits or do not
//! matter.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use lb_tests::lab::about;
use lb_tests::scale::{self, report};
use lb_tests::verdict;

/// Measures how long the BGP speaker takes to tell many peers of many prefixes, and its memory.
#[derive(Parser)]
#[command(version, bin_name = "cargo xtask bench bgp-scale")]
struct Cli {
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Report only: a missed limit is no failure
    #[arg(long)]
    no_limits: bool,
    /// How many peers
    #[arg(long, default_value_t = 100)]
    peers: u16,
    /// How many prefixes each of them hears of
    #[arg(long, default_value_t = 10_000)]
    prefixes: u32,
    /// How often
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Be the speaker, of peers at this port
    #[arg(long, value_name = "PORT", hide = true)]
    speaker: Option<u16>,
}

fn main() -> ExitCode {
    verdict::exit("bgp-scale", run(&Cli::parse()))
}

#[tokio::main(flavor = "current_thread")]
async fn run(cli: &Cli) -> Result<bool> {
    if let Some(port) = cli.speaker {
        scale::speaker::run(cli.peers, port, cli.prefixes).await?;
        return Ok(true);
    }
    ensure!(cli.runs > 0 && cli.peers > 0, "nothing to do");
    let program = std::env::current_exe()?;
    let row = scale::run(&program, cli.peers, cli.prefixes, cli.runs).await?;
    if let Some(file) = &cli.json {
        let text = report::json(&row, about::machine())?;
        std::fs::write(file, text + "\n").with_context(|| file.display().to_string())?;
    }
    println!("{}", report::table(&row));
    Ok(cli.no_limits || row.passed())
}
