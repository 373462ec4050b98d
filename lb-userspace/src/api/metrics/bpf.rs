//! What the programs and maps cost the kernel.

use std::collections::BTreeMap;

use super::family::Families;
use crate::status::{BpfProgram, BpfState};

pub(super) fn add(families: &mut Families, state: &BpfState) {
    let mut seconds = families.counter(
        "bpf_program_run_seconds_total",
        "Time in the program; absent while kernel.bpf_stats_enabled is 0.",
    );
    for (program, nanoseconds) in of_each(state, |program| program.run_time_ns) {
        seconds.add(&[("program", program)], nanoseconds as f64 / 1e9);
    }
    let mut runs = families.counter(
        "bpf_program_runs_total",
        "Runs of the program; absent while kernel.bpf_stats_enabled is 0.",
    );
    for (program, count) in of_each(state, |program| program.runs) {
        runs.add(&[("program", program)], count);
    }
    let mut memory = families.gauge(
        "bpf_map_memory_bytes",
        "Kernel memory of the map, of all tables of rows together as `tables`.",
    );
    for (map, bytes) in memory_by_map(state) {
        memory.add(&[("map", map)], bytes);
    }
}

fn of_each(
    state: &BpfState,
    number: impl Fn(&BpfProgram) -> Option<u64>,
) -> impl Iterator<Item = (&str, u64)> {
    let programs = state.programs.iter();
    programs.filter_map(move |program| Some((program.name.as_str(), number(program)?)))
}

/// Tables come and go with pools, so they are one: a series for each would grow without end.
fn memory_by_map(state: &BpfState) -> BTreeMap<&str, u64> {
    let mut by_map = BTreeMap::new();
    for map in &state.maps {
        let is_table = map.name.starts_with("table ");
        let name = if is_table { "tables" } else { &map.name };
        if let Some(bytes) = map.memory_bytes {
            *by_map.entry(name).or_default() += bytes;
        }
    }
    by_map
}
