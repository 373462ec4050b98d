//! `anylb bpf`.

use comfy_table::Cell;

use super::super::output::{Style, number, plural, span, text};
use crate::status::{BpfMap, BpfProgram, BpfState, Verification};

/// One line per map, all tables of rows in one; wide: each table, and sizes.
pub(in super::super) fn maps(state: &BpfState, style: Style) -> String {
    if style.wide() {
        return wide(&state.maps, style);
    }
    let (tables, others): (Vec<&BpfMap>, Vec<&BpfMap>) = state.maps.iter().partition(is_table);
    let mut rows: Vec<_> = others
        .iter()
        .map(|map| cells(&map.name, map, map.memory_bytes))
        .collect();
    if let Some(first) = tables.first() {
        let name = plural(tables.len(), "table");
        let memory = tables.iter().map(|table| table.memory_bytes).sum();
        rows.push(cells(&name, first, memory));
    }
    let head = [
        text("MAP"),
        text("TYPE"),
        number("ENTRIES"),
        number("MEMORY"),
    ];
    let total = state.maps.iter().filter_map(|map| map.memory_bytes).sum();
    format!("{}\n{} in all\n", style.table(head, rows), bytes(total))
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape of a predicate"
)]
fn is_table(map: &&BpfMap) -> bool {
    map.name.starts_with("table ")
}

fn cells(name: &str, map: &BpfMap, memory: Option<u64>) -> [Cell; 4] {
    [
        Cell::new(name),
        Cell::new(&map.kind),
        Cell::new(map.entries),
        Cell::new(memory.map_or_else(|| "-".to_string(), bytes)),
    ]
}

fn wide(maps: &[BpfMap], style: Style) -> String {
    let row = |map: &BpfMap| {
        let [name, kind, entries, memory] = cells(&map.name, map, map.memory_bytes);
        let (key, value) = (Cell::new(map.key_bytes), Cell::new(map.value_bytes));
        [name, Cell::new(map.id), kind, key, value, entries, memory]
    };
    style.table(
        [
            text("MAP"),
            number("ID"),
            text("TYPE"),
            number("KEY"),
            number("VALUE"),
            number("ENTRIES"),
            number("MEMORY"),
        ],
        maps.iter().map(row).collect(),
    )
}

/// One line per program.
pub(in super::super) fn programs(state: &BpfState, now_secs: u64, style: Style) -> String {
    let row = |program: &BpfProgram| {
        let age = program
            .loaded_time_secs
            .map(|then| span(now_secs.saturating_sub(then)));
        let average = match (program.run_time_ns, program.runs) {
            (Some(ns), Some(runs @ 1..)) => format!("{} ns", ns / runs),
            _ => "-".to_string(),
        };
        [
            Cell::new(&program.name),
            Cell::new(&program.kind),
            Cell::new(program.id),
            Cell::new(&program.tag),
            Cell::new(age.unwrap_or_else(|| "-".to_string())),
            Cell::new(
                program
                    .runs
                    .map_or_else(|| "-".to_string(), |runs| runs.to_string()),
            ),
            Cell::new(average),
        ]
    };
    let table = style.table(
        [
            text("PROGRAM"),
            text("TYPE"),
            number("ID"),
            text("TAG"),
            number("LOADED"),
            number("RUNS"),
            number("EACH"),
        ],
        state.programs.iter().map(row).collect(),
    );
    match state.stats_enabled {
        true => table,
        false => format!(
            "{table}\nruns are not counted: `sysctl kernel.bpf_stats_enabled=1` begins it, for some ns a packet\n"
        ),
    }
}

/// What was compared, or what differs.
pub(in super::super) fn verification(verification: &Verification) -> String {
    let compared = &verification.compared;
    let what = format!(
        "addresses {}, service ports {}, backends {}, tables {}, probes {}",
        compared.addresses, compared.services, compared.backends, compared.tables, compared.probes
    );
    if verification.differences.is_empty() {
        return format!("the kernel holds what it should ({what})\n");
    }
    let count = plural(verification.differences.len(), "difference");
    let lines = verification.differences.iter();
    let lines: String = lines
        .map(|one| format!("! {}: {}\n", one.subject, one.difference))
        .collect();
    format!("{count} ({what})\n\n{lines}")
}

/// `4.0 KiB`, `6.5 MiB`.
fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 2] = [(1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.into_iter().find(|(size, _)| count >= *size);
    match unit {
        Some((size, name)) => format!("{:.1} {name}", count as f64 / size as f64),
        None => format!("{count} B"),
    }
}
