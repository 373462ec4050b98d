//! `bpf-linker`, built against the LLVM major version of the compiler whose bitcode it links.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use super::apt;
use super::compiler::{self, Compiler, TARGET, Toolchain};
use crate::shell;

/// The version that is installed, and the oldest that is accepted from elsewhere.
pub const VERSION: &str = "0.13.0";

/// The smallest program: linking it proves that the linker reads this compiler's bitcode.
const TRIAL: &str = "#![no_std]\n#![no_main]\n\
    #[panic_handler]\nfn panic(_: &core::panic::PanicInfo) -> ! { loop {} }\n\
    #[unsafe(no_mangle)]\nfn trial() -> u32 { 2 }\n";

/// Finds a linker that fits the compiler, or builds one into `target/tools`.
pub fn ensure(compiler: &Compiler) -> Result<()> {
    let tools = shell::workspace().join("target/tools");
    let own = tools.join("bin/bpf-linker");
    let fits = match compiler::linker() {
        Some(linker) if linker == own => built_for(&tools, compiler.llvm) && starts(&linker),
        Some(linker) => starts(&linker) && links(&linker, compiler, &tools)?,
        None => false,
    };
    if fits {
        return Ok(());
    }
    let prefix = llvm(compiler.llvm)?;
    build(&tools, &prefix, compiler.llvm)
}

/// Whether cargo's own record says that `target/tools` has our version, built for this LLVM.
fn built_for(tools: &Path, llvm: u32) -> bool {
    let Ok(text) = fs::read_to_string(tools.join(".crates2.json")) else {
        return false;
    };
    let Ok(record) = serde_json::from_str::<serde_json::Value>(&text) else {
        return false;
    };
    let Some(installs) = record["installs"].as_object() else {
        return false;
    };
    let wanted = format!("llvm-{llvm}");
    installs.iter().any(|(name, install)| {
        let features = install["features"].as_array().into_iter().flatten();
        name.starts_with(&format!("bpf-linker {VERSION} "))
            && features.flat_map(|f| f.as_str()).any(|f| f == wanted)
    })
}

/// A linker whose libLLVM is gone does not.
fn starts(linker: &Path) -> bool {
    shell::output(Command::new(linker).arg("--version")).is_some()
}

/// Links the smallest program. Without a prebuilt `core` that cannot be tried; the build will tell.
fn links(linker: &Path, compiler: &Compiler, tools: &Path) -> Result<bool> {
    if compiler.toolchain != Toolchain::Prebuilt {
        return Ok(true);
    }
    fs::create_dir_all(tools).with_context(|| tools.display().to_string())?;
    let source = tools.join("trial.rs");
    fs::write(&source, TRIAL).with_context(|| source.display().to_string())?;
    let mut rustc = compiler.toolchain.rustc();
    rustc.args([
        "--edition=2024",
        "--crate-type=bin",
        "-Cpanic=abort",
        "--target",
        TARGET,
    ]);
    rustc.arg(format!("-Clinker={}", linker.display()));
    Ok(shell::output(rustc.arg("-o").arg(tools.join("trial.o")).arg(&source)).is_some())
}

/// The prefix of LLVM's development files, installed where they are missing.
fn llvm(major: u32) -> Result<PathBuf> {
    if let Some(prefix) = llvm_prefix(major) {
        return Ok(prefix);
    }
    let packages = [format!("llvm-{major}-dev"), format!("libpolly-{major}-dev")];
    if !apt::available() {
        bail!(
            "no bpf-linker for LLVM {major}: put {VERSION} or newer, built for it, into target/tools/bin"
        );
    }
    apt::install(
        packages.iter().map(String::as_str).collect(),
        apt::Lists::AsTheyAre,
    )?;
    llvm_prefix(major).with_context(|| format!("{} did not bring llvm-config", packages.join(" ")))
}

fn llvm_prefix(major: u32) -> Option<PathBuf> {
    let names = [
        format!("/usr/lib/llvm-{major}/bin/llvm-config"),
        format!("llvm-config-{major}"),
        "llvm-config".into(),
    ];
    let config = names
        .iter()
        .filter_map(|name| shell::which(name))
        .find(|config| {
            let version = shell::output(Command::new(config).arg("--version"));
            version.is_some_and(|version| version.starts_with(&format!("{major}.")))
        })?;
    shell::output(Command::new(config).arg("--prefix")).map(|prefix| prefix.trim().into())
}

fn build(tools: &Path, prefix: &Path, llvm: u32) -> Result<()> {
    println!("setup: building bpf-linker {VERSION} for LLVM {llvm}, about two minutes");
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(
        [prefix.join("bin")]
            .into_iter()
            .chain(env::split_paths(&path)),
    )?;
    let scratch = tools.join("build");
    shell::run(
        shell::cargo()
            .args([
                "install",
                "bpf-linker",
                "--quiet",
                "--version",
                VERSION,
                "--locked",
                "--force",
            ])
            .args([
                "--no-default-features",
                "--features",
                &format!("llvm-{llvm}"),
                "--root",
            ])
            .arg(tools)
            .env("CARGO_TARGET_DIR", &scratch)
            .env("LLVM_PREFIX", prefix)
            .env("PATH", path),
    )?;
    fs::remove_dir_all(&scratch).with_context(|| scratch.display().to_string())
}
