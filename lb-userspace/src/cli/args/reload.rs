//! `anylb diff`, `anylb reload`.

use std::path::PathBuf;

use clap::Args;

/// Longest `--wait`, seconds.
const WAIT_SECS_MAX: u64 = 3600;

/// `diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// A configuration file that is not in force
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// `reload`.
#[derive(Args, Clone, Copy, Debug)]
pub struct ReloadArgs {
    /// Do it whatever it breaks; errors and what needs a restart are refused all the same
    #[arg(long)]
    pub force: bool,
    /// Answer once every BGP peer has been told as well; exits 8 when that takes longer than so many seconds
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "30",
        value_parser = clap::value_parser!(u64).range(1..=WAIT_SECS_MAX)
    )]
    pub wait: Option<u64>,
}
