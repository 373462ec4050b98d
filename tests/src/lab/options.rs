//! The lab's command line.

use std::path::PathBuf;

use clap::Args;

use super::scenario::Scenario;

/// Options of the lab.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Write the report to this file as JSON (schema anylb/lab/v1).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Leave everything up at the end and print how to enter each namespace.
    #[arg(long)]
    pub keep: bool,
    /// Seed of every choice: hash key, router's hash, which backends are drained, die, and so on.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Only this scenario (may be given more than once); bring-up always comes first.
    #[arg(long, value_name = "NAME", value_enum)]
    pub only: Vec<Scenario>,
}

impl Options {
    /// Whether a scenario is to run.
    pub fn wants(&self, scenario: Scenario) -> bool {
        self.only.is_empty() || self.only.contains(&scenario)
    }
}
