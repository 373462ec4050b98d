//! The decision, row by row.
