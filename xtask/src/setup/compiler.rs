//! The compiler of the eBPF programs.

use std::fmt;

use anyhow::{Context, Result, bail};

use super::apt;
use crate::shell;

#[path = "../../../lb-userspace/build/toolchain.rs"]
#[allow(
    dead_code,
    reason = "the build script shares the file and uses more of it"
)]
mod toolchain;

pub use toolchain::{TARGET, Toolchain};

/// Debian's compiler, its cargo and the prebuilt `core` for BPF.
const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// The oldest release that compiles the workspace.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// A compiler that was found, and what it says about itself.
pub struct Compiler {
    /// Where it comes from.
    pub toolchain: Toolchain,
    /// `1.96.0`.
    release: String,
    /// Major version of its LLVM, which the linker's must not be older than.
    pub llvm: u32,
}

/// Finds a compiler that is new enough, or installs Debian's.
pub fn ensure() -> Result<Compiler> {
    if let Some(compiler) = find()? {
        return Ok(compiler);
    }
    if !apt::available() {
        bail!(
            "no compiler for {TARGET}: run `rustup toolchain install nightly --component rust-src`"
        );
    }
    apt::install(PACKAGES.to_vec(), apt::Lists::Fetch)?;
    find()?.with_context(|| {
        format!(
            "{} of this release are older than {OLDEST}: run `rustup toolchain install nightly --component rust-src`",
            PACKAGES.join(" ")
        )
    })
}

fn find() -> Result<Option<Compiler>> {
    let Some(toolchain) = Toolchain::find() else {
        return Ok(None);
    };
    let version = shell::output(toolchain.rustc().arg("-vV")).context("rustc -vV failed")?;
    let release = field(&version, "release: ")?.to_owned();
    let llvm = number(field(&version, "LLVM version: ")?)
        .next()
        .context("rustc -vV: LLVM version")?;
    let new_enough = number(&release).ge(number(OLDEST));
    Ok(new_enough.then_some(Compiler {
        toolchain,
        release,
        llvm,
    }))
}

/// Where the build script will look for the linker.
pub fn linker() -> Option<std::path::PathBuf> {
    toolchain::linker(shell::workspace())
}

fn field<'a>(version: &'a str, name: &str) -> Result<&'a str> {
    version
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("rustc -vV has no `{name}`"))
}

/// The numbers of `1.97.0-nightly`, in order.
fn number(version: &str) -> impl Iterator<Item = u32> {
    version
        .split(['.', '-'])
        .map_while(|part| part.parse().ok())
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.toolchain {
            Toolchain::Prebuilt => "prebuilt core",
            Toolchain::Nightly => "rust-src",
        };
        write!(f, "rustc {} ({kind}, LLVM {})", self.release, self.llvm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        for (release, oldest, fits) in [
            ("1.96.0", "1.95", true),
            ("1.95.0", "1.95", true),
            ("1.100.0-nightly", "1.95", true),
            ("1.85.0", "1.95", false),
            ("1.9.0", "1.95", false),
        ] {
            assert_eq!(
                number(release).ge(number(oldest)),
                fits,
                "{release} for {oldest}"
            );
        }
    }

    #[test]
    fn fields_of_the_version_text() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(field(text, "LLVM version: ").ok(), Some("22.1.8"));
        assert!(field(text, "host: ").is_err());
    }
}
