//! The place of a backend's program behind the LB node's, on a box that is both: a pinned array of one program.

use std::path::Path;

use aya::maps::{Array, Map, MapData, ProgramArray};
use aya::programs::ProgramFd;

use super::DataplaneError;

/// Its name, and that of its pin beside the LB node's maps.
pub(super) const MAP: &str = "BACKEND";

/// What the LB node's program hands packets on to. It outlives the agent.
pub(crate) struct Slot {
    programs: ProgramArray<MapData>,
    /// The same, as the kernel tells it: numbers of programs.
    numbers: Array<MapData, u32>,
}

impl Slot {
    /// The one of the LB node whose pins are in `pin_dir`.
    pub(crate) fn open(pin_dir: &Path) -> Result<Self, DataplaneError> {
        let pin = pin_dir.join("maps").join(MAP);
        let data = || MapData::from_pin(&pin).map_err(DataplaneError::map(MAP));
        let programs = Map::ProgramArray(data()?).try_into();
        let numbers = Map::Array(data()?).try_into();
        Ok(Self {
            programs: programs.map_err(DataplaneError::map(MAP))?,
            numbers: numbers.map_err(DataplaneError::map(MAP))?,
        })
    }

    /// Puts `program` there, in place of the one that is there: no packet misses both.
    pub(crate) fn put(&mut self, program: &ProgramFd) -> Result<(), DataplaneError> {
        self.programs
            .set(0, program, 0)
            .map_err(DataplaneError::map(MAP))
    }

    /// Takes the program out; packets that it would have got go the way of those without a backend.
    pub(crate) fn clear(&mut self) -> Result<(), DataplaneError> {
        if self.program_id().is_none() {
            return Ok(());
        }
        self.programs
            .clear_index(&0)
            .map_err(DataplaneError::map(MAP))
    }

    /// Number of the program that is there.
    pub(crate) fn program_id(&self) -> Option<u32> {
        self.numbers.get(&0, 0).ok()
    }
}
