//! `anylb bfd`.

use std::path::PathBuf;

use clap::Args;

/// `bfd`.
#[derive(Args, Clone, Debug)]
pub struct BfdArgs {
    /// Where its socket is: node.runtime_dir of the agent
    #[arg(long, value_name = "DIR", default_value = "/run/anylb")]
    pub runtime_dir: PathBuf,
}
