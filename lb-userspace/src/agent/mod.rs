//! See the crate's map.

use std::path::PathBuf;

use crate::status::Exit;

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This build cannot run it.
    #[error("this build has no agent to run {0} with: use a release")]
    NotBuilt(PathBuf),
}

impl Error {
    /// How the process ends.
    pub fn exit(&self) -> Exit {
        match self {
            Error::NotBuilt(_) => Exit::Failed,
        }
    }
}

/// Runs until it is told to stop or to hand over.
pub async fn run(config: PathBuf) -> Result<(), Error> {
    Err(Error::NotBuilt(config))
}
