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
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<String>,
    cases: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    ns_per_packet: f64,
    min: f64,
    max: f64,
    mpps: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Other>,
}

/// Another program with the same packet.
#[derive(Debug, Serialize)]
struct Other {
    ns_per_packet: f64,
    min: f64,
    max: f64,
    /// Its cost in units of ours: the median of the rounds' ratios.
    ratio: f64,
}

impl Report {
    /// All cases in their order, on the machine described.
    pub fn new(kernel: String, cpu: String, commit: String, figures: &[Figures]) -> Self {
        Self {
            schema: SCHEMA,
            kernel,
            cpu,
            commit,
            against: None,
            cases: figures.iter().map(Row::new).collect(),
        }
    }

    /// Puts another program's figures beside those of the same name.
    pub fn set_against(&mut self, program: String, ours: &[Figures], theirs: &[Figures]) {
        self.against = Some(program);
        for row in &mut self.cases {
            let named = |figures: &&Figures| figures.name == row.name;
            let (our, their) = (ours.iter().find(named), theirs.iter().find(named));
            row.against = our.zip(their).map(|(our, their)| Other::new(our, their));
        }
    }

    /// What a person reads.
    pub fn table(&self) -> Table {
        let mut header = vec!["case", "ns/packet", "min", "max", "Mpps"];
        if let Some(program) = &self.against {
            header.extend([program.as_str(), "min", "max", "ratio"]);
        }
        let mut table = plain(header);
        for row in &self.cases {
            let figures = [row.ns_per_packet, row.min, row.max, row.mpps];
            let figures = figures.map(|figure| format!("{figure:.1}"));
            let other = row.against.as_ref().map(Other::cells);
            let cells = [row.name.clone()].into_iter().chain(figures);
            table.add_row(cells.chain(other.into_iter().flatten()));
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
            against: None,
        }
    }
}

impl Other {
    fn new(our: &Figures, their: &Figures) -> Self {
        Self {
            ns_per_packet: tenths(their.median()),
            min: tenths(*their.range().start()),
            max: tenths(*their.range().end()),
            ratio: (their.ratio_to(our, 0.0) * 100.0).round() / 100.0,
        }
    }

    fn cells(&self) -> [String; 4] {
        let [median, min, max] =
            [self.ns_per_packet, self.min, self.max].map(|figure| format!("{figure:.1}"));
        [median, min, max, format!("{:.2}", self.ratio)]
    }
}

/// The limits and whether they hold.
pub fn checks(checks: &[Check]) -> Table {
    let mut table = plain(vec!["limit, in hash lookups", "value", "at most", "result"]);
    for check in checks {
        let result = if check.passed() { "ok" } else { "FAIL" };
        let (value, limit) = (format!("{:.2}", check.value), format!("{:.2}", check.limit));
        table.add_row([check.name.as_str(), &value, &limit, result]);
    }
    table
}

fn plain(header: Vec<&str>) -> Table {
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

    #[test]
    fn another_program_is_shown_beside_the_case_of_the_same_name() {
        let figures = |name: &str, rounds: [f64; 3]| Figures {
            name: name.to_owned(),
            rounds: rounds.to_vec(),
        };
        let ours = [
            figures("vip", [10.0, 20.0, 10.0]),
            figures("foreign", [5.0; 3]),
        ];
        let theirs = [figures("vip", [15.0, 30.0, 15.0])];
        let mut report = Report::new(String::new(), String::new(), String::new(), &ours);
        report.set_against("other of o.o".to_owned(), &ours, &theirs);
        let json = serde_json::to_value(&report).expect("figures are numbers");
        assert_eq!(json["against"], "other of o.o");
        assert_eq!(
            json["cases"][0]["against"],
            serde_json::json!({"ns_per_packet": 15.0, "min": 15.0, "max": 30.0, "ratio": 1.5})
        );
        assert!(json["cases"][1].get("against").is_none());
        let table = report.table().to_string();
        assert!(
            table.contains("other of o.o") && table.contains("1.50"),
            "{table}"
        );
    }
}
