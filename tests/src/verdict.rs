//! How a program of this crate ends.

use std::process::ExitCode;

use anyhow::Result;

/// Success where what was looked for holds; an error is told.
pub fn exit(program: &str, verdict: Result<bool>) -> ExitCode {
    match verdict {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
