//! Maps of any size in the slots of an outer one: filters, and buckets of services.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aya::maps::{Array, ArrayOfMaps, MapData};
use aya::{Ebpf, Pod};

use super::{DataplaneError, maps};

/// `BPF_F_INNER_MAP` of the kernel's uapi: such a map need not have the size of the template.
const ANY_SIZE: u32 = 1 << 12;

/// An outer map, and what is in it.
pub(super) struct Inner<V: Pod> {
    name: &'static str,
    outer: ArrayOfMaps<MapData, Array<MapData, V>>,
    /// Entries by slot.
    sizes: BTreeMap<u32, u32>,
    /// In the slots of those that are gone: the outer map lets none go by itself.
    nothing: Array<MapData, V>,
    flags: u32,
    directory: PathBuf,
}

impl<V: Pod> Inner<V> {
    /// The outer map `name`, with what a former agent has pinned in `directory`. `flags`: of the maps.
    pub(super) fn open(
        object: &mut Ebpf,
        name: &'static str,
        flags: u32,
        directory: PathBuf,
    ) -> Result<Self, DataplaneError> {
        let mut sizes = BTreeMap::new();
        for slot in maps::numbered_pins(&directory)? {
            let map = pinned(&directory, slot, name)?;
            let info = map.info().map_err(DataplaneError::map(name))?;
            sizes.insert(slot, info.max_entries());
        }
        let flags = flags | ANY_SIZE;
        Ok(Self {
            name,
            outer: maps::of(object, name)?,
            sizes,
            nothing: Array::create(1, flags).map_err(DataplaneError::map(name))?,
            flags,
            directory,
        })
    }

    /// Slots that have one, and how many entries it has.
    pub(super) fn sizes(&self) -> &BTreeMap<u32, u32> {
        &self.sizes
    }

    /// Makes a map of zeroes and puts it into a slot, in the place of any other.
    pub(super) fn make(&mut self, slot: u32, entries: u32) -> Result<(), DataplaneError> {
        let map = Array::create(entries, self.flags).map_err(DataplaneError::map(self.name))?;
        self.put(slot, Some(&map))?;
        let pin = self.directory.join(slot.to_string());
        super::pins::remove_pin(&pin)?;
        map.pin(&pin).map_err(|error| DataplaneError::Pin {
            path: pin.clone(),
            source: std::io::Error::other(error),
        })?;
        self.sizes.insert(slot, entries);
        Ok(())
    }

    /// Gives up what no packet looks at any more.
    pub(super) fn drop(&mut self, slot: u32) -> Result<(), DataplaneError> {
        if self.sizes.remove(&slot).is_none() {
            return Ok(());
        }
        self.put(slot, None)?;
        super::pins::remove_pin(&self.directory.join(slot.to_string()))
    }

    /// The map in a slot.
    pub(super) fn data(&self, slot: u32) -> Result<MapData, DataplaneError> {
        pinned(&self.directory, slot, self.name)
    }

    fn put(&mut self, slot: u32, map: Option<&Array<MapData, V>>) -> Result<(), DataplaneError> {
        let map = map.unwrap_or(&self.nothing);
        self.outer
            .set(slot, map, 0)
            .map_err(DataplaneError::map(self.name))
    }
}

fn pinned(directory: &Path, slot: u32, name: &'static str) -> Result<MapData, DataplaneError> {
    let pin = directory.join(slot.to_string());
    MapData::from_pin(pin).map_err(DataplaneError::map(name))
}
