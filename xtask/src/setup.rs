//! `cargo xtask setup`: finds or installs what building, testing and the lab need.
//!
//! Idempotent, and the other commands call it first. It writes nothing outside `target/` but what the distribution's
//! packages bring.

pub mod apt;
mod compiler;
mod linker;

use anyhow::Result;

use crate::shell;

/// Programs of lab and tests: any of the paths or names, and Debian's package.
const TOOLS: [Tool; 7] = [
    Tool {
        package: "frr",
        programs: &["/usr/lib/frr/bgpd", "/usr/libexec/frr/bgpd"],
    },
    Tool {
        package: "bird2",
        programs: &["/usr/sbin/bird"],
    },
    Tool {
        package: "prometheus",
        programs: &["promtool"],
    },
    Tool {
        package: "nftables",
        programs: &["nft"],
    },
    Tool {
        package: "iproute2",
        programs: &["ip"],
    },
    Tool {
        package: "ethtool",
        programs: &["ethtool"],
    },
    Tool {
        package: "tshark",
        programs: &["tshark"],
    },
];

/// A program of the distribution.
pub struct Tool {
    /// Debian's package.
    pub package: &'static str,
    /// Any of these paths or names will do.
    pub programs: &'static [&'static str],
}

/// Leaves everything in place, or fails with one line that names what is missing and the command that brings it.
pub fn run() -> Result<()> {
    tools(&TOOLS)?;
    let compiler = compiler::ensure()?;
    linker::ensure(&compiler)?;
    println!(
        "setup: ok: {compiler}, bpf-linker {}, FRR, BIRD, Prometheus, nft, ip, ethtool, tshark",
        linker::VERSION
    );
    if !shell::is_root() {
        println!(
            "setup: not root: this builds, but namespaces and BPF need root (lab, bench, most of test)"
        );
    }
    Ok(())
}

/// Installs those that are missing.
pub fn tools(tools: &[Tool]) -> Result<()> {
    let missing = tools.iter().filter(|tool| !tool.is_there());
    let packages = missing.map(|tool| tool.package).collect();
    apt::install(packages, apt::Lists::AsTheyAre)
}

impl Tool {
    fn is_there(&self) -> bool {
        self.programs
            .iter()
            .any(|program| shell::which(program).is_some())
    }
}
