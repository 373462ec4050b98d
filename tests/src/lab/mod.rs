//! The lab: a site on one machine, and what must not break in it.
//!
//! | module | holds |
//! |---|---|
//! | [`options`] | the command line |
//! | [`scenario`] | the list of scenarios |
//! | `files` | the site's configuration files and how scenarios change them |
//! | `agent` | a running agent and its admin socket |
//! | `site` | the whole site, running |
//! | `trial` | long-lived connections through one event, and again without alternates |
//! | `basics`, `sessions`, `tables`, `nodes`, `health`, `servers`, `udp`, `upload`, `path_mtu` | the scenarios |
//! | `boxes` | a second site, of boxes that are LB node and backend at once |
//! | [`report`] | checks, table, JSON |
//! | `about` | kernel, CPU and commit, for the report |
//! | `dice` | choices that follow from the seed |

pub mod about;
pub mod agent;
mod basics;
mod boxes;
pub mod dice;
mod files;
mod health;
mod nodes;
pub mod options;
mod path_mtu;
pub mod report;
pub mod scenario;
mod servers;
mod sessions;
mod site;
mod tables;
mod trial;
mod udp;
mod upload;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use tokio::signal::unix::{SignalKind, signal};

use crate::harness::{leftovers, privileged};
use options::Options;
use report::Report;
use scenario::Scenario;
use site::Site;

/// What the names of all namespaces begin with.
const PREFIX: &str = "anylb-lab";
const RUN_DIR: &str = "/run/anylb-lab";
const LOCK: &str = "/run/anylb-lab.lock";

/// How the lab ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every check held.
    Passed,
    /// Some did not.
    Failed,
    /// A signal came first.
    Interrupted,
}

/// Runs the scenarios, prints the report and takes everything down again, also on SIGINT, SIGTERM and SIGHUP.
pub async fn run(options: Options) -> Result<Verdict> {
    if let Some(why) = privileged::missing() {
        bail!("the lab {why}");
    }
    let _lock = lock()?;
    leftovers::clear(PREFIX, Path::new(RUN_DIR)).await?;
    let mut report = Report::new(options.seed);
    let result = tokio::select! {
        result = scenarios(&options, &mut report) => result,
        () = interrupted()? => {
            println!("interrupted: taking the lab down");
            leftovers::clear(PREFIX, Path::new(RUN_DIR)).await?;
            return Ok(Verdict::Interrupted);
        }
    };
    if let Err(error) = result {
        report.failure("lab", &error);
    }
    if !options.keep {
        leftovers::clear(PREFIX, Path::new(RUN_DIR)).await?;
    }
    report.print();
    if let Some(path) = &options.json {
        report.write_json(path)?;
    }
    Ok(if report.passed() {
        Verdict::Passed
    } else {
        Verdict::Failed
    })
}

async fn scenarios(options: &Options, report: &mut Report) -> Result<()> {
    let mut site = Site::build(options.seed).await?;
    let outcome = all_scenarios(options, &mut site, report).await;
    if outcome.is_err() || !report.passed() {
        keep_logs(&site)?;
    }
    if options.keep {
        print_how_to_enter(&site);
        std::mem::forget(site);
    }
    outcome
}

async fn all_scenarios(options: &Options, site: &mut Site, report: &mut Report) -> Result<()> {
    report.begin("bring-up");
    basics::bring_up(site, report).await?;
    for scenario in Scenario::ALL
        .into_iter()
        .filter(|scenario| options.wants(*scenario))
    {
        report.begin(scenario.name());
        let outcome = match site.settled().await {
            Ok(()) => scenario.run(site, report).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            report.failure(scenario.name(), &error);
            // The next one must not suffer for this one.
            site.recover()
                .await
                .context("put the site in order again")?;
        }
    }
    report.begin("afterwards");
    basics::afterwards(site, report)
}

/// Ready when the lab shall end early.
fn interrupted() -> Result<impl Future<Output = ()>> {
    let mut signals = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    );
    Ok(async move {
        tokio::select! {
            _ = signals.0.recv() => {}
            _ = signals.1.recv() => {}
            _ = signals.2.recv() => {}
        }
    })
}

/// One lab at a time: they would share names and addresses.
fn lock() -> Result<Flock<File>> {
    let file = File::create(LOCK).context(LOCK)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, _)| anyhow::anyhow!("another lab is running (it holds {LOCK})"))
}

/// Copies what the processes wrote to where it outlives the lab.
fn keep_logs(site: &Site) -> Result<()> {
    let target = std::env::current_exe()?.with_file_name("lab-logs");
    match std::fs::remove_dir_all(&target) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => std::fs::create_dir_all(&target)?,
    }
    for (name, log) in site.logs()? {
        std::fs::copy(&log, target.join(name)).with_context(|| log.display().to_string())?;
    }
    println!("logs: {}", target.display());
    Ok(())
}

fn print_how_to_enter(site: &Site) {
    println!("\nThe lab stays up. Namespaces:");
    for netns in site.namespaces() {
        println!("  ip netns exec {} bash", netns.name());
    }
    println!("Router:  vtysh -N {}", site.star.r1.name());
    println!("Second:  birdc -s {}", site.bird.socket().display());
    for lb in &site.star.lbs {
        println!(
            "Agent:   {} --socket {} status",
            site.binary.display(),
            files::socket(&lb.dir).display()
        );
    }
    println!("The next run of the lab takes it down first.");
}

/// The `anylb` binary: `ANYLB_BIN`, or beside this program.
fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("ANYLB_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("anylb"),
    };
    if !path.is_file() {
        bail!("no {}: build it first, or set ANYLB_BIN", path.display());
    }
    Ok(path.canonicalize()?)
}
