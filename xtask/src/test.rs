//! `cargo xtask test`: all tests of the workspace.

use std::ffi::OsString;

use anyhow::Result;

use crate::{setup, shell};

/// Unit, property and kernel packet tests and the scenarios in namespaces. Arguments go to `cargo test`.
pub fn run(args: &[OsString]) -> Result<()> {
    setup::run()?;
    if !shell::is_root() {
        println!("test: not root: tests that need namespaces or BPF skip, and say so");
    }
    shell::run(
        shell::cargo()
            .args(["test", "--workspace", "--no-fail-fast"])
            .args(args),
    )
}
