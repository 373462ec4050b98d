//! The figures as JSON and as tables.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::limits::Check;
use super::series::Figures;

/// Name and version of the JSON report.
const SCHEMA: &str = "anylb/bench/v1";

/// The JSON report.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    kernel: String,
    cpu: String,
    commit: String,
    cases: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    ns_per_packet: f64,
    min: f64,
    max: f64,
    mpps: f64,
}

impl Report {
    /// All cases in their order, on the machine described.
    pub fn new(kernel: String, cpu: String, commit: String, figures: &[Figures]) -> Self {
        Self {
            schema: SCHEMA,
            kernel,
            cpu,
            commit,
            cases: figures.iter().map(Row::new).collect(),
        }
    }

    /// What a person reads.
    pub fn table(&self) -> Table {
        let mut table = plain(["case", "ns/packet", "min", "max", "Mpps"]);
        for row in &self.cases {
            let figures = [row.ns_per_packet, row.min, row.max, row.mpps]
                .map(|figure| format!("{figure:.1}"));
            table.add_row([row.name.clone()].into_iter().chain(figures));
        }
        table
    }
}

impl Row {
    fn new(figures: &Figures) -> Self {
        let nanoseconds = figures.median();
        Self {
            name: figures.name.clone(),
            ns_per_packet: tenths(nanoseconds),
            min: tenths(*figures.range().start()),
            max: tenths(*figures.range().end()),
            mpps: tenths(1000.0 / nanoseconds),
        }
    }
}

/// The limits and whether they hold.
pub fn checks(checks: &[Check]) -> Table {
    let mut table = plain(["limit, in hash lookups", "value", "at most", "result"]);
    for check in checks {
        let result = if check.passed() { "ok" } else { "FAIL" };
        let (value, limit) = (format!("{:.2}", check.value), format!("{:.2}", check.limit));
        table.add_row([check.name.as_str(), &value, &limit, result]);
    }
    table
}

fn plain<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn tenths(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema() {
        let figures = Figures {
            name: "foreign-ipv4".to_owned(),
            rounds: vec![8.0, 7.96, 10.04],
        };
        let report = Report::new(
            "6.1".to_owned(),
            "a CPU".to_owned(),
            "abc".to_owned(),
            &[figures],
        );
        let expected = serde_json::json!({
            "schema": "anylb/bench/v1", "kernel": "6.1", "cpu": "a CPU", "commit": "abc",
            "cases": [{"name": "foreign-ipv4", "ns_per_packet": 8.0, "min": 8.0, "max": 10.0, "mpps": 125.0}],
        });
        assert_eq!(serde_json::to_value(report).ok(), Some(expected));
    }
}
