//! `anylb backend list`.

use comfy_table::Cell;

use super::super::output::{Style, number, optional, text};
use super::{admin, health};
use crate::status::{BackendList, PoolBackend};

/// One line per backend; what is wrong with one below, or wide, in its last column.
pub(in super::super) fn table(list: &BackendList, style: Style) -> String {
    if list.backends.is_empty() {
        return "this node has no backends\n".to_string();
    }
    match style.wide() {
        true => wide(&list.backends, style),
        false => narrow(&list.backends, style),
    }
}

fn narrow(backends: &[PoolBackend], style: Style) -> String {
    let head = [
        text("POOL"),
        text("BACKEND"),
        text("NAME"),
        number("WEIGHT"),
        text("ADMIN"),
        text("HEALTH"),
        number("ROWS"),
    ];
    let table = style.table(head, backends.iter().map(cells).collect());
    let reasons: String = backends.iter().filter_map(line).collect();
    match reasons.is_empty() {
        true => table,
        false => format!("{table}\n{reasons}"),
    }
}

fn wide(backends: &[PoolBackend], style: Style) -> String {
    let head = [
        text("POOL"),
        text("BACKEND"),
        text("NAME"),
        number("WEIGHT"),
        text("ADMIN"),
        text("HEALTH"),
        number("ROWS"),
        text("REASON"),
    ];
    let row = |entry: &PoolBackend| {
        let [pool, address, name, weight, admin, health, rows] = cells(entry);
        let reason = optional(reason(entry).as_deref());
        [pool, address, name, weight, admin, health, rows, reason]
    };
    style.table(head, backends.iter().map(row).collect())
}

fn cells(entry: &PoolBackend) -> [Cell; 7] {
    let backend = &entry.backend;
    [
        Cell::new(&entry.pool),
        Cell::new(backend.address),
        optional(backend.name.as_deref()),
        Cell::new(backend.weight),
        admin(backend.admin),
        health(backend.health),
        Cell::new(format!("{:.2} %", backend.row_ratio * 100.0)),
    ]
}

fn line(entry: &PoolBackend) -> Option<String> {
    let reason = reason(entry)?;
    Some(format!(
        "! {} in {}: {reason}\n",
        entry.backend.address, entry.pool
    ))
}

fn reason(entry: &PoolBackend) -> Option<String> {
    const NO_NEXT_HOP: &str = "its next hop is not resolved";
    match (&entry.backend.reason, entry.backend.reachable) {
        (Some(reason), true) => Some(reason.clone()),
        (Some(reason), false) => Some(format!("{reason}; {NO_NEXT_HOP}")),
        (None, true) => None,
        (None, false) => Some(NO_NEXT_HOP.to_string()),
    }
}
