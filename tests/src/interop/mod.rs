//! `cargo xtask interop`: the speaker against routers of five makers, in namespaces.
//!
//! | file | holds |
//! |---|---|
//! | this | the run: every scenario with every router |
//! | [`daemon`] | the routers |
//! | [`site`] | the node and its side of the session |
//! | [`scenario`] | what is tried, and what must come of it |
//! | [`limits`] | what a router cannot do, in its own makers' words or by its behaviour |
//! | [`report`] | the matrix and the JSON |

pub mod daemon;
pub mod limits;
pub mod report;
pub mod scenario;
pub mod site;

use std::path::Path;

use anyhow::Result;

use daemon::Kind;
use report::Report;
use scenario::{SCENARIOS, Trial};
use site::Site;

/// Tries every scenario whose name begins with `only` with each of the routers. `lab` is the program of that name, beside which
/// `anylb` is.
pub async fn run(lab: &Path, kinds: &[Kind], only: &str) -> Result<Report> {
    let mut report = Report::new(kinds);
    let mut site = Site::build(lab).await?;
    for &kind in kinds {
        for (name, scenario) in SCENARIOS.iter().filter(|(name, _)| name.starts_with(only)) {
            eprintln!("interop: {}: {name}", kind.name());
            let mut trial = Trial::new(kind, name);
            if let Err(error) = scenario(&mut site, &mut trial).await {
                trial.broken(&error);
            }
            report.add(kind, trial.checks);
        }
    }
    Ok(report)
}
