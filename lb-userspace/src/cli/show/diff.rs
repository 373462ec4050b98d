//! `anylb diff`, `anylb reload`.

use super::super::output::{Style, plural};
use crate::status::{
    BackendDiff, ConfigDiff, Fate, PoolDiff, Reloaded, RouteDiff, RowsDiff, ServiceDiff, ValueDiff,
};

/// Most lines of one kind; wide: all.
const LINES_MAX: usize = 20;

/// What a reload would change.
pub(in super::super) fn planned(diff: &ConfigDiff, style: Style) -> String {
    if diff.is_empty() {
        return "nothing differs\n".to_string();
    }
    let mut out = body(diff, style);
    let restart: Vec<String> = diff.restart.iter().map(in_words).collect();
    let warnings = [
        warning("a reload is refused, this needs `anylb restart`", &restart),
        warning("refused without --force", &diff.objections),
    ];
    section(&mut out, "", &warnings.concat());
    out
}

fn warning(what: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    format!("! {what}:\n{lines}")
}

/// What a reload has changed.
pub(in super::super) fn applied(done: &Reloaded, style: Style) -> String {
    let mut out = body(&done.diff, style);
    section(&mut out, "", &format!("{}\n", done.message));
    out
}

fn body(diff: &ConfigDiff, style: Style) -> String {
    let mut out = String::new();
    let services: Vec<String> = diff.services.iter().map(service).collect();
    section(&mut out, "services", &some(&services, style));
    let pools: Vec<String> = diff.pools.iter().map(|one| pool(one, style)).collect();
    section(&mut out, "pools", &some(&pools, style));
    let bgp: Vec<String> = diff
        .bgp
        .iter()
        .map(|one| format!("~ {}\n", in_words(one)))
        .collect();
    section(&mut out, "bgp", &some(&bgp, style));
    let routes: Vec<String> = diff.routes.iter().map(route).collect();
    section(&mut out, "routes", &some(&routes, style));
    out
}

fn section(out: &mut String, name: &str, lines: &str) {
    if lines.is_empty() {
        return;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    if !name.is_empty() {
        out.push_str(name);
        out.push('\n');
    }
    out.push_str(lines);
}

fn some(all: &[String], style: Style) -> String {
    if style.wide() || all.len() <= LINES_MAX {
        return all.concat();
    }
    let rest = all.len() - LINES_MAX;
    format!("{}  and {rest} more: -o wide\n", all[..LINES_MAX].concat())
}

fn service(diff: &ServiceDiff) -> String {
    let mut out = format!("{} {} {}\n", sign(diff.fate), diff.name, diff.vip);
    out.extend(details(&diff.changes, diff.rows));
    out
}

fn pool(diff: &PoolDiff, style: Style) -> String {
    let mut out = format!("{} {}\n", sign(diff.fate), diff.name);
    out.extend(details(&diff.changes, None));
    let backends: Vec<String> = diff.backends.iter().map(backend).collect();
    // Of a pool that comes or goes its backends say nothing more.
    match diff.fate {
        Fate::Changed => out.push_str(&some(&backends, style)),
        Fate::Added | Fate::Removed if backends.is_empty() => {}
        Fate::Added | Fate::Removed => {
            out.push_str(&format!("    {}\n", plural(backends.len(), "backend")));
        }
    }
    out.extend(diff.rows.iter().map(rows));
    out
}

fn backend(diff: &BackendDiff) -> String {
    let name = diff
        .name
        .as_ref()
        .map_or(String::new(), |name| format!(" {name}"));
    let changes: Vec<String> = diff.changes.iter().map(in_words).collect();
    let changes = if changes.is_empty() {
        String::new()
    } else {
        format!(": {}", changes.join(", "))
    };
    format!("  {} {}{name}{changes}\n", sign(diff.fate), diff.address)
}

fn route(diff: &RouteDiff) -> String {
    let (verb, to) = match diff.fate {
        Fate::Added => ("announced", "to"),
        Fate::Removed => ("withdrawn", "from"),
        Fate::Changed => ("announced anew", "to"),
    };
    let mut out = format!("{} {} {verb}\n", sign(diff.fate), diff.prefix);
    let peers: Vec<String> = diff.peers.iter().map(ToString::to_string).collect();
    out.push_str(&format!("    {to} {}\n", peers.join(", ")));
    if let Some(reason) = &diff.reason {
        out.push_str(&format!("    {reason}\n"));
    }
    out.extend(details(&diff.changes, None));
    out
}

fn details(changes: &[ValueDiff], rows_diff: Option<RowsDiff>) -> Vec<String> {
    let changes = changes
        .iter()
        .map(|change| format!("    {}\n", in_words(change)));
    changes.chain(rows_diff.iter().map(rows)).collect()
}

fn rows(rows: &RowsDiff) -> String {
    let moved = format!(
        "    {} of {} rows move ({})",
        rows.moved,
        rows.total,
        share(rows.moved, rows.total)
    );
    let uncovered = match (rows.has_flows, rows.newly_uncovered) {
        (false, _) => "no flows to keep".to_string(),
        (true, 0) => "all flows kept".to_string(),
        (true, lost) => format!("flows of {lost} break ({})", share(lost, rows.total)),
    };
    format!("{moved}, {uncovered}\n")
}

fn share(part: usize, total: usize) -> String {
    let percent = 100.0 * part as f64 / total.max(1) as f64;
    if part > 0 && percent < 0.01 {
        return "<0.01 %".to_string();
    }
    format!("{percent:.2} %")
}

fn sign(fate: Fate) -> char {
    match fate {
        Fate::Added => '+',
        Fate::Removed => '-',
        Fate::Changed => '~',
    }
}

fn in_words(value: &ValueDiff) -> String {
    let key = &value.key;
    match (&value.before, &value.after) {
        (Some(before), Some(after)) => format!("{key} {before} -> {after}"),
        (None, Some(after)) => format!("{key} {after}, not set before"),
        (Some(before), None) => format!("{key} not set, {before} before"),
        (None, None) => format!("{key} differs"),
    }
}
