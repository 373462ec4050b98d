//! A file that is no TOML: what the parser says, and what can still be read.

use toml::de::{DeTable, Error};

use super::diagnostic::Diagnostic;
use super::place::{Position, Span};

/// What the parser found, without what only follows from an error before.
pub fn errors(text: &str, found: &[Error]) -> Vec<Diagnostic> {
    let damage = Damage::of(text, found);
    let mut errors: Vec<(usize, &Error)> = found
        .iter()
        .map(|error| (error.span().map_or(0, |span| span.start), error))
        .collect();
    errors.sort_by_key(|(at, _)| *at);
    let mut shown: Vec<Diagnostic> = Vec::new();
    let mut last_line = 0;
    for (at, error) in errors {
        let line = Position::of(text, at).line;
        if line != last_line && !damage.is_follow_up(line, error) {
            shown.push(diagnostic(error));
        }
        last_line = line;
    }
    shown
}

fn diagnostic(error: &Error) -> Diagnostic {
    let message = error.message().trim_end();
    let diagnostic = Diagnostic::at(&error.span().unwrap_or(0..0), message);
    match message {
        "duplicate key" => diagnostic.label("it is in the file before this"),
        _ if is_bracket(error) => {
            diagnostic.help("is there a closing bracket for every opening one, here and above?")
        }
        _ => diagnostic,
    }
}

/// Whether the error is about what stands in brackets.
fn is_bracket(error: &Error) -> bool {
    let message = error.message();
    message.contains("in array")
        || message.contains("array elements")
        || message.contains("key-value pairs")
        || message.contains("unclosed array,")
        || message.contains("inline table")
}

/// `text` with blanks in place of the lines that `found` complains of, every byte else at its place, so that the rest can be
/// checked as well. `None` where the rest is no TOML either.
pub fn remains(text: &str, found: &[Error]) -> Option<String> {
    let damage = Damage::of(text, found);
    let rest: String = text
        .split_inclusive('\n')
        .zip(&damage.lines)
        .map(|(line, state)| match state {
            State::Sound => line.to_owned(),
            State::Damaged | State::Orphaned => blank(line),
        })
        .collect();
    let (_, left) = DeTable::parse_recoverable(&rest);
    left.is_empty().then_some(rest)
}

fn blank(line: &str) -> String {
    line.bytes()
        .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
        .collect()
}

/// Which lines are damaged.
struct Damage {
    lines: Vec<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Sound,
    /// The parser complains of it.
    Damaged,
    /// It stands below a damaged header: nobody knows what table it belongs to.
    Orphaned,
}

impl Damage {
    fn of(text: &str, found: &[Error]) -> Self {
        // What is missing at the very end is missing on the last line.
        let last = text.len().saturating_sub(1);
        let spans: Vec<Span> = found
            .iter()
            .filter_map(Error::span)
            .map(|span| span.start.min(last)..span.end)
            .collect();
        let mut lines = Vec::new();
        let mut end = 0;
        let mut orphaned = false;
        for line in text.split_inclusive('\n') {
            let range = end..end + line.len();
            end = range.end;
            let damaged = spans.iter().any(|span| touches(&range, span));
            let start = line.trim_start();
            let state = if start.starts_with('[') {
                orphaned = damaged;
                if damaged {
                    State::Damaged
                } else {
                    State::Sound
                }
            } else if orphaned {
                State::Orphaned
            } else if damaged {
                State::Damaged
            } else if start.is_empty() || start.starts_with('#') {
                // Nothing to be damaged: it does not end the wake of a line that is.
                lines.last().copied().unwrap_or(State::Sound)
            } else {
                State::Sound
            };
            lines.push(state);
        }
        Damage { lines }
    }

    /// Whether `error` on `line` (from 1) only follows from another: below a damaged header, or in the wake of a bracket
    /// that is not closed, which makes every line behind it wrong.
    fn is_follow_up(&self, line: usize, error: &Error) -> bool {
        let before = self.lines.get(..line.saturating_sub(1)).unwrap_or_default();
        let in_wake =
            is_bracket(error) && before.last().is_some_and(|state| *state != State::Sound);
        in_wake || self.lines.get(line.saturating_sub(1)) == Some(&State::Orphaned)
    }
}

/// Whether `span` has a byte in `line`; an empty one at its end (what is missing there) counts.
fn touches(line: &Span, span: &Span) -> bool {
    span.start < line.end && span.end.max(span.start + 1) > line.start
}
