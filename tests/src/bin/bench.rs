//! The command line of the benchmark.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use lb_tests::bench::backend::Backend;
use lb_tests::bench::report::{self, Report};
use lb_tests::bench::series::{self, Effort};
use lb_tests::bench::{cpu, limits, live, node, reference, sandbox};
use lb_tests::harness::privileged;
use lb_tests::lab::about;

/// Measures what a packet costs on one CPU, in nanoseconds and in hash lookups.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Report only: a missed limit is no failure
    #[arg(long)]
    no_limits: bool,
    /// Rounds that count
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Packets per round and case
    #[arg(long, default_value_t = 1_000_000)]
    repeat: u32,
    /// Only cases whose name begins like this, and the unit
    #[arg(long, value_name = "PREFIX", default_value = "")]
    only: String,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all limits hold or do not matter.
fn run(cli: &Cli) -> Result<bool> {
    if let Some(missing) = privileged::missing() {
        bail!(missing);
    }
    let bpffs = sandbox::enter()?;
    let mut cases = vec![reference::case()?];
    let pair = live::Pair::new()?;
    let (node, mut frames) = node::cases(bpffs.path(), pair.interface)?;
    let mut backend = Backend::new()?;
    let measured = node.into_iter().chain(backend.cases.drain(..));
    cases.extend(measured.filter(|case| case.name.starts_with(&cli.only)));
    frames.retain(|frame| frame.name().starts_with(&cli.only));
    ensure!(
        cases.len() + frames.len() > 1,
        "no case begins with {}",
        cli.only
    );
    let cpu = cpu::claim()?;
    eprintln!(
        "bench: {} cases on CPU {cpu}, {} rounds of {} packets",
        cases.len() + frames.len(),
        cli.rounds,
        cli.repeat
    );
    let effort = Effort {
        rounds: cli.rounds,
        repeat: cli.repeat,
    };
    let mut figures = series::measure(&cases, effort, |round| {
        eprintln!("bench: round {round} of {}", effort.rounds)
    })?;
    figures.extend(live::measure(&frames, &pair, effort)?);

    let report = Report::new(about::kernel(), about::cpu(), about::commit(), &figures);
    if let Some(file) = &cli.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, text + "\n").with_context(|| file.display().to_string())?;
    }
    let checks = limits::check(&figures);
    let missed = checks.iter().filter(|check| !check.passed()).count();
    println!("{}\n\n{}", report.table(), report::checks(&checks));
    println!(
        "\nA lookup counts as {} ns at least. {missed} of {} limits missed.",
        limits::UNIT_NS,
        checks.len()
    );
    Ok(cli.no_limits || missed == 0)
}
