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
    "lb-userspace/src/config",
    "lb-userspace/src/model.rs",
    "lb-userspace/src/plan",
    "lb-userspace/src/rows",
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
        except: &["lb-userspace/src/dataplane"],
        words: &["aya", "aya_log", "aya_obj"],
        why: "aya stays behind one module",
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
        part: &[
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

/// The root file of a pure part forbids unsafe code, for itself and all below.
fn unsafe_allowed(part: &str) -> Result<Option<String>> {
    let part = Path::new(part);
    let roots = [part.to_path_buf(), part.join("lib.rs"), part.join("mod.rs")];
    let root = roots
        .iter()
        .find(|file| shell::workspace().join(file).is_file());
    let root =
        root.with_context(|| format!("{}: no such part of the workspace", part.display()))?;
    let forbids = code::plain(&read(root)?).contains("#![forbid(unsafe_code)]");
    Ok((!forbids).then(|| {
        format!(
            "{}: `#![forbid(unsafe_code)]` is missing in a pure part",
            root.display()
        )
    }))
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

/// `tests.rs` and `tests/`: compiled for tests only, by the house's convention.
fn is_test(file: &Path) -> bool {
    file.components().any(|part| {
        ["tests", "tests.rs"]
            .iter()
            .any(|name| part.as_os_str() == *name)
    })
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(shell::workspace().join(file)).with_context(|| file.display().to_string())
}
