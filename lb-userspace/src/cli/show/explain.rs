//! `anylb explain`.

use comfy_table::Cell;

use super::super::output::{Style, number, optional, text};
use super::{admin, health};
use crate::status::{Explanation, FilterDecision, HopStatus, RememberedFlow};

/// The decision, then the hops in order.
pub(in super::super) fn table(explanation: &Explanation, style: Style) -> String {
    let mut pairs = vec![
        (
            "packet",
            format!("{} -> {}", explanation.source, explanation.destination),
        ),
        (
            "exit",
            format!("{} ({})", explanation.exit, explanation.action),
        ),
    ];
    pairs.extend(explanation.service.clone().map(|name| ("service", name)));
    pairs.extend(explanation.filter.as_ref().map(|by| ("list", list(by))));
    pairs.extend(explanation.row.map(|row| ("row", row.to_string())));
    pairs.extend(
        explanation
            .remembered
            .iter()
            .map(|one| ("flow", known(one))),
    );
    pairs.extend(
        explanation
            .interface
            .clone()
            .map(|name| ("interface", name)),
    );
    pairs.push(("because", explanation.because.clone()));
    let decision = style.pairs(&pairs);
    match explanation.hops.is_empty() {
        true => decision,
        false => format!("{decision}\n{}", hops(&explanation.hops, style)),
    }
}

/// `deny 192.0.2.0/24, /etc/anylb/drop.txt`.
fn list(by: &FilterDecision) -> String {
    let mut words = match by.prefix {
        Some(prefix) => format!("{} {prefix}", by.list),
        None => format!("{}, of which no prefix has the source", by.list),
    };
    if let Some(file) = &by.file {
        words += &format!(", {}", file.display());
    }
    words
}

/// `CPU 3 remembers it with 10.1.0.1 (b1), seen 2 s ago`.
fn known(flow: &RememberedFlow) -> String {
    let name = flow.name.as_ref().map(|name| format!(" ({name})"));
    format!(
        "CPU {} remembers it with {}{}, seen {} s ago",
        flow.cpu,
        flow.address,
        name.unwrap_or_default(),
        flow.silent_secs
    )
}

fn hops(hops: &[HopStatus], style: Style) -> String {
    let row = |(index, hop): (usize, &HopStatus)| {
        [
            Cell::new(index),
            Cell::new(hop.address),
            optional(hop.name.as_deref()),
            health(hop.health),
            admin(hop.admin),
        ]
    };
    style.table(
        [
            number("HOP"),
            text("BACKEND"),
            text("NAME"),
            text("HEALTH"),
            text("ADMIN"),
        ],
        hops.iter().enumerate().map(row).collect(),
    )
}
