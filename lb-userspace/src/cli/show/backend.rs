//! `anylb backend list`.

use comfy_table::Cell;

use super::super::output::{Style, number, optional, text};
use super::{admin, health};
use crate::model::AdminState;
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
    let reasons = backends.iter().filter_map(line);
    let notes: String = reasons.chain(backends.iter().flat_map(beside)).collect();
    match notes.is_empty() {
        true => table,
        false => format!("{table}\n{notes}"),
    }
}

/// What is not as the configuration says: a line each.
fn beside(entry: &PoolBackend) -> Vec<String> {
    let mut lines = overrides(entry);
    if let Some(mtu) = entry.backend.path_mtu {
        lines.push(format!(
            "* {} in {}: path MTU {mtu}, as a router says\n",
            entry.backend.address, entry.pool
        ));
    }
    lines
}

/// What holds on this node alone, since its operator said so: a line each.
fn overrides(entry: &PoolBackend) -> Vec<String> {
    let backend = &entry.backend;
    // One that left the configuration drains on every node.
    let Some(configured) = backend.configured_weight else {
        return Vec::new();
    };
    let admin = (backend.admin != AdminState::Ready)
        .then(|| (backend.admin.to_string(), backend.admin_until_reboot));
    let weight = (backend.weight != configured).then(|| {
        let weight = format!("weight {} instead of {configured}", backend.weight);
        (weight, backend.weight_until_reboot)
    });
    let line = |(what, until_reboot)| {
        let until = if until_reboot {
            ", until it reboots"
        } else {
            ""
        };
        format!(
            "* {} in {}: {what} on this node only{until}\n",
            backend.address, entry.pool
        )
    };
    admin.into_iter().chain(weight).map(line).collect()
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
    let table = style.table(head, backends.iter().map(row).collect());
    let notes: String = backends.iter().flat_map(beside).collect();
    match notes.is_empty() {
        true => table,
        false => format!("{table}\n{notes}"),
    }
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
