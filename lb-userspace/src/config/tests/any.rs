//! Any text: never a panic, and every message points into the file.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{BACKEND, GOOD, read};
use crate::config::{Diagnostics, Position};

/// What a hand may do to a file.
#[derive(Clone, Debug)]
enum Edit {
    Delete(Index, usize),
    Insert(Index, String),
    Double(Index),
    Swap(Index, Index),
    Replace(Index, &'static str),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<Index>(), 1..40_usize).prop_map(|(at, len)| Edit::Delete(at, len)),
        (any::<Index>(), "[\\PC\\n\\t\"'\\[\\]{}=#.,\\x1b]{0,8}")
            .prop_map(|(at, text)| Edit::Insert(at, text)),
        any::<Index>().prop_map(Edit::Double),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Edit::Swap(a, b)),
        (any::<Index>(), select(VALUES)).prop_map(|(at, value)| Edit::Replace(at, value)),
    ]
}

/// Values that somebody may write, each wrong for most keys.
const VALUES: &[&str] = &[
    "0",
    "-1",
    "1",
    "65536",
    "99999999999999999999",
    "0xff",
    "1.5",
    "nan",
    "true",
    "1979-05-27",
    "\"\"",
    "\"é\\u0000\"",
    "\"0.0.0.0\"",
    "\"::ffff:192.0.2.1\"",
    "\"fe80::1%eth0\"",
    "\"192.0.2.0/24\"",
    "\"99999999999d\"",
    "\"101%\"",
    "\"65536:1\"",
    "\"1:2:3\"",
    "\"any\"",
    "\"80-90\"",
    "[]",
    "[[]]",
    "[1, \"a\", {}]",
    "{}",
    "{ type = \"http\" }",
    "[{ address = \"10.1.0.1\" }]",
    "\"/etc/anylb/open.key\"",
];

fn apply(text: &str, edit: &Edit) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if chars.is_empty() || lines.is_empty() {
        return text.to_owned();
    }
    match edit {
        Edit::Delete(at, len) => {
            let at = at.index(chars.len());
            chars.drain(at..(at + len).min(chars.len()));
            return chars.into_iter().collect();
        }
        Edit::Insert(at, more) => {
            let at = at.index(chars.len());
            chars.splice(at..at, more.chars());
            return chars.into_iter().collect();
        }
        Edit::Double(at) => {
            let at = at.index(lines.len());
            lines.insert(at, lines[at].clone());
        }
        Edit::Swap(a, b) => {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
        }
        Edit::Replace(at, value) => {
            let at = at.index(lines.len());
            if let Some((key, _)) = lines[at].split_once('=') {
                lines[at] = format!("{key}= {value}");
            }
        }
    }
    lines.join("\n")
}

fn check(text: &str, errors: &Diagnostics) -> Result<(), TestCaseError> {
    prop_assert!(!errors.errors().is_empty());
    for error in errors.errors() {
        let span = error.span.clone().expect("a file that was read has places");
        prop_assert!(
            span.start <= span.end && span.end <= text.len(),
            "{error:?}"
        );
        let shown = errors.render(false);
        let Position { line, column } = Position::of(text, span.start);
        prop_assert!(
            shown.contains(&format!(":{line}:{column}\n")),
            "{line}:{column} is not in\n{shown}"
        );
        prop_assert!(
            !shown.contains('\x1b'),
            "control characters reach the terminal"
        );
    }
    prop_assert!(errors.render(true).contains('\x1b'));
    prop_assert!(serde_json::to_string(errors).is_ok());
    Ok(())
}

proptest! {
    #[test]
    fn an_edited_file_never_panics(
        backend in any::<bool>(),
        edits in proptest::collection::vec(edit(), 1..5),
    ) {
        let good = if backend { BACKEND } else { GOOD };
        let text = edits.iter().fold(good.to_owned(), |text, edit| apply(&text, edit));
        if let Err(errors) = read(&text) {
            check(&text, &errors)?;
        }
    }

    #[test]
    fn no_text_at_all_panics(text in "[\\PC\\n\\r\\t\\x00-\\x1f]{0,200}") {
        if let Err(errors) = read(&text) {
            check(&text, &errors)?;
        }
    }
}
