//! The command line of the interoperation matrix. It exits with 0 when every check held or is a limit of the router's.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use lb_tests::harness::privileged;
use lb_tests::interop::{self, daemon::Kind};
use lb_tests::verdict;

/// The BGP speaker against routers of five makers.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Write what was found to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// This router only; may be given more than once
    #[arg(long = "peer", value_name = "ROUTER")]
    peers: Vec<Kind>,
    /// Only scenarios whose name begins like this
    #[arg(long, value_name = "PREFIX", default_value = "")]
    only: String,
}

fn main() -> ExitCode {
    verdict::exit("interop", run(&Cli::parse()))
}

#[tokio::main(flavor = "current_thread")]
async fn run(cli: &Cli) -> Result<bool> {
    if let Some(missing) = privileged::missing() {
        bail!(missing);
    }
    let kinds = match cli.peers.as_slice() {
        [] => &Kind::ALL[..],
        named => named,
    };
    let lab = std::env::current_exe()?.with_file_name("lab");
    let report = interop::run(&lab, kinds, &cli.only).await?;
    ensure!(report.count() > 0, "no scenario begins with {}", cli.only);
    if let Some(file) = &cli.json {
        std::fs::write(file, report.json()? + "\n").with_context(|| file.display().to_string())?;
    }
    println!("{}", report.text());
    println!("\n{} of {} checks failed.", report.failed(), report.count());
    Ok(report.failed() == 0)
}
