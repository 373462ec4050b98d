//! `anylb health`.

use clap::{Args, Subcommand};

/// `health`.
#[derive(Clone, Debug, Subcommand)]
pub enum HealthCommand {
    /// Show verdicts, how far each is from the next, and the latest results
    Show {
        /// Address or name of a backend; without it, all
        backend: Option<String>,
    },
    /// Check a backend once, now, as the agent does; no verdict changes
    ///
    /// Exits 7 when the check fails, and 1 when this node could not make it.
    Probe(ProbeArgs),
}

/// `health probe`.
#[derive(Args, Clone, Debug)]
pub struct ProbeArgs {
    /// The pool whose check is used
    pub pool: String,
    /// Address or name of the backend
    pub backend: String,
}
