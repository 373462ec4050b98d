//! A BPF file system of one's own. `ip netns exec` mounts a fresh `/sys`, which hides `/sys/fs/bpf`; a mount
//! elsewhere stays visible.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A mounted BPF file system, unmounted when dropped; what is pinned in it goes with it.
#[derive(Debug)]
pub struct Bpffs {
    path: PathBuf,
}

impl Bpffs {
    /// Mounts one at `path`, which is created where missing.
    pub fn mount(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).with_context(|| path.display().to_string())?;
        mount(
            Some("bpf"),
            path,
            Some("bpf"),
            MsFlags::empty(),
            None::<&str>,
        )
        .with_context(|| format!("mount a BPF file system at {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.path, MntFlags::MNT_DETACH) {
            eprintln!("mount left behind: {}: {error}", self.path.display());
        }
    }
}
