//! The emulator and what the machines' first process is: installed, or unpacked below `target/tools/qemu`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::apt;
use crate::shell;

/// Debian's packages, and the program of each.
const PROGRAMS: [(&str, &str); 2] = [("qemu-system-x86", EMULATOR), ("busybox-static", "busybox")];
const EMULATOR: &str = "qemu-system-x86_64";

/// Where they are.
pub struct Tools {
    unpacked: PathBuf,
}

impl Tools {
    /// Unpacks what is not there. Installing could fail where parts of another version of the emulator are installed.
    pub fn ensure() -> Result<Self> {
        let unpacked = shell::workspace().join("target/tools/qemu");
        let tools = Self { unpacked };
        let missing: Vec<&str> = PROGRAMS
            .iter()
            .filter(|(_, program)| tools.find(program).is_none())
            .map(|(package, _)| *package)
            .collect();
        if !missing.is_empty() {
            apt::unpack(&missing, &tools.unpacked)?;
        }
        Ok(tools)
    }

    /// The program of the machines' first process.
    pub fn busybox(&self) -> Result<PathBuf> {
        self.find("busybox").context("no busybox")
    }

    /// The emulator, before its arguments.
    pub fn emulator(&self) -> Result<Command> {
        let program = self.find(EMULATOR).context("no qemu-system-x86_64")?;
        let mut command = Command::new(&program);
        if program.starts_with(&self.unpacked) {
            let below = |path: &str| self.unpacked.join(path);
            let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(below);
            command
                .env("LD_LIBRARY_PATH", std::env::join_paths(&libraries)?)
                .env("QEMU_MODULE_DIR", libraries[0].join("qemu"));
            for data in ["usr/share/qemu", "usr/share/seabios"] {
                command.arg("-L").arg(below(data));
            }
        }
        Ok(command)
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        let unpacked = ["usr/bin", "bin"].map(|dir| self.unpacked.join(dir).join(program));
        shell::which(program).or_else(|| unpacked.into_iter().find(|file| file.is_file()))
    }
}
