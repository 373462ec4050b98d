//! The place of another program behind the LB node's: a pinned array of one program.

use std::path::Path;

use aya::maps::{Array, Map, MapData, ProgramArray};
use aya::programs::ProgramFd;

use super::{DataplaneError, layout};

/// The place of a backend's program, on a box that is both.
pub(crate) const BACKEND: &str = "BACKEND";
/// The place of the program that `node.xdp_chain` names.
pub(super) const NEXT: &str = "NEXT";
/// Both: names of maps, and of their pins beside the LB node's other maps.
pub(super) const MAPS: [&str; 2] = [BACKEND, NEXT];

/// What the LB node's program hands packets on to. It outlives the agent.
pub(crate) struct Slot {
    name: &'static str,
    programs: ProgramArray<MapData>,
    /// The same, as the kernel tells it: numbers of programs.
    numbers: Array<MapData, u32>,
}

impl Slot {
    /// One of the LB node whose pins are in `pin_dir`.
    pub(crate) fn open(pin_dir: &Path, name: &'static str) -> Result<Self, DataplaneError> {
        let pin = layout::directory(pin_dir).join("maps").join(name);
        let data = || MapData::from_pin(&pin).map_err(DataplaneError::map(name));
        let programs = Map::ProgramArray(data()?).try_into();
        let numbers = Map::Array(data()?).try_into();
        Ok(Self {
            name,
            programs: programs.map_err(DataplaneError::map(name))?,
            numbers: numbers.map_err(DataplaneError::map(name))?,
        })
    }

    /// Puts `program` there, in place of the one that is there: no packet misses both.
    pub(crate) fn put(&mut self, program: &ProgramFd) -> Result<(), DataplaneError> {
        self.programs
            .set(0, program, 0)
            .map_err(DataplaneError::map(self.name))
    }

    /// Takes the program out; packets that it would have got go the way of those without one.
    pub(crate) fn clear(&mut self) -> Result<(), DataplaneError> {
        if self.program_id().is_none() {
            return Ok(());
        }
        self.programs
            .clear_index(&0)
            .map_err(DataplaneError::map(self.name))
    }

    /// Number of the program that is there.
    pub(crate) fn program_id(&self) -> Option<u32> {
        self.numbers.get(&0, 0).ok()
    }
}
