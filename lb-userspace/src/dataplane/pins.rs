//! The directory of pins: held by one agent at a time, and nothing left there of a datapath that never carried anything.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use lb_common::abi;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::maps::{SHAPES, prepare_directory};
use super::root::RootMap;
use super::{DataplaneError, layout};

/// What programs of all layouts have in common.
const SHARED: [&str; 2] = ["links", "flows"];
/// What is in the directory of a layout.
const PARTS: [&str; 4] = ["maps", "tables", "filters", "buckets"];

/// `node.pin_dir`, locked. Dropping it removes what is pinned, unless a datapath was found there or [`Pins::keep`] was called.
pub(super) struct Pins {
    path: PathBuf,
    /// Of this build's layout.
    own: PathBuf,
    /// This process made the directory itself.
    made: bool,
    keep: bool,
    /// A datapath of another layout may be in use.
    beside: bool,
    _lock: Flock<File>,
}

impl Pins {
    /// Makes the directory where it is missing; refuses another kind of file system, an agent that is alive, and pins that are
    /// not ours to adopt. A refusal changes nothing.
    pub(super) fn open(path: &Path) -> Result<Self, DataplaneError> {
        let made = !path.exists();
        prepare_directory(path, &SHARED)?;
        let directory = File::open(path).map_err(DataplaneError::pin(path.into()))?;
        let lock =
            Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
                match errno {
                    Errno::EWOULDBLOCK => DataplaneError::Taken(path.into()),
                    other => DataplaneError::pin(path.into())(other.into()),
                }
            })?;
        let own = layout::directory(path);
        prepare_directory(&own, &PARTS)?;
        let keep = holds_datapath(path, &own)?;
        let others = layout::others(path).map_err(DataplaneError::pin(path.into()))?;
        Ok(Self {
            path: path.into(),
            own,
            made,
            keep,
            beside: !keep && !others.is_empty(),
            _lock: lock,
        })
    }

    /// Whether a datapath of another layout may be in use, which this one is to follow.
    pub(super) fn beside(&self) -> bool {
        self.beside
    }

    /// Whether there is a datapath that outlives this value.
    pub(super) fn kept(&self) -> bool {
        self.keep
    }

    /// From now on the pins stay when this value goes.
    pub(super) fn keep(&mut self) {
        self.keep = true;
    }

    pub(super) fn maps(&self) -> PathBuf {
        self.own.join("maps")
    }

    pub(super) fn tables(&self) -> PathBuf {
        self.own.join("tables")
    }

    pub(super) fn filters(&self) -> PathBuf {
        self.own.join("filters")
    }

    pub(super) fn buckets(&self) -> PathBuf {
        self.own.join("buckets")
    }

    pub(super) fn links(&self) -> PathBuf {
        self.path.join("links")
    }

    /// Flow tables, by their size and shape.
    pub(super) fn flows(&self) -> PathBuf {
        self.path.join("flows")
    }

    /// Where a program may be for a moment.
    pub(super) fn program(&self) -> PathBuf {
        self.path.join("program")
    }

    /// Takes the program off every interface but those of these pins: a former agent had other ones.
    pub(super) fn remove_links_but(&self, used: &BTreeSet<PathBuf>) -> Result<(), DataplaneError> {
        let links = self.links();
        for entry in fs::read_dir(&links).map_err(DataplaneError::pin(links.clone()))? {
            let path = entry.map_err(DataplaneError::pin(links.clone()))?.path();
            if !used.contains(&path) {
                fs::remove_file(&path).map_err(DataplaneError::pin(path))?;
            }
        }
        Ok(())
    }

    /// Removes every pin; what nothing else holds ends.
    pub(super) fn remove(mut self) -> Result<(), DataplaneError> {
        // Once is enough, also where it fails.
        self.keep = true;
        self.remove_all()
    }

    /// Removes the pins of other layouts: no interface carries a program of theirs any more.
    pub(super) fn remove_others(&mut self) -> Result<(), DataplaneError> {
        let others = layout::others(&self.path);
        for path in others.map_err(DataplaneError::pin(self.path.clone()))? {
            remove_directory(path)?;
        }
        self.beside = false;
        Ok(())
    }

    fn remove_all(&mut self) -> Result<(), DataplaneError> {
        // Links first: the program comes off before its maps lose their names.
        remove_directory(self.links())?;
        remove_directory(self.own.clone())?;
        remove_directory(self.flows())?;
        self.remove_others()?;
        if self.made {
            // Not empty where somebody else uses it as well.
            let _ = fs::remove_dir(&self.path);
        }
        Ok(())
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        let removed = match self.beside {
            // Links and flows are the other's.
            true => remove_directory(self.own.clone()),
            false => self.remove_all(),
        };
        if let Err(error) = removed {
            tracing::warn!("left behind: {error}");
        }
    }
}

/// Compares what is pinned with what this agent would make. True where a datapath is in use; maps alone, which no agent ever
/// switched on, are none.
fn holds_datapath(pin_dir: &Path, own: &Path) -> Result<bool, DataplaneError> {
    let maps = own.join("maps");
    for shape in &SHAPES {
        let path = maps.join(shape.name);
        if path.exists() {
            shape.check(pin_dir, &path)?;
        }
    }
    let found = match RootMap::pinned(&maps)?.abi_version {
        0 => return Ok(false),
        found => found,
    };
    if found != abi::ABI_VERSION {
        return Err(DataplaneError::Abi {
            found,
            expected: abi::ABI_VERSION,
            pin_dir: pin_dir.into(),
        });
    }
    match SHAPES.iter().find(|shape| !maps.join(shape.name).exists()) {
        None => Ok(true),
        Some(missing) => Err(DataplaneError::Shape {
            path: maps.join(missing.name),
            difference: "missing".into(),
            pin_dir: pin_dir.into(),
        }),
    }
}

fn remove_directory(path: PathBuf) -> Result<(), DataplaneError> {
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DataplaneError::pin(path)(error))
        }
        _ => Ok(()),
    }
}

pub(crate) fn remove_pin(path: &Path) -> Result<(), DataplaneError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DataplaneError::pin(path.into())(error))
        }
        _ => Ok(()),
    }
}
