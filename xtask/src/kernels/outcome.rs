//! What the machine's console says about programs and tests.

use std::collections::BTreeMap;
use std::mem;

use serde::Serialize;

/// Everything that was heard of one machine.
#[derive(Debug, Default)]
pub struct Outcome {
    /// In the order in which they were loaded.
    pub programs: Vec<Program>,
    /// By the test program's name; none of one that did not end.
    pub tests: BTreeMap<String, Tests>,
    /// Of the test program that runs.
    current: Tests,
    listing_failures: bool,
    /// The next line is what a panic says.
    panicked: bool,
}

/// A BPF program, as tests/tests/programs.rs found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Object and program: `lb/lb`.
    pub name: String,
    /// Instructions that the verifier followed; none where it refused.
    pub verified_insns: Option<u32>,
    /// Why it was not loaded.
    pub refused: Option<String>,
}

/// A test program that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tests {
    /// Tests that passed.
    pub passed: u32,
    /// Names of those that did not.
    pub failed: Vec<String>,
    /// What the first of them said.
    pub why: Option<String>,
    /// Exit code.
    pub code: i32,
}

impl Outcome {
    /// Takes one line of the console.
    pub fn hear(&mut self, line: &str) {
        if let Some(program) = line.strip_prefix("PROGRAM ").and_then(program) {
            self.programs.push(program);
        } else if let Some((name, code)) = line.strip_prefix("RESULT ").and_then(result) {
            let tests = mem::take(&mut self.current);
            self.tests.insert(name.to_owned(), Tests { code, ..tests });
        } else if line == "failures:" {
            // Once before what they wrote, and once before their names alone.
            self.current.failed.clear();
            self.listing_failures = true;
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            self.listing_failures = false;
            self.current.passed = passed(counts).unwrap_or(0);
        } else if self.listing_failures {
            self.hear_failure(line);
        }
    }

    fn hear_failure(&mut self, line: &str) {
        let said = line.strip_prefix("Error: ");
        let said = said.or_else(|| self.panicked.then_some(line));
        self.panicked = line.starts_with("thread '") && line.contains("panicked at");
        if let Some(said) = said {
            self.current.why.get_or_insert_with(|| said.to_owned());
        } else if let Some(name) = line.strip_prefix("    ") {
            self.current.failed.push(name.to_owned());
        }
    }
}

/// `lb/lb 12345`, `lb/lb refused: why`.
fn program(text: &str) -> Option<Program> {
    let (name, found) = text.split_once(' ')?;
    let refused = found.strip_prefix("refused: ").map(str::to_owned);
    Some(Program {
        name: name.to_owned(),
        verified_insns: found.parse().ok(),
        refused,
    })
}

/// The test program and its exit code.
fn result(text: &str) -> Option<(&str, i32)> {
    let (test, code) = text.split_once(' ')?;
    Some((test, code.parse().ok()?))
}

/// `FAILED. 12 passed; 1 failed; ...`
fn passed(counts: &str) -> Option<u32> {
    let (before, _) = counts.split_once(" passed;")?;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "\
running 2 tests
test works ... ok
test breaks ... FAILED

successes:

---- works stdout ----
PROGRAM lb/lb 12345
PROGRAM backend/backend refused: unknown func bpf_x#1

successes:
    works

failures:

---- breaks stdout ----
thread 'breaks' panicked at tests/tests/backend/agent.rs:254:5:
    an indented line
note: run with `RUST_BACKTRACE=1`
    another

failures:
    breaks

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

RESULT backend 101
[    5.1] a line of the kernel's
RESULT broken
test result: ok. 3 passed; 0 failed; 0 ignored
RESULT generator 0";

    #[test]
    fn programs_and_tests_among_the_consoles_lines() {
        let mut outcome = Outcome::default();
        CONSOLE.lines().for_each(|line| outcome.hear(line));
        let program = |name: &str, verified_insns, refused: Option<&str>| Program {
            name: name.to_owned(),
            verified_insns,
            refused: refused.map(str::to_owned),
        };
        assert_eq!(
            outcome.programs,
            [
                program("lb/lb", Some(12345), None),
                program("backend/backend", None, Some("unknown func bpf_x#1")),
            ]
        );
        let tests = |passed, failed: &[&str], why: Option<&str>, code| Tests {
            passed,
            why: why.map(str::to_owned),
            failed: failed.iter().map(|name| (*name).to_owned()).collect(),
            code,
        };
        assert_eq!(
            outcome.tests,
            BTreeMap::from([
                (
                    "backend".to_owned(),
                    tests(1, &["breaks"], Some("    an indented line"), 101)
                ),
                ("generator".to_owned(), tests(3, &[], None, 0)),
            ])
        );
    }
}
