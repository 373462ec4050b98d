//! The figures as JSON and as a table.

use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::times::Times;

/// Name and version of the JSON report.
const SCHEMA: &str = "anylb/bgp-scale/v1";
/// For the median.
const TIME_MAX: Duration = Duration::from_secs(2);
/// The speaker's memory that is no file's.
pub const MEMORY_MAX: u64 = 64 << 20;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    peers: u16,
    prefixes: u32,
    #[serde(flatten)]
    times: Times,
    memory_bytes: u64,
    memory_limit_bytes: u64,
    passed: bool,
}

#[derive(Debug, Serialize)]
struct Report<'r> {
    schema: &'static str,
    kernel: String,
    cpu: String,
    commit: String,
    figures: &'r [Row],
}

impl Row {
    /// Of at least one run.
    pub fn new(peers: u16, prefixes: u32, times: Vec<Duration>, memory_bytes: u64) -> Self {
        let times = Times::new(times, TIME_MAX);
        Self {
            peers,
            prefixes,
            times,
            memory_bytes,
            memory_limit_bytes: MEMORY_MAX,
            passed: times.within() && memory_bytes <= MEMORY_MAX,
        }
    }

    /// Most memory at any time, bytes.
    pub const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Whether time and memory are within their limits.
    pub const fn passed(&self) -> bool {
        self.passed
    }
}

/// For machines.
pub fn json(
    row: &Row,
    (kernel, cpu, commit): (String, String, String),
) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&Report {
        schema: SCHEMA,
        kernel,
        cpu,
        commit,
        figures: std::slice::from_ref(row),
    })
}

/// For people.
pub fn table(row: &Row) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    let counts = ["peers", "prefixes"].into_iter();
    table.set_header(counts.chain(Times::HEAD).chain(["MiB", "limit MiB", ""]));
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / 1_048_576.0);
    let counts = [row.peers.to_string(), row.prefixes.to_string()];
    let memory = [row.memory_bytes, row.memory_limit_bytes].map(mib);
    let end = if row.passed { "ok" } else { "FAIL" };
    table.add_row(
        counts
            .into_iter()
            .chain(row.times.cells())
            .chain(memory)
            .chain([end.to_owned()]),
    );
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
