//! Where something stands in the file.

use std::ops::Range;

/// Bytes of the file, as the TOML parser counts them.
pub type Span = Range<usize>;

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed<T> {
    /// What was written there.
    pub value: T,
    /// Where.
    pub span: Span,
}

/// A line and a column, both counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line of the file.
    pub line: usize,
    /// Character of the line.
    pub column: usize,
}

impl Position {
    /// The position of byte `offset` of `text`; past the end it is the end.
    pub fn of(text: &str, offset: usize) -> Position {
        let before = &text[..floor_char(text, offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// `span` made to lie inside `text`, on character borders and on its first line, so that a caret can point at it.
pub fn on_one_line(text: &str, span: &Span) -> Span {
    let start = floor_char(text, span.start);
    let end = floor_char(text, span.end).max(start);
    let line_end = text[start..end]
        .find(['\n', '\r'])
        .map_or(end, |newline| start + newline);
    start..line_end
}

/// The largest character border of `text` that is not beyond `offset`.
fn floor_char(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let text = "a = 1\nbé = 2\n";
        let cases = [
            ("start", 0, (1, 1)),
            ("the newline belongs to its line", 5, (1, 6)),
            ("second line", 6, (2, 1)),
            ("after a two-byte character", 9, (2, 3)),
            ("inside a two-byte character", 8, (2, 2)),
            ("past the end", 999, (3, 1)),
        ];
        for (what, offset, (line, column)) in cases {
            assert_eq!(
                Position::of(text, offset),
                Position { line, column },
                "{what}"
            );
        }
    }

    #[test]
    fn a_span_is_cut_to_its_first_line() {
        assert_eq!(on_one_line("{ a = 1,\n b = 2 }", &(0..17)), 0..8);
        assert_eq!(on_one_line("é", &(1..9)), 0..2);
    }
}
