//! What a configuration names outside itself: key files, interfaces and root certificates. The real machine and, for tests, an imagined one.

use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::ifaddrs::InterfaceAddress;
use nix::net::if_::InterfaceFlags;

/// The machine that a configuration is for.
pub trait Host {
    /// Content and mode of a small file.
    fn read(&self, path: &Path) -> io::Result<HostFile>;
    /// Names of the network interfaces.
    fn interfaces(&self) -> Vec<String>;
    /// Addresses of the network interfaces, but for the loopback's.
    fn addresses(&self) -> Vec<IpAddr>;
    /// The root certificates that programs of this machine trust, in DER; none where none can be read.
    fn system_roots(&self) -> Vec<Vec<u8>>;
}

/// A file as the host has it.
#[derive(Clone, PartialEq, Eq)]
pub struct HostFile {
    /// All bytes.
    pub content: Vec<u8>,
    /// Permission bits, e.g. `0o640`.
    pub mode: u32,
}

/// This machine, in the network namespace of the caller.
pub struct ThisHost;

impl Host for ThisHost {
    fn read(&self, path: &Path) -> io::Result<HostFile> {
        // Not to hang on a FIFO, and mode and content of one and the same file.
        let mut file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let mut content = Vec::new();
        file.by_ref().take(SIZE_MAX + 1).read_to_end(&mut content)?;
        if content.len() as u64 > SIZE_MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "larger than 64 MiB",
            ));
        }
        Ok(HostFile {
            content,
            mode: metadata.permissions().mode() & 0o7777,
        })
    }

    fn interfaces(&self) -> Vec<String> {
        let Ok(all) = nix::net::if_::if_nameindex() else {
            return Vec::new();
        };
        all.iter()
            .map(|interface| interface.name().to_string_lossy().into_owned())
            .collect()
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let Ok(all) = nix::ifaddrs::getifaddrs() else {
            return Vec::new();
        };
        let others = all.filter(|one| !one.flags.contains(InterfaceFlags::IFF_LOOPBACK));
        let address = |one: InterfaceAddress| {
            let address = one.address?;
            let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
            v4.or(address.as_sockaddr_in6().map(|v6| v6.ip().into()))
        };
        others.filter_map(address).collect()
    }

    fn system_roots(&self) -> Vec<Vec<u8>> {
        // One damaged file among many is no reason to trust none of the others.
        let found = rustls_native_certs::load_native_certs().certs;
        found
            .iter()
            .map(|certificate| certificate.to_vec())
            .collect()
    }
}

/// A million prefixes are 40 MB at most; whatever is named by mistake must not fill the memory.
const SIZE_MAX: u64 = 64 << 20;

/// An imagined machine.
#[cfg(test)]
#[derive(Default)]
pub struct FakeHost {
    /// By path.
    pub files: std::collections::BTreeMap<std::path::PathBuf, HostFile>,
    /// Names.
    pub interfaces: Vec<String>,
    /// Of one of them.
    pub addresses: Vec<IpAddr>,
    /// In DER.
    pub system_roots: Vec<Vec<u8>>,
}

#[cfg(test)]
impl FakeHost {
    /// With one more file.
    pub fn file(mut self, path: &str, mode: u32, content: &str) -> Self {
        let file = HostFile {
            content: content.into(),
            mode,
        };
        self.files.insert(path.into(), file);
        self
    }
}

#[cfg(test)]
impl Host for FakeHost {
    fn read(&self, path: &Path) -> io::Result<HostFile> {
        self.files
            .get(path)
            .cloned()
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    fn interfaces(&self) -> Vec<String> {
        self.interfaces.clone()
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.clone()
    }

    fn system_roots(&self) -> Vec<Vec<u8>> {
        self.system_roots.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::scratch::Scratch;

    #[test]
    fn content_and_mode_of_a_file() {
        let dir = Scratch::new();
        let path = dir.path().join("key");
        std::fs::write(&path, "secret").expect("a file of our own");
        for mode in [0o600, 0o640, 0o644] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("a file of our own");
            let file = ThisHost.read(&path).expect("it is there");
            assert_eq!((file.mode, file.content.as_slice()), (mode, &b"secret"[..]));
        }
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let dir = Scratch::new();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO of our own");
        let cases = [
            (fifo, io::ErrorKind::InvalidInput),
            (dir.path().to_owned(), io::ErrorKind::InvalidInput),
            (dir.path().join("nothing"), io::ErrorKind::NotFound),
        ];
        for (path, kind) in cases {
            let error = ThisHost.read(&path).map(|_| ()).expect_err("no file");
            assert_eq!(error.kind(), kind, "{}", path.display());
        }
    }

    #[test]
    fn an_endless_file_is_refused() {
        let dir = Scratch::new();
        let path = dir.path().join("large");
        let file = std::fs::File::create(&path).expect("a file of our own");
        file.set_len(SIZE_MAX + 1).expect("sparse");
        let error = ThisHost.read(&path).map(|_| ()).expect_err("too large");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn every_network_namespace_has_lo() {
        assert!(ThisHost.interfaces().contains(&"lo".to_owned()));
    }
}
