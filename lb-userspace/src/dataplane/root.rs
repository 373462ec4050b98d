//! The root: a variable of the LB node's programs.

use std::path::Path;

use aya::Ebpf;
use aya::maps::{Array, Map, MapData};
use lb_common::abi::Root;
use zerocopy::transmute;

use super::{DataplaneError, maps};

/// Its section, as which the loader knows it; nothing else is there.
pub(super) const SECTION: &str = ".bss";
/// Its pin.
pub(super) const PIN: &str = "ROOT";

/// Its map.
pub(super) struct RootMap(Array<MapData, u64>);

impl RootMap {
    /// That of a loaded object.
    pub(super) fn take(object: &mut Ebpf) -> Result<Self, DataplaneError> {
        maps::of(object, SECTION).map(Self)
    }

    /// What packets read of that pinned among the maps in `maps_dir`; [`Root::EMPTY`] where there is none.
    pub(super) fn pinned(maps_dir: &Path) -> Result<Root, DataplaneError> {
        let path = maps_dir.join(PIN);
        if !path.exists() {
            return Ok(Root::EMPTY);
        }
        let data = MapData::from_pin(path).and_then(Map::from_map_data);
        let map = data.map_err(DataplaneError::map(PIN))?;
        Self(map.try_into().map_err(DataplaneError::map(PIN))?).read()
    }

    /// What packets read.
    pub(super) fn read(&self) -> Result<Root, DataplaneError> {
        let word = self.0.get(&0, 0).map_err(DataplaneError::map(PIN))?;
        Ok(transmute!(word))
    }

    /// What they read from now on. The kernel copies it in no order; after the first time, only the lowest byte of the bank differs.
    pub(super) fn write(&mut self, root: Root) -> Result<(), DataplaneError> {
        let word: u64 = transmute!(root);
        self.0.set(0, word, 0).map_err(DataplaneError::map(PIN))
    }
}
