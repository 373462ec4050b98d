//! Debian packages.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;

/// What to do about the package lists before installing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// Fetch them only if they do not know a package.
    AsTheyAre,
    /// Fetch them: they may know an older version only.
    Fetch,
}

/// Whether this system has apt.
pub fn available() -> bool {
    shell::which("apt-get").is_some()
}

/// Installs packages; nothing to do for an empty list. Never removes one that is there.
pub fn install(packages: Vec<&str>, lists: Lists) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if !available() {
        bail!(
            "missing, and this system has no apt: install what Debian calls {names}, then run this again"
        );
    }
    if !shell::is_root() {
        bail!(
            "missing: {names}: run `sudo apt-get update && sudo apt-get install --no-install-recommends {names}`"
        );
    }
    if lists == Lists::Fetch || !packages.iter().all(|package| known(package)) {
        update()?;
    }
    println!("setup: installing {names}");
    if install_known(&packages).is_err() {
        update()?;
        install_known(&packages).with_context(|| format!("installing {names}"))?;
    }
    for service in &SERVICES {
        if packages.contains(&service.package) {
            service.stop()?;
        }
    }
    Ok(())
}

/// Unpacks packages, and what they need that is not installed, below `root`: no matter what else is installed, and without
/// being root.
pub fn unpack(packages: &[&str], root: &Path) -> Result<()> {
    let names = packages.join(" ");
    if !available() {
        bail!("missing, and this system has no apt: install what Debian calls {names}");
    }
    println!("setup: fetching {names}");
    let files = root.with_extension("packages");
    std::fs::create_dir_all(files.join("partial")).with_context(|| files.display().to_string())?;
    if fetch(packages, &files).is_err() {
        update()?;
        fetch(packages, &files).with_context(|| format!("fetching {names}"))?;
    }
    for file in std::fs::read_dir(&files)? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            extract(&file, root)?;
        }
    }
    std::fs::remove_dir_all(&files).with_context(|| files.display().to_string())
}

/// Unpacks a package's file below `root`.
pub fn extract(file: &Path, root: &Path) -> Result<()> {
    shell::run(Command::new("dpkg-deb").arg("-x").args([file, root]))
}

/// Whether the package lists have a version of it.
pub fn known(package: &str) -> bool {
    let policy = shell::output(Command::new("apt-cache").args(["policy", package]));
    policy.is_some_and(|text| text.contains("Candidate:") && !text.contains("Candidate: (none)"))
}

fn update() -> Result<()> {
    println!("setup: fetching package lists");
    shell::run(apt_get().arg("update"))
}

/// As an installation would fetch them: one that takes away what is in the way is refused nothing, and done never.
fn fetch(packages: &[&str], dir: &Path) -> Result<()> {
    shell::run(
        apt_get()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(["--download-only", "-o", "Debug::NoLocking=1"])
            .args(["-o", "APT::Sandbox::User=root", "-o"])
            .arg(format!("Dir::Cache::archives={}", dir.display()))
            .args(packages),
    )
}

fn install_known(packages: &[&str]) -> Result<()> {
    shell::run(
        apt_get()
            .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
            .args(packages),
    )
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["-qq", "-o", "DPkg::Lock::Timeout=300"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A package that starts its program where an init system lets it. Lab and tests run their own, in namespaces.
struct Service {
    package: &'static str,
    /// Of systemd and of `/etc/init.d`.
    name: &'static str,
    /// Runs while the service does.
    process: &'static str,
}

const SERVICES: [Service; 6] = [
    Service {
        package: "frr",
        name: "frr",
        process: "watchfrr",
    },
    Service {
        package: "bird2",
        name: "bird",
        process: "bird",
    },
    Service {
        package: "prometheus",
        name: "prometheus",
        process: "prometheus",
    },
    Service {
        package: "gobgpd",
        name: "gobgpd",
        process: "gobgpd",
    },
    Service {
        package: "exabgp",
        name: "exabgp",
        process: "exabgp",
    },
    Service {
        package: "openbgpd",
        name: "openbgpd",
        process: "bgpd",
    },
];

impl Service {
    fn stop(&self) -> Result<()> {
        if Path::new("/run/systemd/system").is_dir() {
            let unit = format!("{}.service", self.name);
            return shell::run(Command::new("systemctl").args(["disable", "--now", &unit]));
        }
        let script = Path::new("/etc/init.d").join(self.name);
        let runs = || shell::output(Command::new("pgrep").args(["-x", self.process])).is_some();
        if script.exists() && runs() {
            shell::run(Command::new(script).arg("stop"))?;
        }
        Ok(())
    }
}
