//! The backend role: encapsulated packets in, decided and decapsulated by XDP; VIPs on `lo`.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | [`image`] | the wanted state as contents of the maps | yes |
//! | [`kernel_types`] | offsets of fields in the kernel's structures | yes |
//! | [`datapath`] | programs and maps: load, attach, read, detach | no |

pub mod datapath;
pub mod image;
pub mod kernel_types;

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
