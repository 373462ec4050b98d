//! What was found, as a table and as JSON.

use std::collections::BTreeSet;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::outcome::{Outcome, Program, Tests};
use super::series::Series;

/// Name and version of the JSON report.
const SCHEMA: &str = "anylb/kernels/v1";
/// Instructions that the verifier follows at most (BPF_COMPLEXITY_LIMIT_INSNS).
const LIMIT: u32 = 1_000_000;
/// What a program may use of it.
const SHARE_PERCENT: u32 = 50;

/// The JSON report.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    verified_insns_limit: u32,
    verified_insns_max: u32,
    kernels: Vec<Row>,
}

/// One kernel.
#[derive(Debug, Serialize)]
pub struct Row {
    series: String,
    release: Option<String>,
    promised: bool,
    ok: bool,
    problems: Vec<String>,
    programs: Vec<Program>,
    tests: std::collections::BTreeMap<String, Tests>,
}

impl Report {
    /// Kernels in their order.
    pub fn new(kernels: Vec<Row>) -> Self {
        Self {
            schema: SCHEMA,
            verified_insns_limit: LIMIT,
            verified_insns_max: LIMIT / 100 * SHARE_PERCENT,
            kernels,
        }
    }

    /// Series that are promised and do not hold it.
    pub fn broken(&self) -> Vec<&str> {
        let broken = self.kernels.iter().filter(|row| row.promised && !row.ok);
        broken.map(|row| row.series.as_str()).collect()
    }

    /// What a person reads: programs and tests against kernels, then every problem in a line.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        let header = self.kernels.iter().map(Row::header);
        table.load_preset(NOTHING).set_header(
            ["verified instructions".to_owned()]
                .into_iter()
                .chain(header),
        );
        for name in self.names(|row| row.programs.iter().map(|found| &found.name).collect()) {
            let cells = self.kernels.iter().map(|row| row.program(name));
            table.add_row([name.to_owned()].into_iter().chain(cells));
        }
        table.add_row(["tests passed"]);
        for name in self.names(|row| row.tests.keys().collect()) {
            let cells = self.kernels.iter().map(|row| row.test(name));
            table.add_row([name.to_owned()].into_iter().chain(cells));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let problems = self.kernels.iter().flat_map(|row| {
            let problems = row.problems.iter();
            problems.map(|problem| format!("\n{}: {problem}", row.series))
        });
        format!("{table}\n{}", problems.collect::<String>())
    }

    fn names<'a>(&'a self, of: impl Fn(&'a Row) -> Vec<&'a String>) -> BTreeSet<&'a str> {
        let all = self.kernels.iter().flat_map(of);
        all.map(String::as_str).collect()
    }
}

impl Row {
    /// What a machine said, against what was to be run.
    pub fn ran(series: &Series, release: &str, outcome: Outcome, wanted: &[&str]) -> Self {
        let mut problems = Vec::new();
        for program in &outcome.programs {
            if let Some(why) = &program.refused {
                problems.push(format!("{} is refused: {why}", program.name));
            }
            let verified = program.verified_insns.unwrap_or(0);
            if verified > LIMIT / 100 * SHARE_PERCENT {
                problems.push(format!(
                    "{} takes {verified} instructions to verify, more than {SHARE_PERCENT} % of {LIMIT}",
                    program.name
                ));
            }
        }
        for name in wanted {
            match outcome.tests.get(*name) {
                None => problems.push(format!("the machine ended before {name} did")),
                Some(tests) if tests.code != 0 && tests.failed.is_empty() => {
                    problems.push(format!("{name} ended with {}", tests.code));
                }
                Some(tests) if tests.code != 0 => {
                    let why = tests.why.as_deref().unwrap_or("no reason given");
                    let failed = tests.failed.join(", ");
                    problems.push(format!("{name} failed: {failed}: {}", why.trim()));
                }
                Some(_) => {}
            }
        }
        Self {
            release: Some(release.to_owned()),
            programs: outcome.programs,
            tests: outcome.tests,
            ..Self::failed(series, problems)
        }
    }

    /// A kernel that was not tried, or not to the end.
    pub fn failed(series: &Series, problems: Vec<String>) -> Self {
        Self {
            series: series.to_string(),
            release: None,
            promised: series.is_promised(),
            ok: problems.is_empty(),
            problems,
            programs: Vec::new(),
            tests: Default::default(),
        }
    }

    fn header(&self) -> String {
        let note = if self.promised { "" } else { " (best effort)" };
        format!(
            "{}{note}\n{}",
            self.series,
            self.release.as_deref().unwrap_or("not tried")
        )
    }

    fn program(&self, name: &str) -> String {
        let found = self.programs.iter().find(|program| program.name == name);
        match found.map(|program| program.verified_insns) {
            None => "-".to_owned(),
            Some(None) => "refused".to_owned(),
            Some(Some(count)) => {
                let share = f64::from(count) * 100.0 / f64::from(LIMIT);
                format!("{count} ({share:.1} %)")
            }
        }
    }

    fn test(&self, name: &str) -> String {
        let Some(tests) = self.tests.get(name) else {
            return "-".to_owned();
        };
        let all = tests.passed + tests.failed.len() as u32;
        format!("{} of {all}", tests.passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(verified: u32, code: i32) -> Outcome {
        let mut outcome = Outcome::default();
        outcome.hear(&format!("PROGRAM lb/lb {verified}"));
        if code != 0 {
            for line in ["failures:", "    ping"] {
                outcome.hear(line);
            }
        }
        outcome.hear("test result: ok. 2 passed; 0 failed");
        outcome.hear(&format!("RESULT backend {code}"));
        outcome
    }

    fn row(series: &str, outcome: Outcome) -> Row {
        let series: Series = series.parse().expect("any word is a series");
        Row::ran(&series, "1.2.3-amd64", outcome, &["backend"])
    }

    #[test]
    fn only_promises_can_be_broken() {
        let report = Report::new(vec![
            row("5.10", outcome(1, 101)),
            row("6.1", outcome(500_000, 0)),
            row("6.12", outcome(500_001, 0)),
            row("newest", outcome(1, 101)),
            row("6.2", Outcome::default()),
        ]);
        assert_eq!(report.broken(), ["6.12", "newest", "6.2"]);
        let text = report.text();
        for line in [
            "5.10: backend failed: ping: no reason given",
            "6.12: lb/lb takes 500001 instructions to verify, more than 50 % of 1000000",
            "6.2: the machine ended before backend did",
            "500000 (50.0 %)",
            "2 of 3",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
