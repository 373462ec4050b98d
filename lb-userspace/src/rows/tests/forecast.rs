//! What a change is said to do, before it is made, is what it does.

use proptest::prelude::*;

use super::super::{Basis, Change, Uncovered};
use super::changes::pools;
use super::*;

fn basis<'a>(input: &'a Input, previous: &'a [&'a Input], hops: u8) -> Basis<'a> {
    Basis {
        input,
        previous,
        hops,
    }
}

/// From one input, which nothing came before, to another.
fn forecast(before: &Input, after: &Input, hops: u8) -> Change {
    Builder::new(&KEY).change(basis(before, &[], hops), basis(after, &[before], hops))
}

#[test]
fn with_four_hops_no_great_change_breaks_a_flow() {
    let light = input((0..10).map(|n| ready(n, if n == 0 { 1 } else { 100 })));
    for (about, after, moved) in [
        ("ten become forty", equal(0..40), 45_000..52_000),
        ("one of ten leaves", equal(1..10), 6_500..6_900),
        ("a weight falls from 100 to 1", light, 5_500..7_000),
        ("all are others", equal(20..30), ROWS..ROWS + 1),
        ("nothing", equal(0..10), 0..1),
    ] {
        let change = forecast(&equal(0..10), &after, 4);
        assert!(moved.contains(&change.moved), "{about}: {}", change.moved);
        assert_eq!(change.flows, [Uncovered::default()], "{about}");
        let control = forecast(&equal(0..10), &after, 1);
        let uncovered = Uncovered {
            after: change.moved,
            newly: change.moved,
        };
        assert_eq!(control.flows, [uncovered], "{about}: one hop keeps nothing");
    }
}

#[test]
fn what_was_not_covered_before_is_not_broken_now() {
    // Rows look at eight previous inputs: of the ninth, whose backends are all others, nobody is left.
    let inputs: Vec<Input> = (0..10).map(|n| equal(10 * n..10 * n + 3)).collect();
    let newest_first: Vec<&Input> = inputs.iter().rev().collect();
    let now = basis(newest_first[0], &newest_first[1..], 4);
    let next = equal(100..103);
    let mut builder = Builder::new(&KEY);
    let change = builder.change(now, basis(&next, &newest_first, 4));
    assert_eq!(change.flows.len(), 10);
    assert_eq!(change.flows[0], Uncovered::default());
    let oldest = change.flows[9];
    assert_eq!(
        oldest,
        Uncovered {
            after: ROWS,
            newly: 0
        }
    );
    let fourth = change.flows[3];
    assert_eq!(fourth.newly, ROWS, "the fifth owner has no room in a row");
    assert_eq!(
        change.worst(),
        Uncovered {
            after: ROWS,
            newly: ROWS
        }
    );
}

#[test]
fn a_service_that_goes_to_another_pool_takes_its_flows_along() {
    let (here, there) = (equal(0..10), equal(5..15));
    let mut builder = Builder::new(&KEY);
    let to = |builder: &mut Builder, there| {
        let change = builder.change(basis(&here, &[], 4), basis(there, &[], 4));
        change.worst().newly
    };
    assert_eq!(
        to(&mut builder, &here),
        0,
        "a pool that has but another name"
    );
    let lost = to(&mut builder, &there);
    assert!(
        (ROWS / 2..ROWS).contains(&lost),
        "half of the backends are not there: {lost}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2))]

    #[test]
    fn the_forecast_is_what_tables_say(steps in prop::collection::vec(pools(), 3), hops in 1..=4_u8) {
        let inputs: Vec<Input> = steps.into_iter().map(input).collect();
        let [oldest, current, next] = inputs.as_slice() else { unreachable!("three steps") };
        let mut used = Builder::new(&KEY);
        used.build(current, &[oldest], &down(0..2), hops);
        let first = [oldest];
        let before = basis(current, &first, hops);
        let previous = [current, oldest];
        let change = used.change(before, basis(next, &previous, hops));
        prop_assert_eq!(&change, &Builder::new(&KEY).change(before, basis(next, &previous, hops)));

        let table = |of: &Input, previous: &[&Input]| Builder::new(&KEY).build(of, previous, &View::default(), hops);
        let (old, new) = (table(current, &[oldest]), table(next, &previous));
        let hop_of = |table: &Table, row, backend| table.hops(row).any(|hop| Some(hop) == backend);
        prop_assert_eq!(change.moved, (0..ROWS).filter(|&row| old.owner(row) != new.owner(row)).count());
        for (past, found) in [current, oldest].into_iter().zip(&change.flows) {
            let born = table(past, &[]);
            let lost = |row: &usize| !hop_of(&new, *row, born.owner(*row));
            prop_assert_eq!(found.after, (0..ROWS).filter(lost).count());
            let newly = |row: &usize| hop_of(&old, *row, born.owner(*row));
            prop_assert_eq!(found.newly, (0..ROWS).filter(lost).filter(newly).count());
        }
        // What is only asked leaves the next table as it would have been.
        let after = used.build(current, &[oldest], &down(0..2), hops);
        prop_assert!(after == Builder::new(&KEY).build(current, &[oldest], &down(0..2), hops));
    }
}
