//! FRR's zebra, bgpd and, where it is configured, bfdd in a namespace: a router as sites have them.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::unistd::{Group, User};

use super::{netns::Netns, poll, process::Process, shell};

const PROGRAMS: &str = "/usr/lib/frr";
const START: Duration = Duration::from_secs(10);

/// A running router; its daemons end and its folders go when dropped.
#[derive(Debug)]
pub struct Router {
    name: String,
    daemons: Vec<Process>,
}

impl Router {
    /// Starts the daemons in `netns` (bfdd where `configuration` has a section for it), whose name is also FRR's path space, and loads `configuration`.
    pub async fn start(netns: &Netns, configuration: &str, log_dir: &Path) -> Result<Self> {
        ensure!(
            Path::new(PROGRAMS).join("bgpd").is_file(),
            "FRR is not installed: run cargo xtask setup"
        );
        let mut router = Self {
            name: netns.name().to_owned(),
            daemons: Vec::new(),
        };
        router.write_files(configuration)?;
        let daemons = ["zebra", "bgpd", "bfdd"].into_iter();
        for daemon in daemons.filter(|daemon| *daemon != "bfdd" || has_bfd(configuration)) {
            router.start_daemon(netns, daemon, log_dir).await?;
        }
        shell::run(&format!("vtysh -N {} -b", router.name))
            .context("load the router's configuration")?;
        Ok(router)
    }

    /// A `vtysh` command's answer.
    pub fn vtysh(&self, command: &str) -> Result<String> {
        shell::output(Command::new("vtysh").args(["-N", &self.name, "-c", command]))
    }

    /// Gives these commands in configuration mode, in order.
    pub fn configure(&self, commands: &[&str]) -> Result<()> {
        let mut vtysh = Command::new("vtysh");
        vtysh.args(["-N", &self.name, "-c", "configure terminal"]);
        for command in commands {
            vtysh.args(["-c", command]);
        }
        shell::output(&mut vtysh).map(drop)
    }

    /// A `show ... json` command's answer.
    pub fn show(&self, what: &str) -> Result<serde_json::Value> {
        let text = self.vtysh(&format!("show {what} json"))?;
        serde_json::from_str(&text).with_context(|| format!("show {what} json: {text}"))
    }

    async fn start_daemon(&mut self, netns: &Netns, daemon: &str, log_dir: &Path) -> Result<()> {
        let mut command = netns.command(format!("{PROGRAMS}/{daemon}"));
        command.args(["-N", &self.name, "-A", "127.0.0.1", "--log", "stdout"]);
        let mut process = Process::spawn(daemon, command, log_dir)?;
        let socket = runtime_dir(&self.name).join(format!("{daemon}.vty"));
        poll::until(&format!("{daemon} listening"), START, async || {
            ensure!(
                process.ended()?.is_none(),
                "it ended: {}",
                process.log_tail(5)
            );
            ensure!(socket.exists(), "no {}", socket.display());
            Ok(())
        })
        .await?;
        self.daemons.push(process);
        Ok(())
    }

    fn write_files(&self, configuration: &str) -> Result<()> {
        owned_dir(&runtime_dir(""), "frr", 0o755)?;
        owned_dir(&runtime_dir(&self.name), "frr", 0o755)?;
        owned_dir(&config_dir(&self.name), "frrvty", 0o775)?;
        for (file, text) in [("vtysh.conf", ""), ("frr.conf", configuration)] {
            let path = config_dir(&self.name).join(file);
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
            give(&path, "frr")?;
        }
        Ok(())
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.daemons.clear();
        remove_folders(&self.name);
    }
}

/// Whether there is a section for bfdd in it.
fn has_bfd(configuration: &str) -> bool {
    configuration.lines().any(|line| line == "bfd")
}

/// Removes what a router of that name keeps outside its namespace.
pub fn remove_folders(name: &str) {
    for dir in [runtime_dir(name), config_dir(name)] {
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                eprintln!("left behind: {}: {error}", dir.display());
            }
            _ => {}
        }
    }
}

fn runtime_dir(name: &str) -> PathBuf {
    Path::new("/var/run/frr").join(name)
}

fn config_dir(name: &str) -> PathBuf {
    Path::new("/etc/frr").join(name)
}

fn owned_dir(path: &Path, group: &str, mode: u32) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| path.display().to_string())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    give(path, group)
}

fn give(path: &Path, group: &str) -> Result<()> {
    let user = User::from_name("frr")?.context("no user frr: FRR is not installed")?;
    let group = Group::from_name(group)?.with_context(|| format!("no group {group}"))?;
    chown(path, Some(user.uid.as_raw()), Some(group.gid.as_raw()))
        .with_context(|| path.display().to_string())
}
