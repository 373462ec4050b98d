//! `cargo xtask bench [failover|bgp-scale]`: builds the benchmark, then becomes it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{setup, shell};

/// Builds in release mode and runs `bench`, or `failover` or `bgp_scale` where the first argument names it, with the other arguments;
/// returns only on failure.
pub fn run(args: &[OsString]) -> Result<()> {
    ensure!(
        shell::is_root(),
        "the benchmark loads BPF programs: run it as root"
    );
    setup::run()?;
    let (name, args) = match args.split_first() {
        Some((first, rest)) if first == "failover" => ("failover", rest),
        Some((first, rest)) if first == "bgp-scale" => ("bgp_scale", rest),
        _ => ("bench", args),
    };
    let mut build = shell::cargo();
    build.args(["build", "--release", "--package", "lb-tests", "--bin", name]);
    if name == "failover" {
        build.args([
            "--package",
            "lb-userspace",
            "--bin",
            "anylb",
            "--bin",
            "lab",
        ]);
    }
    shell::run(&mut build)?;
    let program = shell::binary("release", name)?;
    Err(Command::new(&program).args(args).exec()).with_context(|| program.display().to_string())
}
