//! The command line of the benchmark.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use lb_tests::bench::against::{self, Against, Preparation};
use lb_tests::bench::backend::Backend;
use lb_tests::bench::report::{self, Report};
use lb_tests::bench::series::{self, Case, Effort};
use lb_tests::bench::{cpu, limits, live, node, reference, sandbox};
use lb_tests::harness::privileged;
use lb_tests::lab::about;
use lb_tests::verdict;

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
    /// Measure another XDP program beside ours, with the packets of our cases: an ELF object (CONTRIBUTING.md says more)
    #[arg(long, value_name = "OBJECT")]
    against: Option<PathBuf>,
    /// The program, where the object has several
    #[arg(long, value_name = "NAME", requires = "against")]
    against_program: Option<String>,
    /// What its maps hold, in TOML
    #[arg(long, value_name = "FILE", requires = "against")]
    against_maps: Option<PathBuf>,
}

fn main() -> ExitCode {
    verdict::exit("bench", run(&Cli::parse()))
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
    let ours = measured.filter(|case| case.name.starts_with(&cli.only));
    let other = other(cli, bpffs.path())?;
    cases.extend(match &other {
        Some(other) => beside(other, ours.collect())?,
        None => ours.collect(),
    });
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
    let figures = series::measure(&cases, effort, |round| {
        eprintln!("bench: round {round} of {}", effort.rounds)
    })?;
    let (mut figures, theirs) = against::split(figures);
    figures.extend(live::measure(&frames, &pair, effort)?);

    let mut report = Report::new(about::kernel(), about::cpu(), about::commit(), &figures);
    if let Some(other) = &other {
        report.set_against(other.to_string(), &figures, &theirs);
    }
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

/// The program of `--against`.
fn other(cli: &Cli, bpffs: &Path) -> Result<Option<Against>> {
    let Some(object) = &cli.against else {
        return Ok(None);
    };
    let preparation = match &cli.against_maps {
        Some(file) => Preparation::read(file).with_context(|| file.display().to_string())?,
        None => Preparation::default(),
    };
    let program = cli.against_program.as_deref();
    let other = Against::load(object, program, &preparation, &bpffs.join("against"));
    Ok(Some(other.with_context(|| object.display().to_string())?))
}

/// Our cases and the other program's; says which it takes no part in.
fn beside(other: &Against, ours: Vec<Case>) -> Result<Vec<Case>> {
    let all = ours.len();
    let (cases, otherwise) = other.beside(ours)?;
    for case in &otherwise {
        eprintln!("bench: {other} is not measured with the packet of {case}");
    }
    ensure!(
        otherwise.len() < all,
        "{other} forwards no packet as ours does: are its maps prepared (--against-maps)?"
    );
    Ok(cases)
}
