//! `cargo xtask ci`: everything a change must pass.

use std::ffi::OsString;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::{layering, setup, shell, test};

/// What the toolchain needs beyond the compiler: the cargo subcommand and rustup's name for it.
const COMPONENTS: [(&str, &str); 2] = [("fmt", "rustfmt"), ("clippy", "clippy")];

/// Runs every step, cheapest first, and stops at the first that fails.
pub fn run() -> Result<()> {
    let none: [OsString; 0] = [];
    step("setup", setup::run)?;
    step("components", components)?;
    step("format", || {
        shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
    })?;
    step("layering", layering::run)?;
    step("clippy", || {
        shell::run(shell::cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-Dwarnings",
        ]))
    })?;
    step("documentation", || {
        let mut doc = shell::cargo();
        shell::run(
            doc.args(["doc", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "-Dwarnings"),
        )
    })?;
    step("tests", || test::run(&none))
}

fn step(name: &str, action: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("ci: {name}");
    let start = Instant::now();
    action().with_context(|| format!("step {name}"))?;
    println!("ci: {name} ok, {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn components() -> Result<()> {
    for (subcommand, component) in COMPONENTS {
        if shell::output(shell::cargo().args([subcommand, "--version"])).is_none() {
            shell::run(std::process::Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}
