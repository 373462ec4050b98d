//! The matrix and the JSON.

use std::collections::BTreeMap;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

use super::daemon::Kind;

/// Name and version of the JSON report.
const SCHEMA: &str = "anylb/interop/v1";

/// One cell of the matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Scenario and what was looked at.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It held.
    Passed {
        /// What was measured.
        value: f64,
        /// Its unit.
        unit: &'static str,
    },
    /// It did not, and why.
    Failed(String),
    /// The router cannot do it, and why.
    Limit(&'static str),
}

/// All that was found.
#[derive(Debug)]
pub struct Report {
    kinds: Vec<Kind>,
    /// In the order of the scenarios.
    names: Vec<String>,
    cells: BTreeMap<(String, Kind), Outcome>,
}

#[derive(Debug, Serialize)]
struct Json<'r> {
    schema: &'static str,
    checks: Vec<Cell<'r>>,
}

#[derive(Debug, Serialize)]
struct Cell<'r> {
    name: &'r str,
    peer: &'static str,
    passed: bool,
    value: Option<f64>,
    unit: &'static str,
    /// A limit of the router: why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'r str>,
}

impl Report {
    /// Empty, with these columns.
    pub fn new(kinds: &[Kind]) -> Self {
        Self {
            kinds: kinds.to_vec(),
            names: Vec::new(),
            cells: BTreeMap::new(),
        }
    }

    /// What was found with a router.
    pub fn add(&mut self, kind: Kind, checks: Vec<Check>) {
        for Check { name, outcome } in checks {
            if !self.names.contains(&name) {
                self.names.push(name.clone());
            }
            self.cells.insert((name, kind), outcome);
        }
    }

    /// Checks that failed and are no limits.
    pub fn failed(&self) -> usize {
        let failed = |outcome: &&Outcome| matches!(outcome, Outcome::Failed(_));
        self.cells.values().filter(failed).count()
    }

    /// Number of checks.
    pub fn count(&self) -> usize {
        self.cells.len()
    }

    /// As JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        let mut checks = Vec::new();
        for name in &self.names {
            for kind in &self.kinds {
                if let Some(outcome) = self.cells.get(&(name.clone(), *kind)) {
                    checks.push(Cell::new(name, *kind, outcome));
                }
            }
        }
        let json = Json {
            schema: SCHEMA,
            checks,
        };
        serde_json::to_string_pretty(&json)
    }

    /// What a person reads: the matrix, and below it why cells are not ok.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_preset(NOTHING);
        let names = self.kinds.iter().map(|kind| kind.name());
        table.set_header(["check"].into_iter().chain(names));
        let mut notes = String::new();
        for name in &self.names {
            let mut row = vec![name.clone()];
            for kind in &self.kinds {
                let outcome = self.cells.get(&(name.clone(), *kind));
                row.push(outcome.map_or(String::new(), Outcome::cell));
                let why = match outcome {
                    Some(Outcome::Failed(why)) => why.as_str(),
                    Some(Outcome::Limit(why)) => why,
                    _ => continue,
                };
                notes += &format!("\n{}: {name}: {why}", kind.name());
            }
            table.add_row(row);
        }
        format!("{table}\n{notes}")
    }
}

impl Outcome {
    fn cell(&self) -> String {
        match self {
            Self::Passed { value, unit } if *unit == "ms" => format!("{value:.0} ms"),
            Self::Passed { .. } => "ok".to_owned(),
            Self::Failed(_) => "FAILED".to_owned(),
            Self::Limit(_) => "limit".to_owned(),
        }
    }
}

impl<'r> Cell<'r> {
    fn new(name: &'r str, kind: Kind, outcome: &'r Outcome) -> Self {
        let cell = Self {
            name,
            peer: kind.name(),
            passed: false,
            value: None,
            unit: "",
            limit: None,
            error: None,
        };
        match outcome {
            Outcome::Passed { value, unit } => Self {
                passed: true,
                value: Some(*value),
                unit,
                ..cell
            },
            Outcome::Failed(why) => Self {
                error: Some(why),
                ..cell
            },
            Outcome::Limit(why) => Self {
                limit: Some(why),
                ..cell
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_with_a_limit_and_a_failure() {
        let mut report = Report::new(&[Kind::Frr, Kind::Exabgp]);
        let check = |outcome| Check {
            name: "dial: session".to_owned(),
            outcome,
        };
        let passed = Outcome::Passed {
            value: 12.4,
            unit: "ms",
        };
        report.add(Kind::Frr, vec![check(passed)]);
        report.add(Kind::Exabgp, vec![check(Outcome::Limit("it has none"))]);
        assert_eq!((report.count(), report.failed()), (2, 0));
        let text = report.text();
        for part in ["12 ms", "limit", "ExaBGP: dial: session: it has none"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        report.add(Kind::Exabgp, vec![check(Outcome::Failed("no".into()))]);
        assert_eq!((report.count(), report.failed()), (2, 1));
        let json: serde_json::Value =
            serde_json::from_str(&report.json().expect("JSON")).expect("JSON");
        assert_eq!(json["schema"], SCHEMA);
        assert_eq!(json["checks"][0]["value"], 12.4);
        assert_eq!(json["checks"][1]["error"], "no");
        assert_eq!(json["checks"][1]["passed"], false);
    }
}
