//! Which part may depend on what, as two tables, and the check of them. A step of `cargo xtask ci`.

mod code;
mod crates;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell;
use code::Mention;

/// Parts that know no clock, socket or task: they take bytes, state and `now`, and return values.
const PURE: &[&str] = &[
    "lb-common/src",
    "lb-userspace/src/agent/adopt.rs",
    "lb-userspace/src/agent/attacked.rs",
    "lb-userspace/src/agent/checks.rs",
    "lb-userspace/src/agent/clock.rs",
    "lb-userspace/src/agent/core.rs",
    "lb-userspace/src/agent/diff",
    "lb-userspace/src/agent/diff.rs",
    "lb-userspace/src/agent/overrides.rs",
    "lb-userspace/src/agent/peers.rs",
    "lb-userspace/src/agent/pool.rs",
    "lb-userspace/src/agent/hold.rs",
    "lb-userspace/src/agent/serving.rs",
    "lb-userspace/src/agent/tunnels.rs",
    "lb-userspace/src/agent/ways.rs",
    "lb-userspace/src/agent/withdrawn.rs",
    "lb-userspace/src/backend/image.rs",
    "lb-userspace/src/backend/kernel_types.rs",
    "lb-userspace/src/bench/figures.rs",
    "lb-userspace/src/bench/frame.rs",
    "lb-userspace/src/bench/plan.rs",
    "lb-userspace/src/bench/search.rs",
    "lb-userspace/src/bfd/diagnostic.rs",
    "lb-userspace/src/bfd/fsm",
    "lb-userspace/src/bfd/message.rs",
    "lb-userspace/src/bfd/packet.rs",
    "lb-userspace/src/bfd/sessions.rs",
    "lb-userspace/src/bgp/codec",
    "lb-userspace/src/bgp/community.rs",
    "lb-userspace/src/bgp/config.rs",
    "lb-userspace/src/bgp/discovery/machine.rs",
    "lb-userspace/src/bgp/discovery/message.rs",
    "lb-userspace/src/bgp/fsm",
    "lb-userspace/src/bgp/interface_name.rs",
    "lb-userspace/src/bgp/notification.rs",
    "lb-userspace/src/bgp/path.rs",
    "lb-userspace/src/bgp/peer_name.rs",
    "lb-userspace/src/bgp/remote.rs",
    "lb-userspace/src/bgp/rib.rs",
    "lb-userspace/src/bgp/route.rs",
    "lb-userspace/src/cli/router_config",
    "lb-userspace/src/cli/trace/packet.rs",
    "lb-userspace/src/cli/trace/pcapng.rs",
    "lb-userspace/src/cli/trace/sink.rs",
    "lb-userspace/src/config",
    "lb-userspace/src/doctor/facts.rs",
    "lb-userspace/src/doctor/judge.rs",
    "lb-userspace/src/filter",
    "lb-userspace/src/health/board.rs",
    "lb-userspace/src/health/certificate.rs",
    "lb-userspace/src/health/jitter.rs",
    "lb-userspace/src/health/machine.rs",
    "lb-userspace/src/health/progress.rs",
    "lb-userspace/src/health/search.rs",
    "lb-userspace/src/health/verdict.rs",
    "lb-userspace/src/model",
    "lb-userspace/src/model.rs",
    "lb-userspace/src/netlink/next_hop.rs",
    "lb-userspace/src/netlink/table.rs",
    "lb-userspace/src/path_mtu/learned.rs",
    "lb-userspace/src/path_mtu/report.rs",
    "lb-userspace/src/plan",
    "lb-userspace/src/rows",
    "lb-userspace/src/status",
    "lb-userspace/src/status.rs",
];

/// The thin edge of `config`: the real machine behind a trait.
const HOST: &[&str] = &["lb-userspace/src/config/host.rs"];

/// `part` (without `except`) does not mention `words`.
struct Rule {
    part: &'static [&'static str],
    except: &'static [&'static str],
    words: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        part: PURE,
        except: &[],
        words: &[
            "Instant::now",
            "SystemTime",
            "rand",
            "getrandom",
            "std::thread",
            "std::process",
            "tokio",
        ],
        why: "pure code is given the time and takes no chances",
    },
    Rule {
        part: PURE,
        except: HOST,
        words: &[
            "TcpListener",
            "TcpStream",
            "UdpSocket",
            "UnixListener",
            "UnixStream",
            "aya",
            "axum",
            "libc",
            "nix",
            "rtnetlink",
            "socket2",
        ],
        why: "pure code does no I/O",
    },
    Rule {
        part: PURE,
        except: HOST,
        words: &["std::fs", "File"],
        why: "pure code is given the bytes",
    },
    Rule {
        part: &["lb-userspace/src"],
        except: &[
            "lb-userspace/src/backend/datapath",
            "lb-userspace/src/dataplane",
        ],
        words: &["aya", "aya_log", "aya_obj"],
        why: "aya stays behind the loader of each role",
    },
    Rule {
        part: &["lb-userspace/src/bgp"],
        except: &[],
        words: &[
            "crate::agent",
            "crate::api",
            "crate::backend",
            "crate::cli",
            "crate::config",
            "crate::dataplane",
            "crate::health",
            "crate::model",
            "crate::netlink",
            "crate::plan",
            "crate::rows",
            "crate::status",
            "lb_common",
        ],
        why: "BGP knows nothing of load balancing",
    },
    Rule {
        part: &["lb-userspace/src/bfd"],
        except: &[],
        words: &[
            "crate::agent",
            "crate::api",
            "crate::backend",
            "crate::bgp",
            "crate::cli",
            "crate::config",
            "crate::dataplane",
            "crate::health",
            "crate::model",
            "crate::netlink",
            "crate::plan",
            "crate::rows",
            "crate::status",
            "lb_common",
        ],
        why: "BFD knows nothing of load balancing, nor of BGP",
    },
    Rule {
        part: &[
            "lb-userspace/src/model",
            "lb-userspace/src/model.rs",
            "lb-userspace/src/rows",
            "lb-userspace/src/status.rs",
        ],
        except: &[],
        words: &[
            "crate::agent",
            "crate::api",
            "crate::cli",
            "crate::config",
            "crate::dataplane",
            "crate::netlink",
        ],
        why: "what everything uses depends on nothing above it",
    },
];

/// Checks both tables and `forbid(unsafe_code)` of the pure parts; names every breach.
pub fn run() -> Result<()> {
    let mut breaches = crates::breaches()?;
    for part in PURE {
        breaches.extend(unsafe_allowed(part)?);
    }
    for rule in RULES {
        breaches.extend(rule.breaches()?);
    }
    if breaches.is_empty() {
        return Ok(());
    }
    bail!(
        "{} breaches of the layering:\n  {}",
        breaches.len(),
        breaches.join("\n  ")
    );
}

impl Rule {
    fn breaches(&self) -> Result<Vec<String>> {
        let mut breaches = Vec::new();
        for part in self.part {
            for file in files(part)?.into_iter().filter(|file| !self.excepts(file)) {
                for Mention { line, word } in code::mentions(&read(&file)?, self.words) {
                    breaches.push(format!("{}:{line}: `{word}`: {}", file.display(), self.why));
                }
            }
        }
        Ok(breaches)
    }

    fn excepts(&self, file: &Path) -> bool {
        self.except.iter().any(|part| file.starts_with(part)) || is_test(file)
    }
}

/// Every file of a pure part is below one that forbids unsafe code: itself, or the root file of a directory it is in.
fn unsafe_allowed(part: &str) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    for file in files(part)?.iter().filter(|file| !is_test(file)) {
        let roots = file
            .ancestors()
            .skip(1)
            .flat_map(|dir| [dir.join("mod.rs"), dir.join("lib.rs")]);
        let mut above = roots.filter(|root| shell::workspace().join(root).is_file());
        if !forbids_unsafe(file)? && !above.any(|root| forbids_unsafe(&root).unwrap_or(false)) {
            breaches.push(format!(
                "{}: pure, but nothing forbids unsafe code",
                file.display()
            ));
        }
    }
    Ok(breaches)
}

fn forbids_unsafe(file: &Path) -> Result<bool> {
    Ok(code::plain(&read(file)?).contains("#![forbid(unsafe_code)]"))
}

/// All Rust files of a part, relative to the workspace.
fn files(part: &str) -> Result<Vec<PathBuf>> {
    let path = shell::workspace().join(part);
    if path.is_file() {
        return Ok(vec![part.into()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&path).with_context(|| part.to_owned())? {
        let name = entry?.file_name();
        let below = Path::new(part).join(&name);
        if shell::workspace().join(&below).is_dir() {
            found.extend(files(&below.to_string_lossy())?);
        } else if below.extension().is_some_and(|extension| extension == "rs") {
            found.push(below);
        }
    }
    found.sort();
    Ok(found)
}

/// `tests.rs`, `x_tests.rs`, `tests/` and `x_tests/`: compiled for tests only, by the house's convention.
fn is_test(file: &Path) -> bool {
    file.iter().any(|part| {
        let part = part.to_string_lossy();
        let part = part.strip_suffix(".rs").unwrap_or(&part);
        part == "tests" || part.ends_with("_tests")
    })
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(shell::workspace().join(file)).with_context(|| file.display().to_string())
}
