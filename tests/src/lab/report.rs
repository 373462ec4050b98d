//! Checks, their table and their JSON.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use super::about;

/// The report of a run; serialises to the schema `anylb/lab/v1`.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    scenario: &'static str,
    passed: bool,
    kernel: String,
    cpu: String,
    commit: String,
    seed: u64,
    checks: Vec<Check>,
    #[serde(skip)]
    start: Instant,
    #[serde(skip)]
    title: String,
}

/// One thing that was measured. It holds when the value is at most the limit and the control, where there is one,
/// is above it: a scenario that breaks nothing even without protection proves nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// `SCENARIO-WHAT`.
    pub name: String,
    /// Whether it holds.
    pub passed: bool,
    /// Measured; none when the scenario failed before it could.
    pub value: Option<f64>,
    /// Of value, limit and control.
    pub unit: &'static str,
    /// The most that passes.
    pub limit: f64,
    /// The same without what protects; none where nothing is protected.
    pub control: Option<f64>,
}

impl Check {
    /// A value that must not exceed `limit`.
    pub fn at_most(name: impl Into<String>, value: f64, unit: &'static str, limit: f64) -> Self {
        Self {
            name: name.into(),
            passed: value <= limit,
            value: Some(value),
            unit,
            limit,
            control: None,
        }
    }

    /// A count that must be zero.
    pub fn none(name: impl Into<String>, count: usize, unit: &'static str) -> Self {
        Self::at_most(name, count as f64, unit, 0.0)
    }

    /// A time that must not exceed `limit`, in ms.
    pub fn time(name: impl Into<String>, time: Duration, limit: Duration) -> Self {
        Self::at_most(name, millis(time), "ms", millis(limit))
    }

    /// With the value of the control run, which must exceed the limit.
    pub fn with_control(mut self, control: usize) -> Self {
        self.control = Some(control as f64);
        self.passed &= control as f64 > self.limit;
        self
    }
}

/// In steps of a tenth.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

impl Report {
    /// An empty one.
    pub fn new(seed: u64) -> Self {
        Self {
            schema: "anylb/lab/v1",
            scenario: "local",
            passed: true,
            kernel: about::kernel(),
            cpu: about::cpu(),
            commit: about::commit(),
            seed,
            checks: Vec::new(),
            start: Instant::now(),
            title: String::new(),
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Everything held so far.
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// Says what comes now.
    pub fn begin(&mut self, title: &str) {
        self.title = title.to_owned();
        self.note(&format!("== {title}"));
    }

    /// A line of progress.
    pub fn note(&self, line: &str) {
        println!("{:7.1} s  {line}", self.start.elapsed().as_secs_f64());
    }

    /// Takes a check's result and prints it.
    pub fn check(&mut self, check: Check) {
        let control = check
            .control
            .map_or(String::new(), |control| format!(", control {control}"));
        self.note(&format!(
            "   {}  {}: {} {} (limit {}{control})",
            word(check.passed),
            check.name,
            shown(check.value),
            check.unit,
            check.limit,
        ));
        self.passed &= check.passed;
        self.checks.push(check);
    }

    /// Takes a scenario that could not be carried to its end.
    pub fn failure(&mut self, name: &str, error: &anyhow::Error) {
        let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
        self.note(&format!("   FAIL  {name}: {}", chain.join(": ")));
        self.passed = false;
        self.checks.push(Check {
            name: name.to_owned(),
            passed: false,
            value: None,
            unit: "completed",
            limit: 0.0,
            control: None,
        });
    }

    /// Prints the table and the verdict.
    pub fn print(&self) {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(["check", "value", "limit", "unit", "control", ""]);
        for check in &self.checks {
            let control = check
                .control
                .map_or(String::new(), |control| control.to_string());
            let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
            table.add_row([
                Cell::new(&check.name),
                right(shown(check.value)),
                right(check.limit.to_string()),
                Cell::new(check.unit),
                right(control),
                Cell::new(word(check.passed)),
            ]);
        }
        let failed = self.checks.iter().filter(|check| !check.passed).count();
        println!("\n{table}");
        println!(
            "{}: {} checks, {failed} failed, {:.0} s, seed {}",
            if self.passed { "PASSED" } else { "FAILED" },
            self.checks.len(),
            self.start.elapsed().as_secs_f64(),
            self.seed,
        );
    }

    /// Writes the JSON.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| path.display().to_string())
    }
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn word(passed: bool) -> &'static str {
    if passed { "ok  " } else { "FAIL" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_fails_above_its_limit_and_by_an_idle_control() {
        let cases = [
            (
                "nothing broke, the control did",
                Check::none("x", 0, "connections").with_control(7),
                true,
            ),
            (
                "nothing broke, not even the control",
                Check::none("x", 0, "connections").with_control(0),
                false,
            ),
            (
                "one broke",
                Check::none("x", 1, "connections").with_control(7),
                false,
            ),
            (
                "at the limit",
                Check::time("x", Duration::from_millis(300), Duration::from_millis(300)),
                true,
            ),
            (
                "too late",
                Check::time("x", Duration::from_millis(301), Duration::from_millis(300)),
                false,
            ),
        ];
        for (what, check, passed) in cases {
            assert_eq!(check.passed, passed, "{what}");
        }
    }

    #[test]
    fn json_has_the_fields_of_the_schema() {
        let mut report = Report::new(3);
        report.check(Check::none("a-b", 0, "connections").with_control(7));
        report.failure("c", &anyhow::anyhow!("why"));
        let json = serde_json::to_value(&report).expect("plain data serialises");
        let fields: Vec<&str> = json
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        let mut wanted = [
            "schema", "scenario", "passed", "kernel", "cpu", "commit", "seed", "checks",
        ];
        wanted.sort_unstable();
        assert_eq!(fields, wanted);
        assert_eq!(json["schema"], "anylb/lab/v1");
        assert_eq!(json["passed"], false);
        let check = serde_json::json!({
            "name": "a-b", "passed": true, "value": 0.0, "unit": "connections", "limit": 0.0, "control": 7.0
        });
        assert_eq!(json["checks"][0], check);
        assert_eq!(json["checks"][1]["value"], serde_json::Value::Null);
    }
}
