//! `cargo xtask vm`: tests under a distribution's kernel, in a virtual machine without hardware support.
//!
//! The kernel that runs everything else may be newer than the oldest one supported, and may lack the kernel's own tunnel
//! devices. What runs in the machine are the test programs of the host, ignored tests included; the only difference is the
//! kernel. Nothing is installed on the host but the emulator.

mod archive;
mod guest;
mod kernel;
mod machine;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use self::guest::Guest;
use self::kernel::Kernel;
use crate::{setup, shell};

/// Programs that only this command needs.
const TOOLS: [setup::Tool; 2] = [
    setup::Tool {
        package: "qemu-system-x86",
        programs: &["qemu-system-x86_64"],
    },
    setup::Tool {
        package: "busybox-static",
        programs: &["busybox"],
    },
];

/// Test programs that mean something under another kernel: they load the programs and need no router.
const TESTS: [&str; 4] = ["plain_backends", "lb_datapath", "backend", "generator"];

/// Runs tests under a Debian kernel in a virtual machine.
#[derive(Parser)]
#[command(bin_name = "cargo xtask vm")]
struct Options {
    /// Debian package of the kernel, or one that depends on it
    #[arg(long, default_value = "linux-image-amd64")]
    kernel: String,
    /// Test programs to run: all that need no router where none is named
    #[arg(value_parser = TESTS)]
    tests: Vec<String>,
}

/// Fetches the kernel, builds the tests, boots, and fails unless every test passed.
pub fn run(args: &[OsString]) -> Result<()> {
    let name = OsString::from("vm");
    let options = Options::parse_from([name].iter().chain(args));
    setup::run()?;
    setup::tools(&TOOLS)?;
    let dir = shell::workspace().join("target/vm");
    let kernel = Kernel::fetch(&options.kernel, &dir)?;
    let names: Vec<&str> = if options.tests.is_empty() {
        TESTS.to_vec()
    } else {
        options.tests.iter().map(String::as_str).collect()
    };
    println!("vm: {} on Linux {}", names.join(", "), kernel.release);
    let mut guest = Guest::new(&kernel)?;
    for name in &names {
        guest.test(name, &built(name)?)?;
    }
    let initrd = dir.join("initrd");
    std::fs::write(&initrd, guest.finish()).with_context(|| initrd.display().to_string())?;
    let results = machine::run(&kernel.image, &initrd)?;
    for name in &names {
        let code = results.get(*name);
        ensure!(code.is_some(), "the machine ended before {name} did");
        ensure!(code == Some(&0), "{name} failed under {}", kernel.release);
    }
    println!("vm: ok: all passed on Linux {}", kernel.release);
    Ok(())
}

/// Builds a test program and says where it is.
fn built(test: &str) -> Result<PathBuf> {
    let mut cargo = shell::cargo();
    cargo
        .args(["test", "--no-run", "--package", "lb-tests", "--test", test])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit());
    let output = cargo.output().context("cargo")?;
    ensure!(output.status.success(), "cannot build {test}");
    let text = String::from_utf8(output.stdout).context("cargo's messages")?;
    let artifact = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|message| message["target"]["name"] == test && message["executable"].is_string());
    let artifact = artifact.with_context(|| format!("cargo built no {test}"))?;
    let path = artifact["executable"].as_str().unwrap_or_default();
    Ok(PathBuf::from(path))
}
