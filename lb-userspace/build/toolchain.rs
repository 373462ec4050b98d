//! Finds what compiles the eBPF programs. Shared by the build script, which uses it, and `cargo xtask setup`,
//! which installs what is missing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The eBPF target: little-endian, as every machine that anylb supports.
pub const TARGET: &str = "bpfel-unknown-none";

/// Where distribution packages put the compiler.
const SYSTEM_BIN: &str = "/usr/bin";

/// A compiler that can build `core` for [`TARGET`] without the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The distribution ships `core` prebuilt for the target (Debian: `libstd-rust-web-dev-bpf`).
    Prebuilt,
    /// rustup's nightly with the component `rust-src` builds `core` itself.
    Nightly,
}

impl Toolchain {
    /// The first of the two that is complete, the prebuilt one first: its version changes only with a package.
    pub fn find() -> Option<Self> {
        if prebuilt_core() {
            Some(Self::Prebuilt)
        } else if nightly_source() {
            Some(Self::Nightly)
        } else {
            None
        }
    }

    /// A scrubbed `cargo` of this toolchain, up to and including the subcommand `build`.
    pub fn cargo_build(&self) -> Command {
        match self {
            Self::Prebuilt => {
                let mut command = Command::new(Path::new(SYSTEM_BIN).join("cargo"));
                scrub(&mut command);
                command
                    .env("RUSTC", Path::new(SYSTEM_BIN).join("rustc"))
                    .arg("build");
                command
            }
            Self::Nightly => {
                let mut command = Command::new("rustup");
                scrub(&mut command);
                command.args(["run", "nightly", "cargo", "build", "-Zbuild-std=core"]);
                command
            }
        }
    }

    /// A scrubbed `rustc` of this toolchain.
    pub fn rustc(&self) -> Command {
        let mut command = match self {
            Self::Prebuilt => Command::new(Path::new(SYSTEM_BIN).join("rustc")),
            Self::Nightly => Command::new("rustup"),
        };
        scrub(&mut command);
        if *self == Self::Nightly {
            command.args(["run", "nightly", "rustc"]);
        }
        command
    }
}

/// `bpf-linker` in the project's own tools, else on the `PATH`.
pub fn linker(workspace: &Path) -> Option<PathBuf> {
    let own = workspace.join("target/tools/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    [own]
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|dir| dir.join("bpf-linker"))
        .find(|file| file.is_file())
}

fn prebuilt_core() -> bool {
    if !Path::new(SYSTEM_BIN).join("cargo").is_file() {
        return false;
    }
    let mut rustc = Toolchain::Prebuilt.rustc();
    let Some(libdir) = stdout(rustc.args(["--print", "target-libdir", "--target", TARGET])) else {
        return false;
    };
    let is_core = |name: &OsStr| name.to_string_lossy().starts_with("libcore-");
    fs::read_dir(libdir).is_ok_and(|dir| dir.flatten().any(|entry| is_core(&entry.file_name())))
}

fn nightly_source() -> bool {
    let Some(sysroot) = stdout(Toolchain::Nightly.rustc().args(["--print", "sysroot"])) else {
        return false;
    };
    Path::new(&sysroot)
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .is_file()
}

fn stdout(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Removes what an outer cargo, rustup or clippy leaves in the environment: the inner cargo is another one, with
/// another compiler, for another target.
fn scrub(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(leaks) {
            command.env_remove(name);
        }
    }
}

fn leaks(name: &str) -> bool {
    const KEPT: [&str; 4] = [
        "CARGO_HOME",
        "CARGO_TERM_COLOR",
        "RUSTUP_HOME",
        "RUSTUP_AUTO_INSTALL",
    ];
    const KEPT_PREFIXES: [&str; 4] = ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "RUSTUP_DIST_"];
    const BUILD_SCRIPT: [&str; 9] = [
        "TARGET",
        "HOST",
        "PROFILE",
        "OPT_LEVEL",
        "DEBUG",
        "NUM_JOBS",
        "OUT_DIR",
        "MAKEFLAGS",
        "LD_LIBRARY_PATH",
    ];
    const PREFIXES: [&str; 4] = ["CARGO", "RUST", "CLIPPY_", "DEP_"];
    let kept = KEPT.contains(&name) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    !kept
        && (BUILD_SCRIPT.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}
