//! `anylb doctor`.

use comfy_table::Cell;

use super::super::output::{Style, notice, optional, text, verdict};
use crate::status::{DoctorReport, Finding, FindingVerdict};

/// One line per finding, and below what to do; wide: beside it.
pub(in super::super) fn table(report: &DoctorReport, style: Style) -> String {
    if style.wide() {
        let row = |finding: &Finding| {
            let [check, result, found] = cells(finding);
            [check, result, found, optional(finding.fix.as_deref())]
        };
        let head = [
            text("CHECK"),
            text("RESULT"),
            text("FOUND"),
            text("WHAT TO DO"),
        ];
        return style.table(head, report.findings.iter().map(row).collect());
    }
    let head = [text("CHECK"), text("RESULT"), text("FOUND")];
    let table = style.table(head, report.findings.iter().map(cells).collect());
    let fixes: String = report.findings.iter().filter_map(fix).collect();
    match fixes.is_empty() {
        true => table,
        false => format!("{table}\n{fixes}"),
    }
}

fn cells(finding: &Finding) -> [Cell; 3] {
    let result = match finding.verdict {
        FindingVerdict::Ok => verdict("ok", true),
        FindingVerdict::Fail => verdict("fail", false),
        FindingVerdict::Warn => notice("warn"),
        FindingVerdict::Unknown => notice("unknown"),
    };
    [Cell::new(&finding.check), result, Cell::new(&finding.found)]
}

fn fix(finding: &Finding) -> Option<String> {
    let fix = finding.fix.as_ref()?;
    Some(format!("! {}: {fix}\n", finding.check))
}
