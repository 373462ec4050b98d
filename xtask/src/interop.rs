//! `cargo xtask interop`: builds the agent and the matrix, then becomes the matrix.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::setup::Tool;
use crate::{setup, shell};

/// Routers that nothing else needs.
const ROUTERS: [Tool; 3] = [
    Tool {
        package: "gobgpd",
        programs: &["gobgpd"],
    },
    Tool {
        package: "exabgp",
        programs: &["exabgp"],
    },
    Tool {
        package: "openbgpd",
        programs: &["bgpctl"],
    },
];

/// Builds and runs `interop` with the given arguments; returns only on failure.
pub fn run(args: &[OsString]) -> Result<()> {
    ensure!(
        shell::is_root(),
        "the matrix makes network namespaces and loads BPF programs: run it as root"
    );
    setup::run()?;
    setup::tools(&ROUTERS)?;
    // What is tried is the protocol and not the speed: the build of the tests will do.
    shell::run(shell::cargo().args([
        "build",
        "--package",
        "lb-userspace",
        "--package",
        "lb-tests",
        "--bins",
    ]))?;
    let interop = shell::binary("debug", "interop")?;
    Err(Command::new(&interop).args(args).exec()).with_context(|| interop.display().to_string())
}
