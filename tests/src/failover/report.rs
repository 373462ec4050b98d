//! The figures as JSON and as a table.

use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::Fault;
use crate::interop::daemon::Kind;
use crate::times::Times;

/// Name and version of the JSON report.
const SCHEMA: &str = "anylb/failover/v1";

/// What was found about one fault, milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    router: &'static str,
    fault: &'static str,
    #[serde(flatten)]
    times: Times,
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
    pub fn new(router: Kind, fault: Fault, times: Vec<Duration>) -> Self {
        let times = Times::new(times, fault.limit(router));
        Self {
            router: router.name(),
            fault: fault.name(),
            times,
            passed: times.within(),
        }
    }

    /// Whether the median is within the limit.
    pub const fn passed(&self) -> bool {
        self.passed
    }
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
    let names = ["router", "fault"].into_iter();
    table.set_header(names.chain(Times::HEAD).chain([""]));
    for row in rows {
        let names = [row.router, row.fault].map(str::to_owned).into_iter();
        let end = if row.passed { "ok" } else { "FAIL" };
        table.add_row(names.chain(row.times.cells()).chain([end.to_owned()]));
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
        assert_eq!(row.times.cells(), ["4", "25.0", "900.0", "50.0"]);
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
