//! "Did you mean": the nearest of the words that would have been right.

/// The candidate with the fewest edits from `written`, if it is near enough to be meant: at most a third of its length,
/// and at least one edit is always near enough for words of three letters or more.
pub fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let written = written.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (edits(&written, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(edits, candidate)| *edits <= candidate.chars().count() / 3)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance: insertions, deletions, substitutions, and swaps of neighbours.
fn edits(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(LONGEST).collect();
    let b: Vec<char> = b.chars().take(LONGEST).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let substituted = last[j] + usize::from(a[i] != b[j]);
            let mut best = substituted.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// Characters compared; no word of ours is longer, and a file may hold any.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let words = ["weight", "address", "name", "asn"];
        let cases = [
            ("wieght", Some("weight")),
            ("wight", Some("weight")),
            ("Weight", Some("weight")),
            ("adress", Some("address")),
            ("nmae", Some("name")),
            ("as", Some("asn")),
            ("port", None),
            ("", None),
        ];
        for (written, meant) in cases {
            assert_eq!(nearest(written, words), meant, "{written}");
        }
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("ab", "ba"), 1);
        assert_eq!(edits("", "abc"), 3);
    }
}
