//! Maps of filters: one for each tree, of its size, found by its slot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use aya::Ebpf;
use lb_common::filter::Element;

use super::inner::Inner;
use super::memory::{Mappable, Memory};
use super::{DataplaneError, maps};

const NAME: &str = "FILTERS";

/// All of them.
pub(super) struct Filters {
    maps: Inner<[u64; 16]>,
}

impl Filters {
    /// With those that a former agent has pinned in `directory`.
    pub(super) fn open(object: &mut Ebpf, directory: PathBuf) -> Result<Self, DataplaneError> {
        let maps = Inner::open(object, NAME, maps::MAPPABLE, directory)?;
        Ok(Self { maps })
    }

    /// Slots that have one.
    pub(super) fn slots(&self) -> BTreeSet<u32> {
        self.maps.sizes().keys().copied().collect()
    }

    /// Makes and fills the map in a slot where no packet looks yet.
    pub(super) fn fill(&mut self, slot: u32, elements: &[Element]) -> Result<(), DataplaneError> {
        self.maps.make(slot, elements.len() as u32)?;
        let map = Mappable::new(self.maps.data(slot)?, NAME);
        let mut memory = map.map()?;
        for (index, element) in (0..).zip(elements) {
            memory.write(index, *element);
        }
        Ok(())
    }

    /// Gives up what no packet looks at any more.
    pub(super) fn drop(&mut self, slot: u32) -> Result<(), DataplaneError> {
        self.maps.drop(slot)
    }

    /// All of them in memory.
    pub(super) fn mapped(&self) -> Result<BTreeMap<u32, Memory<Element>>, DataplaneError> {
        let mapped = |slot: u32| Ok((slot, Memory::of_map(&self.maps.data(slot)?, NAME)?));
        self.slots().into_iter().map(mapped).collect()
    }
}
