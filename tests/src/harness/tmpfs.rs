//! A file system in memory that a test fills, and makes read-only, as it likes.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

const SIZE: &str = "size=64k";

/// A small one, unmounted when dropped.
#[derive(Debug)]
pub struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    /// Mounts one at `path`, which is created where missing.
    pub fn mount(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).with_context(|| path.display().to_string())?;
        let this = Self { path: path.into() };
        this.mount_with(MsFlags::empty())?;
        Ok(this)
    }

    /// Nothing more can be written.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::create(self.filler())?;
        loop {
            match file.write_all(&[0; 512]) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(Errno::ENOSPC as i32) => return Ok(()),
                Err(error) => bail!(error),
            }
        }
    }

    /// What [`Tmpfs::fill`] has written goes.
    pub fn make_room(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }

    /// Read-only from now on, or not any more; in every mount namespace.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        let mut flags = MsFlags::MS_REMOUNT;
        flags.set(MsFlags::MS_RDONLY, read_only);
        self.mount_with(flags)
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    fn mount_with(&self, flags: MsFlags) -> Result<()> {
        mount(Some("tmpfs"), &self.path, Some("tmpfs"), flags, Some(SIZE))
            .with_context(|| format!("mount a tmpfs at {}", self.path.display()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.path, MntFlags::MNT_DETACH) {
            eprintln!("mount left behind: {}: {error}", self.path.display());
        }
    }
}
