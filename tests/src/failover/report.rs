//! The figures as JSON and as a table.

use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::Fault;
use crate::interop::daemon::Kind;

/// Name and version of the JSON report.
const SCHEMA: &str = "anylb/failover/v1";

/// What was found about one fault, milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    router: &'static str,
    fault: &'static str,
    runs: usize,
    median_ms: f64,
    worst_ms: f64,
    limit_ms: f64,
    passed: bool,
}

#[derive(Debug, Serialize)]
struct Report<'r> {
    schema: &'static str,
    kernel: String,
    cpu: String,
    commit: String,
    faults: &'r [Row],
}

impl Row {
    /// Of at least one run.
    pub fn new(router: Kind, fault: Fault, mut times: Vec<Duration>) -> Self {
        times.sort();
        let median = median(&times);
        let limit = fault.limit(router);
        Self {
            router: router.name(),
            fault: fault.name(),
            runs: times.len(),
            median_ms: ms(median),
            worst_ms: ms(times[times.len() - 1]),
            limit_ms: ms(limit),
            passed: median <= limit,
        }
    }

    /// Whether the median is within the limit.
    pub const fn passed(&self) -> bool {
        self.passed
    }
}

/// Of at least one time, in their order.
pub fn median(times: &[Duration]) -> Duration {
    let middle = times.len() / 2;
    match times.len() % 2 {
        0 => (times[middle - 1] + times[middle]) / 2,
        _ => times[middle],
    }
}

/// Milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// For machines.
pub fn json(
    rows: &[Row],
    (kernel, cpu, commit): (String, String, String),
) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&Report {
        schema: SCHEMA,
        kernel,
        cpu,
        commit,
        faults: rows,
    })
}

/// For people.
pub fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table.set_header([
        "router",
        "fault",
        "runs",
        "median ms",
        "worst ms",
        "limit ms",
        "",
    ]);
    for row in rows {
        let figures =
            [row.median_ms, row.worst_ms, row.limit_ms].map(|figure| format!("{figure:.1}"));
        let start = [
            row.router.to_owned(),
            row.fault.to_owned(),
            row.runs.to_string(),
        ];
        let end = if row.passed { "ok" } else { "FAIL" };
        table.add_row(start.into_iter().chain(figures).chain([end.to_owned()]));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_counts_and_not_the_worst() {
        let times = [10, 900, 20, 30].map(Duration::from_millis).to_vec();
        let row = Row::new(Kind::Bird, Fault::Withdraw, times);
        assert_eq!((row.median_ms, row.worst_ms), (25.0, 900.0));
        assert!(row.passed());
        let late = vec![Duration::from_millis(51)];
        let slow = Row::new(Kind::Frr, Fault::Withdraw, late.clone());
        assert!(slow.passed(), "FRR waits by itself");
        let late = Row::new(Kind::Bird, Fault::Withdraw, late);
        assert!(!late.passed());
        let text = table(&[row, late]).to_string();
        assert!(text.contains("25.0") && text.contains("FAIL"), "{text}");
    }
}
