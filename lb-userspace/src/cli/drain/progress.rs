//! What is shown while a backend drains.

use std::time::Duration;

use super::super::output::{CLEAR, plural, span};

/// One line that changes on a terminal, and elsewhere a line for everything new.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    backend: &'a str,
    terminal: bool,
    said: Option<String>,
}

impl<'a> Progress<'a> {
    /// Nothing said of `backend` yet.
    pub(super) fn new(backend: &'a str, terminal: bool) -> Self {
        Self {
            backend,
            terminal,
            said: None,
        }
    }

    /// What to write after a reading, which may be nothing.
    pub(super) fn update(&mut self, reading: &Result<u64, String>, waited: Duration) -> String {
        let what = match reading {
            Ok(connections) => plural(*connections, "connection"),
            // A line that wraps cannot be cleared; the answer has the reason.
            Err(_) if self.terminal => "unknown".to_owned(),
            Err(reason) => format!("unknown: {reason}"),
        };
        let waited = span(waited.as_secs());
        if self.terminal {
            return format!("{CLEAR}{}: {what} after {waited}", self.backend);
        }
        if self.said.as_ref() == Some(&what) {
            return String::new();
        }
        let line = format!("{}: {what} after {waited}\n", self.backend);
        self.said = Some(what);
        line
    }

    /// What to write before the answer.
    pub(super) fn end(&self) -> &'static str {
        if self.terminal { CLEAR } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(terminal: bool) -> String {
        let mut progress = Progress::new("b1", terminal);
        let readings = [Ok(2), Ok(2), Err("refused".to_owned()), Ok(1)];
        let lines = readings
            .iter()
            .zip(0..)
            .map(|(reading, secs)| progress.update(reading, Duration::from_secs(secs)));
        let mut text: String = lines.collect();
        text.push_str(progress.end());
        text
    }

    #[test]
    fn a_terminal_has_one_line() {
        assert_eq!(
            shown(true),
            "\r\x1b[Kb1: 2 connections after 0s\r\x1b[Kb1: 2 connections after 1s\
             \r\x1b[Kb1: unknown after 2s\r\x1b[Kb1: 1 connection after 3s\r\x1b[K"
        );
    }

    #[test]
    fn elsewhere_there_is_a_line_for_everything_new() {
        assert_eq!(
            shown(false),
            "b1: 2 connections after 0s\nb1: unknown: refused after 2s\nb1: 1 connection after 3s\n"
        );
    }
}
