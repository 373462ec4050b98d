//! `cargo xtask bench`: builds the benchmark, then becomes it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{setup, shell};

/// Builds in release mode and runs `bench` with the given arguments; returns only on failure.
pub fn run(args: &[OsString]) -> Result<()> {
    ensure!(
        shell::is_root(),
        "the benchmark loads BPF programs: run it as root"
    );
    setup::run()?;
    shell::run(shell::cargo().args([
        "build",
        "--release",
        "--package",
        "lb-tests",
        "--bin",
        "bench",
    ]))?;
    let bench = shell::release_binary("bench")?;
    Err(Command::new(&bench).args(args).exec()).with_context(|| bench.display().to_string())
}
