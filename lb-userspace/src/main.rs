//! `anylb`: parse and dispatch.

use std::process::ExitCode;

use anylb::cli::{self, Cli};
use clap::Parser;

fn main() -> ExitCode {
    cli::run(Cli::parse()).into()
}
