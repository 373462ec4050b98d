//! Bad files, each with the whole message.
//!
//! A file of `bad/` has cases: a line `=== what is wrong`, lines to take out of the good file (`-`) and to put there (`+`;
//! without a `-` before, at the end of the file), a line `---`, and what must be shown. With `BLESS=1` in the environment the test writes what is shown into
//! the files, to be read before it is committed.

use super::{BACKEND, GOOD, read};

#[test]
fn file() {
    check("file", GOOD);
}

#[test]
fn node() {
    check("node", GOOD);
}

#[test]
fn bgp() {
    check("bgp", GOOD);
}

#[test]
fn pool() {
    check("pool", GOOD);
}

#[test]
fn health_check() {
    check("check", GOOD);
}

#[test]
fn service() {
    check("service", GOOD);
}

#[test]
fn backend() {
    check("backend", BACKEND);
}

#[test]
fn together() {
    check("together", GOOD);
}

/// Runs the cases of `bad/{name}.txt` against `good`.
fn check(name: &str, good: &str) {
    let path = format!(
        "{}/src/config/tests/bad/{name}.txt",
        env!("CARGO_MANIFEST_DIR")
    );
    let cases = std::fs::read_to_string(&path).expect("the cases are in the repository");
    assert!(cases.starts_with("=== "), "{path} has no case");
    let mut shown = String::new();
    for case in cases.split("=== ").skip(1) {
        let (head, _) = case.split_once("---\n").expect("a case has a line `---`");
        let what = head.lines().next().unwrap_or_default();
        let errors = read(&edited(good, head)).expect_err(what);
        shown.push_str(&format!("=== {head}---\n{errors}\n"));
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &shown).expect("the cases can be written");
    }
    assert_eq!(cases, shown, "{path}");
}

/// `good` with the lines of `head` exchanged.
fn edited(good: &str, head: &str) -> String {
    let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
    let mut at = lines.len();
    for edit in head.lines().skip(1) {
        let (sign, line) = edit.split_at(1);
        match sign {
            "-" => {
                at = lines
                    .iter()
                    .position(|found| found == line)
                    .unwrap_or_else(|| panic!("no line {line:?}"));
                lines.remove(at);
            }
            "+" => {
                lines.insert(at, line.to_owned());
                at += 1;
            }
            _ => panic!("neither - nor +: {edit:?}"),
        }
    }
    lines.join("\n") + "\n"
}
