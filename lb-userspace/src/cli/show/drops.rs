//! `anylb drops`.

use comfy_table::Cell;

use super::super::output::{Style, number, optional, plural, text};
use crate::status::{DropList, ExitCount};

/// Reasons that occurred, most packets first; wide: those that did not as well.
pub(in super::super) fn table(list: &DropList, style: Style) -> String {
    let mut shown: Vec<&ExitCount> = list
        .drops
        .iter()
        .filter(|drop| style.wide() || drop.packets > 0)
        .collect();
    if shown.is_empty() {
        let reasons = plural(list.drops.len(), "reason");
        return format!("no packet was dropped ({reasons} watched)\n");
    }
    shown.sort_by(|a, b| b.packets.cmp(&a.packets).then_with(|| a.name.cmp(&b.name)));
    let row = |drop: &&ExitCount| {
        [
            Cell::new(drop.packets),
            Cell::new(&drop.name),
            optional(drop.advice.as_deref()),
        ]
    };
    style.table(
        [number("PACKETS"), text("REASON"), text("WHAT TO DO")],
        shown.iter().map(row).collect(),
    )
}
