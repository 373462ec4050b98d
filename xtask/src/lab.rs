//! `cargo xtask lab`: builds the agent and the lab, then becomes the lab.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{setup, shell};

/// Builds in release mode and runs `lab` with the given arguments; returns only on failure.
pub fn run(args: &[OsString]) -> Result<()> {
    ensure!(
        shell::is_root(),
        "the lab makes network namespaces and loads BPF programs: run it as root"
    );
    setup::run()?;
    shell::run(shell::cargo().args([
        "build",
        "--release",
        "--package",
        "lb-userspace",
        "--package",
        "lb-tests",
        "--bin",
        "anylb",
        "--bin",
        "lab",
    ]))?;
    let lab = shell::binary("release", "lab")?;
    Err(Command::new(&lab).args(args).exec()).with_context(|| lab.display().to_string())
}
