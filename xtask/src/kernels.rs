//! `cargo xtask kernels`: every program and its tests under distributions' kernels, in virtual machines without hardware support.
//!
//! The kernel that runs everything else may be newer than the oldest one supported, and may lack the kernel's own tunnel
//! devices. What runs in the machines are the test programs of the host, ignored tests included; the only difference is the
//! kernel. Nothing is installed on the host.

mod archive;
mod guest;
mod kernel;
mod machine;
mod outcome;
mod releases;
mod report;
mod series;
mod tools;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use self::guest::Guest;
use self::kernel::Kernel;
use self::outcome::Outcome;
use self::releases::Releases;
use self::report::{Report, Row};
use self::series::Series;
use self::tools::Tools;
use crate::{setup, shell};

/// Test programs that mean something under another kernel: they load the programs and need no router.
const TESTS: [&str; 5] = [
    "programs",
    "lb_datapath",
    "backend",
    "generator",
    "plain_backends",
];

/// Loads every program and runs its tests under Debian's kernels, each in a virtual machine.
#[derive(Parser)]
#[command(bin_name = "cargo xtask kernels")]
struct Options {
    /// Series of Linux, as `6.1`, or `newest`: 5.10 (best effort), 6.1, 6.12 and newest where none is named
    kernels: Vec<Series>,
    /// Run this test program only; may be given more than once
    #[arg(long = "test", value_name = "TEST", value_parser = TESTS)]
    tests: Vec<String>,
    /// Write what was found to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Look for newer kernels than those that were fetched before
    #[arg(long)]
    update: bool,
}

/// Fetches kernels, builds tests, boots one after the other, prints a table, and fails unless everything that is promised holds.
pub fn run(args: &[OsString]) -> Result<()> {
    let name = OsString::from("kernels");
    let options = Options::parse_from([name].iter().chain(args));
    setup::run()?;
    let dir = shell::workspace().join("target/kernels");
    let releases = Releases::open(&dir.join("apt"))?;
    if options.update {
        releases.update()?;
    }
    let tools = Tools::ensure()?;
    let names: Vec<&str> = TESTS
        .into_iter()
        .filter(|name| options.tests.is_empty() || options.tests.iter().any(|test| test == name))
        .collect();
    let tests = names.iter().map(|name| Ok((*name, built(name)?)));
    let lab = Lab {
        tests: tests.collect::<Result<_>>()?,
        releases,
        tools,
        dir,
    };
    let kernels = if options.kernels.is_empty() {
        Series::usual()
    } else {
        options.kernels
    };
    let rows = kernels.iter().map(|series| {
        let row = lab.try_out(series);
        row.unwrap_or_else(|error| Row::failed(series, vec![format!("{error:#}")]))
    });
    let report = Report::new(rows.collect());
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, text + "\n").with_context(|| file.display().to_string())?;
    }
    println!("\n{}", report.text());
    let broken = report.broken();
    ensure!(broken.is_empty(), "not as promised: {}", broken.join(", "));
    println!("kernels: ok: everything that is promised holds");
    Ok(())
}

/// What every kernel is tried with.
struct Lab {
    tests: Vec<(&'static str, PathBuf)>,
    releases: Releases,
    tools: Tools,
    dir: PathBuf,
}

impl Lab {
    fn try_out(&self, series: &Series) -> Result<Row> {
        let kernel = Kernel::fetch(series, &self.releases, &self.dir)?;
        println!("kernels: Linux {}", kernel.release);
        let initrd = self.dir.join("initrd");
        self.fill(&kernel, &initrd)?;
        let mut outcome = Outcome::default();
        let emulator = self.tools.emulator()?;
        let ended = machine::run(emulator, &kernel.image, &initrd, |line| {
            println!("{series}: {line}");
            outcome.hear(line);
        });
        if let Err(error) = ended {
            println!("{series}: {error:#}");
        }
        let names: Vec<&str> = self.tests.iter().map(|(name, _)| *name).collect();
        Ok(Row::ran(series, &kernel.release, outcome, &names))
    }

    /// Writes the machine's file system.
    fn fill(&self, kernel: &Kernel, initrd: &Path) -> Result<()> {
        let mut guest = Guest::new(kernel, &self.tools.busybox()?)?;
        for (name, program) in &self.tests {
            guest.test(name, program)?;
        }
        std::fs::write(initrd, guest.finish()).with_context(|| initrd.display().to_string())
    }
}

/// Builds a test program and says where it is.
fn built(test: &str) -> Result<PathBuf> {
    let mut cargo = shell::cargo();
    cargo
        .args(["test", "--no-run", "--package", "lb-tests", "--test", test])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit());
    let output = cargo.output().context("cargo")?;
    ensure!(output.status.success(), "cannot build {test}");
    let text = String::from_utf8(output.stdout).context("cargo's messages")?;
    let artifact = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|message| message["target"]["name"] == test && message["executable"].is_string());
    let artifact = artifact.with_context(|| format!("cargo built no {test}"))?;
    let path = artifact["executable"].as_str().unwrap_or_default();
    Ok(PathBuf::from(path))
}
