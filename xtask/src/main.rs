//! The project's own commands, as `cargo xtask COMMAND`: one file per command.

mod bench;
mod ci;
mod interop;
mod kernels;
mod lab;
mod layering;
mod setup;
mod shell;
mod test;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Sets up, builds, tests and measures anylb.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Xtask {
    /// Find or install what building and the lab need
    Setup,
    /// Build, then run the whole lab: routers, LB nodes, backends, clients, faults
    #[command(disable_help_flag = true)]
    Lab(Passed),
    /// Run all tests: unit, property, packets in the kernel, scenarios in namespaces
    #[command(disable_help_flag = true)]
    Test(Passed),
    /// Build, then measure what a packet costs; `bench failover`: how soon routers know; `bench bgp-scale`: many
    /// peers and prefixes
    #[command(disable_help_flag = true)]
    Bench(Passed),
    /// Build, then try the BGP speaker against routers of five makers
    #[command(disable_help_flag = true)]
    Interop(Passed),
    /// Every program and its tests under Debian's kernels, oldest to newest, in virtual machines
    #[command(disable_help_flag = true)]
    Kernels(Passed),
    /// Formatting, lints, documentation, layering and all tests; warnings are errors
    Ci,
}

/// Arguments for the program that the command runs.
#[derive(clap::Args)]
struct Passed {
    /// Passed on unchanged
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

fn main() -> ExitCode {
    let result = match Xtask::parse() {
        Xtask::Setup => setup::run(),
        Xtask::Lab(passed) => lab::run(&passed.args),
        Xtask::Test(passed) => test::run(&passed.args),
        Xtask::Bench(passed) => bench::run(&passed.args),
        Xtask::Interop(passed) => interop::run(&passed.args),
        Xtask::Kernels(passed) => kernels::run(&passed.args),
        Xtask::Ci => ci::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
