//! Reads Rust sources just well enough to find a word in code: not in comments, strings or test modules.

/// A word in code.
#[derive(Debug, PartialEq, Eq)]
pub struct Mention {
    /// From 1.
    pub line: usize,
    /// The word.
    pub word: &'static str,
}

/// Every mention of a path like `Instant::now`, as whole words.
pub fn mentions(source: &str, words: &'static [&'static str]) -> Vec<Mention> {
    let code = without_tests(plain(source));
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let named = words.iter().filter(|word| has_word(line, word));
        found.extend(named.map(|word| Mention {
            line: index + 1,
            word,
        }));
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    let of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(of_name) && !line[at + word.len()..].starts_with(of_name)
    })
}

/// The source with comments, strings and character literals blanked out; lines stay where they are.
pub fn plain(source: &str) -> String {
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let literal = literal_len(rest, plain.chars().next_back());
        let taken = literal.unwrap_or(first.len_utf8());
        let (token, after) = rest.split_at(taken);
        if literal.is_some() {
            plain.extend(token.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            plain.push_str(token);
        }
        rest = after;
    }
    plain
}

/// Bytes of the comment, string or character literal at the start of `rest`; `None` for anything else. `before` tells
/// the `r` of a raw string from the end of a name.
fn literal_len(rest: &str, before: Option<char>) -> Option<usize> {
    let in_name = before.is_some_and(|c| c.is_alphanumeric() && c != 'b' || c == '_');
    match rest.as_bytes() {
        [b'/', b'/', ..] => Some(rest.find('\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(block_comment_len(rest)),
        [b'"', ..] => Some(quoted_len(rest, '"')),
        [b'\'', ..] => is_char_literal(rest).then(|| quoted_len(rest, '\'')),
        [b'r', b'"' | b'#', ..] if !in_name => raw_string_len(rest),
        _ => None,
    }
}

/// `r"..."` and `r#"..."#`, but not the raw name `r#type`.
fn raw_string_len(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
    let body = rest[1 + hashes..].strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let closed = body
        .find(&closing)
        .map(|at| 2 + hashes + at + closing.len());
    Some(closed.unwrap_or(rest.len()))
}

/// Block comments nest.
fn block_comment_len(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    rest.len()
}

/// `'a'` and `'\n'`, but not the lifetime `'a`.
fn is_char_literal(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    matches!(
        (chars.next(), chars.next()),
        (Some('\\'), _) | (Some(_), Some('\''))
    )
}

/// Blanks out every item under `#[cfg(test)]`.
fn without_tests(mut code: String) -> String {
    while let Some(start) = code.find("#[cfg(test)]") {
        let end = start + item_len(&code[start..]);
        let blank: String = code[start..end]
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        code.replace_range(start..end, &blank);
    }
    code
}

/// Bytes up to the end of the first item: its closing brace, or a semicolon outside of braces.
fn item_len(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &[&str] = &["rand", "Instant::now"];

    fn lines(source: &str) -> Vec<usize> {
        mentions(source, WORDS)
            .iter()
            .map(|mention| mention.line)
            .collect()
    }

    #[test]
    fn finds_words_in_code_only() {
        for (description, source, expected) in [
            ("a use", "use rand::Rng;", vec![1]),
            (
                "a path",
                "fn f() {\n    let t = std::time::Instant::now();\n}",
                vec![2],
            ),
            (
                "part of a longer name",
                "let operand = random::rand_core();",
                vec![],
            ),
            (
                "line comment",
                "// rand\nlet a = 1; // Instant::now",
                vec![],
            ),
            ("doc comment", "/// Not Instant::now.\nfn f() {}", vec![]),
            (
                "nested block comment",
                "/* /* rand */ rand */ rand",
                vec![1],
            ),
            ("string", r#"let s = "rand \" rand";"#, vec![]),
            ("raw string", "let s = r#\"a \" rand\"#; rand()", vec![1]),
            (
                "raw string that spans lines",
                "let s = r\"\nrand\n\";\nrand",
                vec![4],
            ),
            ("raw name", "let r#type = rand;", vec![1]),
            ("a name that ends in r", "for r in bar { rand }", vec![1]),
            (
                "quote as a character",
                "let q = '\"'; rand(); let p = '\"';",
                vec![1],
            ),
            (
                "escaped quote as a character",
                r"let q = '\''; rand(); let p = '\'';",
                vec![1],
            ),
            ("lifetime", "fn f<'a>(x: &'a str) { rand }", vec![1]),
        ] {
            assert_eq!(lines(source), expected, "{description}");
        }
    }

    #[test]
    fn leaves_out_test_items() {
        let source = "\
#[cfg(test)]
use rand::{Rng, seq};
#[cfg(test)]
mod helpers;
fn f() { rand() }
#[cfg(test)]
#[expect(clippy::x)]
mod tests {
    fn g() { if true { rand() } }
}
fn h() { rand() }
";
        assert_eq!(lines(source), [5, 11]);
    }
}
