//! `anylb config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::CONFIG;

/// `config`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Write a file to start from: every key explained, with addresses to be replaced
    ///
    /// Nothing that is there is overwritten.
    Init(InitArgs),
    /// Show a file with everything that it leaves out, as a file with the same meaning
    ///
    /// Secrets are in files of their own and are not shown. Exits 3 when the file has errors.
    Show(ShowArgs),
    /// Print the JSON Schema of the file, for editors and for programs that write such files
    Schema,
}

/// `config init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// Where to; without it, to standard output
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Make a hash key as well, in this file, readable by its owner only
    ///
    /// Every node of every site needs the same key: make it once and copy it.
    #[arg(long, value_name = "FILE", conflicts_with = "backend")]
    pub key: Option<PathBuf>,
    /// For a backend instead of an LB node
    #[arg(long)]
    pub backend: bool,
}

/// `config show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}
