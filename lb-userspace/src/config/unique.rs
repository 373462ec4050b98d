//! What may be there only once.

use std::collections::HashMap;
use std::hash::Hash;

use super::diagnostic::Diagnostic;
use super::fields::Errors;
use super::place::Placed;

/// Reports every value that was there before, with the first place beside it.
pub fn repeated<T: Eq + Hash>(
    errors: &Errors,
    values: &[Placed<T>],
    message: impl Fn(&T) -> String,
) {
    let mut first = HashMap::new();
    for found in values {
        match first.get(&found.value) {
            None => {
                first.insert(&found.value, &found.span);
            }
            Some(span) => errors.add(
                Diagnostic::at(&found.span, message(&found.value))
                    .label("again here")
                    .related(span, "first here"),
            ),
        }
    }
}
