//! Why the agent of a backend did not run, each in one line that says what to do.

use std::io;
use std::path::PathBuf;

use super::image::ImageError;
use crate::api::admin::SocketError;
use crate::api::scrape::ListenError;
use crate::dataplane::DataplaneError;
use crate::netlink;
use crate::status::Exit;

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has errors; all of them, rendered.
    #[error("{0}")]
    Config(String),
    /// The file is for another role.
    #[error("{0}: no [backend] section; an LB node runs `anylb run`")]
    NoRole(PathBuf),
    /// No interface is named.
    #[error("node.interfaces is empty: name the interface that encapsulated packets come in by")]
    NoInterface,
    /// One file for two agents.
    #[error(
        "{0}: has pools, so this box is LB node and backend at once: run `anylb run`, which is both"
    )]
    BothRoles(PathBuf),
    /// No tunnel can end there.
    #[error(
        "{0} has no address that a tunnel could end at: give it one, or correct node.interfaces"
    )]
    NoAddress(String),
    /// The configuration does not fit the maps.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The datapath.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// The kernel was asked and did not answer.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The admin socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The metrics listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A signal handler, or waiting for the datapath.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// How the process ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_)
            | Self::NoRole(_)
            | Self::BothRoles(_)
            | Self::NoInterface
            | Self::Image(_) => Exit::ConfigInvalid,
            Self::NoAddress(_)
            | Self::Dataplane(_)
            | Self::Netlink(_)
            | Self::Socket(_)
            | Self::Listen(_)
            | Self::Io { .. } => Exit::Failed,
        }
    }

    pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
