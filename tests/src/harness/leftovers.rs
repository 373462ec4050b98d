//! Clearing what a killed run left behind under its prefix.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::star::Node;
use super::{poll, router, shell};

/// Ends every process inside namespaces that begin with `prefix`, deletes the namespaces, unmounts and removes
/// `run_dir` and the router's folders. Harmless where nothing is left.
pub async fn clear(prefix: &str, run_dir: &Path) -> Result<()> {
    for netns in namespaces(prefix)? {
        end_processes(&netns).await?;
        shell::run(&format!("ip netns del {netns}"))?;
        router::remove_folders(&netns);
    }
    unmount_below(run_dir)?;
    match std::fs::remove_dir_all(run_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", run_dir.display()))
        }
        _ => Ok(()),
    }
}

/// The process with the BFD sessions of a node, which outlives an agent that was not stopped, and so also a test that fails; it is
/// killed when this is dropped.
#[derive(Debug)]
pub struct BfdProcess(PathBuf);

impl BfdProcess {
    /// Of this node, whether it runs or not.
    pub fn of(node: &Node) -> Self {
        Self(node.dir.join("run/bfd.pid"))
    }

    /// Its number, while it runs.
    pub fn pid(&self) -> Result<i32> {
        let text = std::fs::read_to_string(&self.0).context("no BFD process")?;
        Ok(text.trim().parse()?)
    }
}

impl Drop for BfdProcess {
    fn drop(&mut self) {
        if let Ok(pid) = self.pid() {
            // It may have ended since.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Names under which a namespace of that prefix exists now.
pub fn namespaces(prefix: &str) -> Result<Vec<String>> {
    let list = shell::run("ip netns list")?;
    let names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    Ok(names
        .filter(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .collect())
}

async fn end_processes(netns: &str) -> Result<()> {
    for pid in pids(netns)? {
        // It may have ended since it was listed.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    poll::until(
        &format!("end of processes in {netns}"),
        Duration::from_secs(5),
        async || {
            let left = pids(netns)?;
            ensure!(left.is_empty(), "still there: {left:?}");
            Ok(())
        },
    )
    .await?;
    Ok(())
}

fn pids(netns: &str) -> Result<Vec<i32>> {
    Ok(shell::run(&format!("ip netns pids {netns}"))?
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect())
}

fn unmount_below(dir: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(mount).starts_with(dir) {
            umount2(mount, MntFlags::MNT_DETACH).with_context(|| format!("unmount {mount}"))?;
        }
    }
    Ok(())
}
