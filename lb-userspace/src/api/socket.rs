//! The file of the admin socket: one per runtime directory, a dead agent's replaced, a live agent's left alone.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Group, chown, geteuid};
use tokio::net::{UnixListener, UnixSocket};

use super::caller::Authority;

/// Name of the socket in the runtime directory.
pub const SOCKET_NAME: &str = "admin.sock";
/// Group of the socket file, where the system has it and the agent may give it away.
const GROUP: &str = "anylb";
const MODE: u32 = 0o660;
const BACKLOG: u32 = 64;

/// Why the admin socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The runtime directory cannot be made or opened.
    #[error("cannot use the runtime directory {path}: {source}: create it or set node.runtime_dir")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another agent holds the runtime directory.
    #[error(
        "another agent is running with the runtime directory {path}: stop it, or set node.runtime_dir"
    )]
    Taken {
        /// The directory.
        path: PathBuf,
    },
    /// Something that is no socket is in the way.
    #[error("{path} is in the way and is no socket: move it away, or set node.runtime_dir")]
    InTheWay {
        /// The file.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {path}: {source}: check the directory's owner and mode")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The admin socket, listening. The file goes away with this value.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    file: SocketFile,
    authority: Authority,
}

/// What is left in the file system while the agent runs.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    // Held as long as the agent lives and let go by the kernel however it dies: whoever has it knows that a socket
    // file found in the directory is stale.
    _lock: Flock<File>,
}

impl AdminSocket {
    /// Listens on `runtime_dir/admin.sock`, mode 0660. Must be called within a tokio runtime.
    pub fn bind(runtime_dir: &Path) -> Result<Self, SocketError> {
        let lock = lock_directory(runtime_dir)?;
        let path = runtime_dir.join(SOCKET_NAME);
        remove_stale(&path)?;
        let listener = listen(&path).map_err(|source| SocketError::Listen {
            path: path.clone(),
            source,
        })?;
        let file = SocketFile { path, _lock: lock };
        let gid = file.hand_to_group().map_err(|source| SocketError::Listen {
            path: file.path.clone(),
            source,
        })?;
        let uid = geteuid().as_raw();
        Ok(Self {
            listener,
            file,
            authority: Authority { uid, gid },
        })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    pub(super) fn into_parts(self) -> (UnixListener, SocketFile, Authority) {
        (self.listener, self.file, self.authority)
    }
}

impl SocketFile {
    /// Gives the file to the group `anylb` where there is one; returns the group it has in the end.
    fn hand_to_group(&self) -> io::Result<u32> {
        fs::set_permissions(&self.path, fs::Permissions::from_mode(MODE))?;
        if let Ok(Some(group)) = Group::from_name(GROUP) {
            let gid = Some(Gid::from_raw(group.gid.as_raw()));
            if let Err(error) = chown(&self.path, None, gid) {
                tracing::warn!(%error, path = %self.path.display(), "cannot give the admin socket to the group anylb");
            }
        }
        Ok(fs::metadata(&self.path)?.gid())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Still under the lock, so this cannot be a successor's file. A failure leaves a stale file, which the
        // successor replaces.
        let _ = fs::remove_file(&self.path);
    }
}

fn lock_directory(runtime_dir: &Path) -> Result<Flock<File>, SocketError> {
    let failed = |source| SocketError::Directory {
        path: runtime_dir.to_path_buf(),
        source,
    };
    fs::create_dir_all(runtime_dir).map_err(failed)?;
    let directory = File::open(runtime_dir).map_err(failed)?;
    Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => SocketError::Taken {
            path: runtime_dir.to_path_buf(),
        },
        other => failed(other.into()),
    })
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let listen_error = |source| SocketError::Listen {
        path: path.to_path_buf(),
        source,
    };
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            tracing::info!(path = %path.display(), "replacing the admin socket of an agent that is gone");
            fs::remove_file(path).map_err(listen_error)
        }
        Ok(_) => Err(SocketError::InTheWay {
            path: path.to_path_buf(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(listen_error(error)),
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    // Linux makes the file with the mode of the socket, less the umask: it is never open to others, not for a moment.
    fchmod(&socket, Mode::from_bits_truncate(MODE))?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::scratch::Scratch;

    #[tokio::test]
    async fn the_file_has_its_mode_and_goes_away_with_the_agent() {
        let dir = Scratch::new();
        let socket = AdminSocket::bind(&dir.path().join("run")).unwrap();
        let path = socket.path().to_path_buf();
        assert_eq!(path, dir.path().join("run/admin.sock"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_live_agent_is_left_alone() {
        let dir = Scratch::new();
        let live = AdminSocket::bind(dir.path()).unwrap();
        let refused = AdminSocket::bind(dir.path()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "another agent is running with the runtime directory {}: stop it, or set node.runtime_dir",
                dir.path().display()
            )
        );
        assert!(live.path().exists());
        tokio::net::UnixStream::connect(live.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_dead_agents_file_is_replaced() {
        let dir = Scratch::new();
        let path = dir.path().join(SOCKET_NAME);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = AdminSocket::bind(dir.path()).unwrap();
        tokio::net::UnixStream::connect(socket.path())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_not_removed() {
        let dir = Scratch::new();
        let path = dir.path().join(SOCKET_NAME);
        fs::write(&path, "precious").unwrap();
        let refused = AdminSocket::bind(dir.path()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "{} is in the way and is no socket: move it away, or set node.runtime_dir",
                path.display()
            )
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
