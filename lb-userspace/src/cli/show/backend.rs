//! `anylb backend list`.

use comfy_table::Cell;

use super::super::output::{Style, number, optional, verdict};
use super::{admin, health};
use crate::status::{BackendList, PoolBackend};

/// One line per backend; what is wrong with it in its last column.
pub(in super::super) fn table(list: &BackendList, style: Style) -> String {
    if list.backends.is_empty() {
        return "this node has no backends\n".to_string();
    }
    let row = |entry: &PoolBackend| {
        let backend = &entry.backend;
        [
            Cell::new(&entry.pool),
            Cell::new(backend.address),
            optional(backend.name.as_deref()),
            number(backend.weight),
            admin(backend.admin),
            health(backend.health),
            number(format!("{:.2} %", backend.row_ratio * 100.0)),
            reason(entry),
        ]
    };
    style.table(
        [
            "POOL", "BACKEND", "NAME", "WEIGHT", "ADMIN", "HEALTH", "ROWS", "REASON",
        ],
        list.backends.iter().map(row).collect(),
    )
}

fn reason(entry: &PoolBackend) -> Cell {
    match (&entry.backend.reason, entry.backend.reachable) {
        (Some(reason), true) => Cell::new(reason),
        (Some(reason), false) => Cell::new(format!("{reason}; no next hop")),
        (None, true) => Cell::new("-"),
        (None, false) => verdict("no next hop", false),
    }
}
