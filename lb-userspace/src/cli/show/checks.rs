//! `anylb health`.

use comfy_table::Cell;

use super::super::output::{Head, Style, number, optional, span, text};
use super::health;
use crate::status::{BackendHealth, Health, HealthList, ProbeReport};

/// One line per backend and pool, and below why checks were no success; wide: the reasons beside them.
pub(in super::super) fn table(list: &HealthList, style: Style) -> String {
    if list.backends.is_empty() {
        return "this node checks no backends\n".to_string();
    }
    if style.wide() {
        let row = |backend| (cells(backend), reason(backend));
        return style.table_with_reasons(HEAD, list.backends.iter().map(row).collect());
    }
    let table = style.table(HEAD, list.backends.iter().map(cells).collect());
    let reasons: String = list.backends.iter().filter_map(line).collect();
    match reasons.is_empty() {
        true => table,
        false => format!("{table}\n{reasons}"),
    }
}

const HEAD: [Head; 9] = [
    text("POOL"),
    text("BACKEND"),
    text("NAME"),
    text("HEALTH"),
    number("SINCE"),
    text("PROGRESS"),
    text("LAST"),
    number("AGO"),
    number("NEXT"),
];

fn cells(backend: &BackendHealth) -> [Cell; 9] {
    let last = backend.last.as_ref();
    [
        Cell::new(&backend.pool),
        Cell::new(backend.address),
        optional(backend.name.as_deref()),
        health(backend.health),
        Cell::new(span(backend.since_secs)),
        optional(progress(backend).as_deref()),
        optional(last.map(|last| last.result.as_str())),
        optional(last.map(|last| short(last.ago_ms)).as_deref()),
        Cell::new(match backend.next_ms {
            Some(next) => short(next),
            None => "now".to_string(),
        }),
    ]
}

/// How far the backend is from another verdict; none while nothing speaks against the one in force.
fn progress(backend: &BackendHealth) -> Option<String> {
    let up = || format!("{} of {} to up", backend.successes, backend.rise);
    let down = || format!("{} of {} to down", backend.failures, backend.fall);
    match backend.health {
        Health::Up => (backend.failures > 0).then(down),
        Health::Down => (backend.successes > 0).then(up),
        Health::Unknown if backend.failures > 0 => Some(down()),
        Health::Unknown => Some(up()),
    }
}

/// `0.3s`, `5m10s`.
fn short(ms: u64) -> String {
    match ms {
        ..10_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        _ => span(ms / 1000),
    }
}

fn reason(backend: &BackendHealth) -> Option<&str> {
    backend.last.as_ref()?.reason.as_deref()
}

fn line(backend: &BackendHealth) -> Option<String> {
    let reason = reason(backend)?;
    Some(format!(
        "! {} in {}: {reason}\n",
        backend.address, backend.pool
    ))
}

/// The result, and that it changes nothing.
pub(in super::super) fn probe(report: &ProbeReport, style: Style) -> String {
    let name = report
        .name
        .as_ref()
        .map_or_else(String::new, |name| format!(" ({name})"));
    let mut pairs = vec![
        (
            "backend",
            format!("{}{name} in pool {}", report.address, report.pool),
        ),
        ("result", report.result.clone()),
    ];
    pairs.extend(report.reason.clone().map(|reason| ("reason", reason)));
    let (took, limit) = (report.duration_ms, report.timeout_ms);
    pairs.push(("took", format!("{took:.1} ms of at most {limit} ms")));
    let verdict = match report.health {
        Health::Up => "up",
        Health::Down => "down",
        Health::Unknown => "unknown",
    };
    pairs.push(("verdict", format!("{verdict}, as before")));
    style.pairs(&pairs)
}
