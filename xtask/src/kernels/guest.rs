//! What is in the machine: a first process, modules, and programs of the host with the libraries they need.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::archive::Archive;
use super::kernel::Kernel;
use crate::shell;

/// The kernel's own tunnels; what namespaces are joined by; lists of sockets; filters on a device's way out. Nothing loads
/// modules on demand in the machine.
const MODULES: [&str; 12] = [
    "ipip",
    "sit",
    "ip6_tunnel",
    "fou",
    "fou6",
    "veth",
    "8021q",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "sch_ingress",
    "cls_bpf",
];
/// Called by tests.
const PROGRAMS: [&str; 4] = ["ip", "tc", "nft", "ethtool"];
/// The first process; [`super::outcome`] reads its results. `CI` makes a test fail that would skip.
const START: &str = r#"#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t devtmpfs dev /dev
$bb mount -t tmpfs tmp /tmp
$bb mount -t tmpfs run /run
$bb mount -t bpf bpf /sys/fs/bpf
export PATH=/usr/sbin CI=1
ulimit -l unlimited # before 5.11 maps count as locked memory
for module in /modules/*; do $bb insmod $module || echo "no $module"; done
ip link set lo up
for test in /tests/*; do
    $test --include-ignored --test-threads 1 --show-output
    echo "RESULT ${test##*/} $?"
done
$bb poweroff -f
"#;

/// The machine's file system, being filled.
pub struct Guest {
    archive: Archive,
    there: BTreeSet<PathBuf>,
}

impl Guest {
    /// Everything but the tests.
    pub fn new(kernel: &Kernel, busybox: &Path) -> Result<Self> {
        let mut guest = Self {
            archive: Archive::default(),
            there: BTreeSet::new(),
        };
        for mount in ["proc", "sys", "dev", "tmp", "run"] {
            guest.directory(&Path::new("/").join(mount));
        }
        guest.put(Path::new("/init"), START.as_bytes());
        for (n, (name, module)) in kernel.modules(&MODULES)?.iter().enumerate() {
            let path = format!("/modules/{n:02}-{name}.ko");
            guest.put(Path::new(&path), module);
        }
        guest.program(busybox, "/bin/busybox")?;
        for name in PROGRAMS {
            let program = shell::which(name).with_context(|| format!("not installed: {name}"))?;
            guest.program(&program, &format!("/usr/sbin/{name}"))?;
        }
        Ok(guest)
    }

    /// Adds a test program, without what only a debugger would read.
    pub fn test(&mut self, name: &str, program: &Path) -> Result<()> {
        let stripped = program.with_extension("stripped");
        shell::run(Command::new("strip").arg("-o").args([&stripped, program]))?;
        self.libraries(&stripped)?;
        let contents = read(&stripped)?;
        std::fs::remove_file(&stripped)?;
        self.put(&Path::new("/tests").join(name), &contents);
        Ok(())
    }

    /// The archive.
    pub fn finish(self) -> Vec<u8> {
        self.archive.finish()
    }

    fn program(&mut self, program: &Path, path: &str) -> Result<()> {
        self.libraries(program)?;
        self.put(Path::new(path), &read(program)?);
        Ok(())
    }

    /// What the loader finds for a program, at the same places.
    fn libraries(&mut self, program: &Path) -> Result<()> {
        let Some(text) = shell::output(Command::new("ldd").arg(program)) else {
            return Ok(()); // It needs none.
        };
        for word in text.split_whitespace().filter(|word| word.starts_with('/')) {
            let library = Path::new(word);
            self.put(library, &read(library)?);
        }
        ensure!(!text.contains("not found"), "{}: {text}", program.display());
        Ok(())
    }

    fn put(&mut self, path: &Path, contents: &[u8]) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        if self.there.insert(path.to_owned()) {
            self.archive.file(&path.to_string_lossy(), contents);
        }
    }

    /// With those around it.
    fn directory(&mut self, path: &Path) {
        if path == Path::new("/") || self.there.contains(path) {
            return;
        }
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        self.there.insert(path.to_owned());
        self.archive.directory(&path.to_string_lossy());
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}
