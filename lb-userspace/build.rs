//! Compiles the eBPF programs of `lb-ebpf` into one object each in `$OUT_DIR`, which the agent embeds.
//!
//! The programs need another compiler than the host's (see `build/toolchain.rs`), hence a second cargo with a
//! target directory of its own: it must not wait for the lock the outer cargo holds.

#[path = "build/commit.rs"]
mod commit;
#[path = "build/toolchain.rs"]
mod toolchain;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs};

use toolchain::{TARGET, Toolchain};

/// Without unaligned access LLVM reads packets byte by byte, which costs a third of the speed. Instructions on 32 bits (v3, Linux
/// 5.1) save the shifts that clear the upper half of a register.
const FLAGS: [&str; 4] = [
    "-Clink-arg=--btf",
    "-Cpanic=abort",
    "-Ctarget-cpu=v3",
    "-Ctarget-feature=+allows-misaligned-mem-access",
];

/// One object per role.
const PROGRAMS: [&str; 3] = ["lb", "backend", "generator"];

fn main() {
    let workspace = directory("CARGO_MANIFEST_DIR").join("..");
    let workspace = workspace
        .canonicalize()
        .expect("cargo's manifest directory has a parent");
    for input in [
        "lb-ebpf",
        "lb-common",
        "Cargo.lock",
        "Cargo.toml",
        "lb-userspace/build",
    ] {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(input).display()
        );
    }
    println!("cargo::rerun-if-changed=build.rs");
    commit::export(&workspace);
    if let Err(error) = build(&workspace, &directory("OUT_DIR")) {
        println!("cargo::error={error}");
    }
}

fn build(workspace: &Path, out: &Path) -> Result<(), String> {
    let toolchain = Toolchain::find()
        .ok_or_else(|| format!("no compiler for {TARGET}: run `cargo xtask setup`"))?;
    let linker = toolchain::linker(workspace).ok_or_else(|| {
        "no bpf-linker in target/tools/bin or on the PATH: run `cargo xtask setup`".to_owned()
    })?;
    let target = target_directory(out, workspace).join("ebpf");

    let mut flags = OsString::from("-Clinker=");
    flags.push(linker);
    for flag in FLAGS {
        flags.push("\x1f");
        flags.push(flag);
    }
    let mut cargo = toolchain.cargo_build();
    cargo
        .current_dir(workspace)
        .args([
            "--locked",
            "--package",
            "lb-ebpf",
            "--bins",
            "--profile",
            "ebpf",
        ])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target)
        // aya-ebpf uses an unstable feature; plain RUSTFLAGS would lose to a flag in somebody's configuration.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags);
    match cargo.status() {
        Ok(status) if status.success() => copy(&target.join(TARGET).join("ebpf"), out),
        Ok(_) => {
            Err("the eBPF programs do not compile: see the messages of the inner cargo".to_owned())
        }
        Err(error) => Err(format!("{error}: {cargo:?}: run `cargo xtask setup`")),
    }
}

fn copy(from: &Path, out: &Path) -> Result<(), String> {
    for program in PROGRAMS {
        let built = from.join(program);
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", built.display());
        let object = fs::read(&built).map_err(|error| failed(&error))?;
        let object = without_debug_info(&object).map_err(|error| failed(&error))?;
        fs::write(out.join(program).with_extension("o"), object).map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// Four fifths of an object are DWARF, which the linker makes the kernel's types (BTF) of and nobody reads afterwards; an agent would
/// have them in memory.
fn without_debug_info(object: &[u8]) -> object::build::Result<Vec<u8>> {
    let mut builder = object::build::elf::Builder::read(object)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    builder.delete_orphans();
    // The linker's objects have one table of names for sections and symbols; the builder makes two.
    let names = builder.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = object::build::elf::SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

/// The outermost directory cargo marked as its target: `$OUT_DIR` lies several levels below, how many depends on
/// profile and target. A copied target directory may lack the mark.
fn target_directory(out: &Path, workspace: &Path) -> PathBuf {
    let marked = out
        .ancestors()
        .filter(|dir| dir.join("CACHEDIR.TAG").is_file())
        .last();
    marked.map_or_else(|| workspace.join("target"), Path::to_path_buf)
}

fn directory(variable: &str) -> PathBuf {
    env::var_os(variable)
        .expect("cargo sets it for build scripts")
        .into()
}
