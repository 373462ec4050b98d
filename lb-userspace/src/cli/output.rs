//! Tables, colour, JSON.

use std::fmt::Display;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Row, Table};
use serde::Serialize;

use super::args::Format;
use super::error::CliError;
use crate::status::{Envelope, Exit};

/// To the left edge, and clear the line (ECMA-48 EL).
pub(super) const CLEAR: &str = "\r\x1b[K";
/// Width of a table unless it may be as wide as it is.
const COLUMNS: u16 = 80;
/// Blanks between two columns.
const GAP: u16 = 2;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// Table, JSON or wide.
    pub format: Format,
    /// Whether a terminal will show it in colour.
    pub colour: bool,
}

/// What a command prints and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// All of standard output, newlines included.
    pub text: String,
    /// The exit code.
    pub exit: Exit,
}

impl Answer {
    /// `envelope` as JSON, or else as `table` makes it, ending well.
    pub(super) fn new<T: Serialize>(
        style: Style,
        envelope: &Envelope<T>,
        table: impl FnOnce(&T) -> String,
    ) -> Result<Self, CliError> {
        let text = match style.format {
            Format::Json => to_json(envelope)?,
            Format::Table | Format::Wide => table(&envelope.body),
        };
        Ok(Self {
            text,
            exit: Exit::Ok,
        })
    }
}

impl Style {
    /// Whether there is room for more columns.
    pub(super) fn wide(self) -> bool {
        self.format == Format::Wide
    }

    /// A table without lines, with a head.
    pub(super) fn table<const N: usize>(self, head: [Head; N], rows: Vec<[Cell; N]>) -> String {
        self.lines(&head, rows)
    }

    /// The same with a reason behind each row.
    pub(super) fn table_with_reasons<const N: usize>(
        self,
        head: [Head; N],
        rows: Vec<([Cell; N], Option<&str>)>,
    ) -> String {
        let head = head.into_iter().chain([text("REASON")]);
        let rows = rows
            .into_iter()
            .map(|(cells, reason)| cells.into_iter().chain([optional(reason)]));
        self.lines(&head.collect::<Vec<_>>(), rows)
    }

    fn lines<Cells: IntoIterator<Item = Cell>>(
        self,
        head: &[Head],
        rows: impl IntoIterator<Item = Cells>,
    ) -> String {
        let mut table = self.plain();
        table.set_header(head.iter().map(|head| head.name));
        table.add_rows(rows.into_iter().map(Row::from));
        for (head, column) in head.iter().zip(table.column_iter_mut()) {
            column.set_cell_alignment(head.alignment);
        }
        self.finish(table)
    }

    /// Names and values, one pair a line.
    pub(super) fn pairs(self, pairs: &[(&str, String)]) -> String {
        let mut table = self.plain();
        for (name, value) in pairs {
            table.add_row([*name, value]);
        }
        self.finish(table)
    }

    /// Rows of words without a head.
    pub(super) fn rows<const N: usize>(self, rows: Vec<[String; N]>) -> String {
        let mut table = self.plain();
        table.add_rows(rows);
        self.finish(table)
    }

    fn plain(self) -> Table {
        let mut table = Table::new();
        table.load_preset(NOTHING);
        if self.wide() {
            table.set_content_arrangement(ContentArrangement::Disabled);
        } else {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            // The last column's gap goes past the edge, where it is cut off.
            table.set_width(COLUMNS + GAP);
        }
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table
    }

    fn finish(self, mut table: Table) -> String {
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        table
            .lines()
            .map(|line| line.trim_end().to_string() + "\n")
            .collect()
    }
}

/// Colour only on a terminal, and never with NO_COLOR (no-color.org: set and not empty).
pub(super) fn colour_on(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A count with its noun.
pub(super) fn plural<N: Display + From<u8> + PartialEq>(count: N, noun: &str) -> String {
    let ending = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// Head of a column.
pub(super) struct Head {
    name: &'static str,
    alignment: CellAlignment,
}

/// Head of a column of words.
pub(super) const fn text(name: &'static str) -> Head {
    Head {
        name,
        alignment: CellAlignment::Left,
    }
}

/// Head of a column of numbers.
pub(super) const fn number(name: &'static str) -> Head {
    Head {
        name,
        alignment: CellAlignment::Right,
    }
}

/// A cell that is green when all is well and red when not.
pub(super) fn verdict(text: impl ToString, good: bool) -> Cell {
    Cell::new(text).fg(if good { Color::Green } else { Color::Red })
}

/// A cell that draws the eye without an alarm.
pub(super) fn notice(text: impl ToString) -> Cell {
    Cell::new(text).fg(Color::Yellow)
}

/// A cell that may have nothing to say; an empty text says nothing either.
pub(super) fn optional(text: Option<&str>) -> Cell {
    Cell::new(text.filter(|text| !text.is_empty()).unwrap_or("-"))
}

/// A time span in its two largest units: `42s`, `5m10s`, `2h5m`, `3d4h`.
pub(super) fn span(secs: u64) -> String {
    let (minute, hour, day) = (60, 3600, 86_400);
    match secs {
        _ if secs < minute => format!("{secs}s"),
        _ if secs < hour => format!("{}m{}s", secs / minute, secs % minute),
        _ if secs < day => format!("{}h{}m", secs / hour, secs % hour / minute),
        _ => format!("{}d{}h", secs / day, secs % day / hour),
    }
}

/// Indented JSON, ending in a newline.
pub(super) fn to_json(value: &impl Serialize) -> Result<String, CliError> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot write the answer: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        for (secs, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m0s"),
            (3_599, "59m59s"),
            (7_500, "2h5m"),
            (86_399, "23h59m"),
            (273_600, "3d4h"),
        ] {
            assert_eq!(span(secs), text);
        }
    }
}
