//! Looks for a text in what comes in pieces.

#![forbid(unsafe_code)]

/// Bytes that are looked at.
const SEEN_MAX: usize = 64 << 10;

/// One search.
#[derive(Debug)]
pub struct Search<'a> {
    wanted: &'a [u8],
    /// The end of what has been seen, as much as can be the beginning of what is wanted.
    tail: Vec<u8>,
    seen: usize,
    found: bool,
}

impl<'a> Search<'a> {
    /// For `wanted`, at least one byte.
    pub fn new(wanted: &'a [u8]) -> Self {
        Search {
            wanted,
            tail: Vec::new(),
            seen: 0,
            found: false,
        }
    }

    /// Looks at the next piece.
    pub fn take(&mut self, piece: &[u8]) {
        let piece = &piece[..piece.len().min(SEEN_MAX - self.seen)];
        self.seen += piece.len();
        self.tail.extend_from_slice(piece);
        let length = self.wanted.len().max(1);
        self.found |= self
            .tail
            .windows(length)
            .any(|window| window == self.wanted);
        let past = self.tail.len().saturating_sub(length - 1);
        self.tail.drain(..past);
    }

    /// Whether it has been found.
    pub fn found(&self) -> bool {
        self.found
    }

    /// Whether further pieces would change nothing.
    pub fn is_over(&self) -> bool {
        self.found || self.seen == SEEN_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_however_it_is_cut() {
        let text = b"all is well here";
        for wanted in [&b"all"[..], b"well", b"here", b"l", text] {
            for at in 0..=text.len() {
                let mut search = Search::new(wanted);
                let (head, tail) = text.split_at(at);
                search.take(head);
                search.take(tail);
                assert!(search.found(), "{wanted:?} cut at {at}");
            }
            let mut search = Search::new(wanted);
            text.iter().for_each(|byte| search.take(&[*byte]));
            assert!(search.found(), "{wanted:?} byte by byte");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let mut search = Search::new(b"well");
        for piece in [&b"wel"[..], b"", b"wel", b"ell"] {
            search.take(piece);
        }
        assert!(!search.found() && !search.is_over());
    }

    #[test]
    fn nobody_looks_beyond_the_limit() {
        let mut search = Search::new(b"ok");
        search.take(&vec![b'o'; SEEN_MAX]);
        assert!(search.is_over());
        search.take(b"kok");
        assert!(!search.found());

        let mut search = Search::new(b"ok");
        search.take(&vec![b'.'; SEEN_MAX - 2]);
        search.take(b"ok");
        assert!(search.found(), "the last bytes count");
    }
}
