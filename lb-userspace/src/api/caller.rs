//! Who is at the other end of the admin socket, as the kernel vouches for it.

use std::io;
use std::os::fd::AsRawFd;

use tokio::net::UnixStream;

/// More supplementary groups than any sane login has; a caller with more counts as having none.
const GROUPS_MAX: usize = 256;

/// Credentials of a client when it connected (unix(7), SO_PEERCRED and SO_PEERGROUPS).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Whose word counts: root, the agent's own user, and the group of the socket file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Effective user of the agent.
    pub uid: u32,
    /// Group of the socket file.
    pub gid: u32,
}

impl Caller {
    /// Asks the kernel about the client of `stream`.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self {
            uid: credentials.uid(),
            gid: credentials.gid(),
            groups: peer_groups(stream).unwrap_or_default(),
        })
    }
}

impl Authority {
    /// Whether `caller` may change things. Reading is left to the mode of the socket file.
    pub fn lets_change(self, caller: &Caller) -> bool {
        caller.uid == 0
            || caller.uid == self.uid
            || caller.gid == self.gid
            || caller.groups.contains(&self.gid)
    }
}

/// SO_PEERGROUPS (Linux 4.13), which neither nix nor tokio wraps.
#[allow(unsafe_code)]
fn peer_groups(stream: &UnixStream) -> io::Result<Vec<u32>> {
    let mut groups = vec![0 as libc::gid_t; GROUPS_MAX];
    let mut bytes = (GROUPS_MAX * size_of::<libc::gid_t>()) as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `stream` is borrowed; `groups` is writable for `bytes` bytes, and
    // the kernel writes no more than that (it fails with ERANGE instead).
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &mut bytes,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(bytes as usize / size_of::<libc::gid_t>());
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_agents_user_and_the_sockets_group_may_change() {
        let authority = Authority { uid: 990, gid: 985 };
        let caller = |uid, gid, groups: &[u32]| Caller {
            uid,
            gid,
            groups: groups.to_vec(),
        };
        for (caller, allowed, why) in [
            (caller(0, 0, &[]), true, "root"),
            (caller(990, 100, &[]), true, "the agent's user"),
            (caller(1000, 985, &[]), true, "primary group"),
            (caller(1000, 1000, &[4, 985]), true, "supplementary group"),
            (caller(1000, 1000, &[4, 24]), false, "anybody else"),
            (caller(985, 990, &[]), false, "uid and gid are not mixed up"),
        ] {
            assert_eq!(authority.lets_change(&caller), allowed, "{why}");
        }
    }

    #[tokio::test]
    async fn the_kernel_tells_our_own_credentials() {
        let (near, _far) = UnixStream::pair().unwrap();
        let caller = Caller::of(&near).unwrap();
        assert_eq!(caller.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(caller.gid, nix::unistd::getegid().as_raw());
        let mut ours: Vec<u32> = nix::unistd::getgroups()
            .unwrap()
            .into_iter()
            .map(|group| group.as_raw())
            .collect();
        let mut told = caller.groups;
        ours.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, ours);
    }
}
