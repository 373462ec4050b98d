//! What a command ends with when it does not end well.

use std::fmt;

use crate::status::{Exit, Refusal};

/// One line, what, where and what to do next, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    /// How the process ends.
    pub exit: Exit,
    /// The line; errors of a configuration file have several.
    pub message: String,
}

impl CliError {
    /// Ends with `exit` and says `message`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exit {
            // Carets stand below the text they mean: nothing may be put before it.
            Exit::ConfigInvalid => f.write_str(self.message.trim_end()),
            _ => write!(f, "anylb: {}", self.message.trim_end()),
        }
    }
}

impl std::error::Error for CliError {}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.exit(), refusal.message)
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}
