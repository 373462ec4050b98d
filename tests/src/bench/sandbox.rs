//! Namespaces of our own for network and mounts: whatever the benchmark makes is gone when its process is, however it ends.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::harness::bpffs::Bpffs;

/// Leaves the host's namespaces for good, for this thread and what it starts. The value holds a BPF file system.
pub fn enter() -> Result<Bpffs> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("leave the host's namespaces")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("keep mounts to ourselves")?;
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .context("ip")?;
    ensure!(up.success(), "ip link set lo up: {up}");
    let directory: PathBuf = std::env::temp_dir().join("anylb-bench");
    Bpffs::mount(&directory)
}
