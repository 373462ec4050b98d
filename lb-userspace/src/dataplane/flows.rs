//! The flow table: its size, which is fixed while a program runs, and its pin, which has size and shape in its name.
//!
//! It belongs to no layout of the other maps, so that flows survive a change of theirs. Another size or shape makes another table,
//! beside the one that a running program still holds; the old pin goes once the new program is on the interfaces.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::maps::{Array, MapData};
use lb_common::flow_table::{Bucket, ENTRIES, tick_shift};
use lb_common::layout;
use zerocopy::transmute;

use super::counters::cpu_entries;
use super::maps::Shape;
use super::pins::remove_pin;
use super::{DataplaneError, jiffies};

/// The map.
pub(super) const MAP: &str = "FLOWS";

/// How large the flow table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flows {
    /// Buckets of each CPU.
    pub(super) buckets: u32,
    /// Jiffies of a tick, as a power of two.
    pub(super) tick_shift: u32,
    cpus: u32,
}

impl Flows {
    /// With room for so many flows on each CPU.
    pub(super) fn new(entries: u32) -> Result<Self, DataplaneError> {
        Ok(Self {
            buckets: entries.div_ceil(ENTRIES as u32).max(1),
            tick_shift: tick_shift(jiffies::per_second()),
            cpus: cpu_entries()?,
        })
    }

    /// Buckets of all CPUs.
    pub(super) fn max_entries(self) -> u32 {
        self.buckets.saturating_mul(self.cpus)
    }

    /// Flows that all CPUs together can remember.
    pub(super) fn capacity(self) -> u64 {
        u64::from(self.max_entries()) * ENTRIES as u64
    }

    /// A bucket of a CPU's, of those in the map.
    pub(super) fn bucket(
        self,
        map: &Array<MapData, [u64; 8]>,
        cpu: u32,
        number: u32,
    ) -> Option<Bucket> {
        let index = cpu.checked_mul(self.buckets)?.checked_add(number)?;
        map.get(&index, 0).ok().map(|words| transmute!(words))
    }

    /// CPUs, each with buckets of its own.
    pub(super) fn cpus(self) -> u32 {
        self.cpus
    }

    /// The present tick, or the next one: what was seen a moment ago must not seem to come.
    pub(super) fn now(self) -> u16 {
        ((jiffies::now() >> self.tick_shift) as u16).wrapping_add(1)
    }

    /// How long so many ticks are.
    pub(super) fn time_of(self, ticks: u16) -> Duration {
        Duration::from_secs_f64(
            (f64::from(ticks) * f64::from(1 << self.tick_shift)) / f64::from(jiffies::per_second()),
        )
    }

    /// Compares what is pinned under its name.
    pub(super) fn check(self, pin_dir: &Path, directory: &Path) -> Result<(), DataplaneError> {
        let path = self.path(directory);
        if path.exists() {
            Shape::of::<Bucket>(MAP, self.max_entries()).check(pin_dir, &path)?;
        }
        Ok(())
    }

    /// Where it is pinned.
    pub(super) fn path(self, directory: &Path) -> PathBuf {
        directory.join(format!(
            "{}-{:016x}",
            self.max_entries(),
            layout::FLOW_TABLE
        ))
    }

    /// Removes the pins of others.
    pub(super) fn remove_others(self, directory: &Path) -> Result<(), DataplaneError> {
        let own = self.path(directory);
        for entry in fs::read_dir(directory).map_err(DataplaneError::pin(directory.into()))? {
            let path = entry.map_err(DataplaneError::pin(directory.into()))?.path();
            if path != own {
                remove_pin(&path)?;
            }
        }
        Ok(())
    }
}
