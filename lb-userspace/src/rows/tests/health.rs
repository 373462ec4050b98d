//! What verdicts do to rows, and two nodes that disagree.

use std::collections::BTreeSet;

use super::super::ABSENT;
use super::*;

fn hop_set(table: &Table, row: usize) -> BTreeSet<IpAddr> {
    table.hops(row).collect()
}

#[test]
fn one_verdict_moves_the_rows_of_that_backend_and_permutes_their_hops() {
    for backends in [2, 5, 10, 100] {
        let mut builder = Builder::new(&KEY);
        let pool = equal(0..backends);
        let up = plain(&mut builder, &pool);
        let down = builder.build(&pool, &[], &down(1..2), 4);
        assert_eq!(
            up.uncovered(&down),
            0,
            "{backends}: born where it is down, met where it is up"
        );
        assert_eq!(
            down.uncovered(&up),
            0,
            "{backends}: born where it is up, met where it is down"
        );
        assert_eq!(up.moved(&down), rows_of(&up, backend(1)), "{backends}");
        assert_eq!(up.hash(), down.hash(), "{backends}");
        // One set of members, so one numbering.
        for (mut up, mut down) in up.rows.iter().copied().zip(down.rows.iter().copied()) {
            assert!(
                !down.contains(&1) || is_last(&down, 1),
                "{backends}: {down:?}"
            );
            up.sort_unstable();
            down.sort_unstable();
            assert_eq!(up, down, "{backends}");
        }
    }
}

/// Whether a backend is the last hop of a row.
fn is_last(row: &[u16], backend: u16) -> bool {
    row.iter().rfind(|&&hop| hop != ABSENT) == Some(&backend)
}

#[test]
fn nodes_that_disagree_about_two_each_cover_each_other() {
    let mut builder = Builder::new(&KEY);
    let (pool, before) = (equal(0..10), equal(0..9));
    let here = builder.build(&pool, &[&before], &down(0..2), 4);
    let there = builder.build(&pool, &[&before], &down(1..3), 4);
    assert!(here.moved(&there) > 1000);
    assert_eq!((here.uncovered(&there), there.uncovered(&here)), (0, 0));
}

#[test]
fn with_one_hop_a_disagreement_costs_the_rows_of_the_backend() {
    let mut builder = Builder::new(&KEY);
    let up = builder.build(&equal(0..10), &[], &View::default(), 1);
    let down = builder.build(&equal(0..10), &[], &down(1..2), 1);
    assert_eq!(down.uncovered(&up), rows_of(&up, backend(1)));
}

#[test]
fn rows_of_a_dead_backend_spread_within_the_caps_of_those_up() {
    let mut builder = Builder::new(&KEY);
    for dead in [1, 3, 6] {
        let loads = builder
            .build(&equal(0..12), &[], &down(0..dead), 4)
            .first_hops();
        let cap = (ROWS * 105).div_ceil(100 * (12 - dead as usize));
        assert!(loads[..dead as usize].iter().all(|&load| load == 0));
        assert!(
            loads.iter().all(|&load| load <= cap),
            "{dead} dead, cap {cap}: {loads:?}"
        );
    }
}

#[test]
fn flows_of_a_long_dead_backend_survive_a_great_change() {
    let mut builder = Builder::new(&KEY);
    let (before, after) = (equal(0..10), equal(0..40));
    let born = builder.build(&before, &[], &down(1..2), 4);
    for view in [down(1..2), View::default()] {
        let table = builder.build(&after, &[&before], &view, 4);
        assert_eq!(table.uncovered(&born), 0, "{view:?}");
    }
}

#[test]
fn when_nothing_is_up_owners_keep_their_rows() {
    let mut builder = Builder::new(&KEY);
    let pool = equal(0..6);
    let up = plain(&mut builder, &pool);
    let all_down = builder.build(&pool, &[], &down(0..6), 4);
    assert_eq!(up.moved(&all_down), 0);
    let all_gone = builder.build(&pool, &[], &View::new([], (0..6).map(backend)), 4);
    assert_eq!(up.moved(&all_gone), 0);
    assert!((0..ROWS).all(|row| all_gone.hops(row).count() == 1));
}

#[test]
fn draining_backends_help_out_when_the_active_ones_are_down() {
    let pool = input([draining(0, 100), ready(1, 100), ready(2, 100)]);
    let table = Builder::new(&KEY).build(&pool, &[], &down(1..3), 4);
    assert_eq!(table.first_hops(), [ROWS, 0, 0]);
}

#[test]
fn only_backends_that_are_gone_leave_the_hops() {
    let mut builder = Builder::new(&KEY);
    let (pool, before) = (equal(0..20), equal(10..30));
    let gone = View::new([backend(3)], [5, 25].map(backend));
    let table = builder.build(&pool, &[&before], &gone, 4);
    assert!(!table.members.contains(&backend(25)));
    for row in 0..ROWS {
        let hops = hop_set(&table, row);
        assert_eq!(hops.len(), 4, "row {row}");
        assert!(
            !hops.contains(&backend(5)) && !hops.contains(&backend(25)),
            "row {row}"
        );
    }
    assert!((0..ROWS).any(|row| hop_set(&table, row).contains(&backend(3))));
    assert!(
        table.members.contains(&backend(5)),
        "members of the input keep their number"
    );
}

#[test]
fn rows_whose_first_eight_are_gone_find_deeper_ranks() {
    let mut builder = Builder::new(&KEY);
    let table = builder.build(&equal(0..20), &[], &View::new([], (0..16).map(backend)), 4);
    let rest: BTreeSet<IpAddr> = (16..20).map(backend).collect();
    assert!((0..ROWS).all(|row| hop_set(&table, row) == rest));
}
