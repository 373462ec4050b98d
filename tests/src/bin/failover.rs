//! The command line of the failover benchmark. It exits with 0 when every median is within its limit or does not matter.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use lb_tests::failover::{self, Fault, report};
use lb_tests::harness::privileged;
use lb_tests::interop::daemon::Kind;
use lb_tests::lab::about;
use lb_tests::verdict;

/// Measures how long a router goes on sending packets to a node that cannot serve them any more.
#[derive(Parser)]
#[command(version, bin_name = "cargo xtask bench failover")]
struct Cli {
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Report only: a missed limit is no failure
    #[arg(long)]
    no_limits: bool,
    /// Runs of each fault
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Only this router: frr or bird
    #[arg(long, value_parser = router)]
    router: Option<Kind>,
    /// Only faults whose name begins like this
    #[arg(long, value_name = "PREFIX", default_value = "")]
    only: String,
}

fn router(name: &str) -> Result<Kind, &'static str> {
    let mut routers = failover::ROUTERS.into_iter();
    routers
        .find(|router| router.name().eq_ignore_ascii_case(name))
        .ok_or("frr or bird")
}

fn main() -> ExitCode {
    verdict::exit("failover", run(&Cli::parse()))
}

#[tokio::main(flavor = "current_thread")]
async fn run(cli: &Cli) -> Result<bool> {
    if let Some(missing) = privileged::missing() {
        bail!(missing);
    }
    let named = |fault: &Fault| fault.name().starts_with(&cli.only);
    let faults: Vec<Fault> = Fault::ALL.into_iter().filter(named).collect();
    ensure!(!faults.is_empty(), "no fault begins with {}", cli.only);
    ensure!(cli.runs > 0, "no runs");
    let lab = std::env::current_exe()?.with_file_name("lab");
    let mut rows = Vec::new();
    for router in failover::ROUTERS {
        if cli.router.is_none_or(|only| only == router) {
            rows.extend(failover::run(&lab, router, &faults, cli.runs).await?);
        }
    }
    if let Some(file) = &cli.json {
        let text = report::json(&rows, about::machine())?;
        std::fs::write(file, text + "\n").with_context(|| file.display().to_string())?;
    }
    println!("{}", report::table(&rows));
    Ok(cli.no_limits || rows.iter().all(report::Row::passed))
}
