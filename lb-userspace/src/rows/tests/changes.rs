//! Balance, and what a change of the input does to the rows.

use proptest::prelude::*;

use super::super::ABSENT;
use super::*;

#[test]
fn loads_at_one_hundred() {
    let loads = plain(&mut Builder::new(&KEY), &equal(0..100)).first_hops();
    let share = ROWS as f64 / 100.0;
    assert!(
        loads.iter().all(|&load| load <= 689),
        "cap: ceil(1.05 * 655.36)"
    );
    assert!(
        loads.iter().all(|&load| load as f64 >= 0.85 * share),
        "{loads:?}"
    );
}

#[test]
fn one_of_a_hundred_removed_and_added() {
    let mut builder = Builder::new(&KEY);
    let all = equal(0..100);
    let before = plain(&mut builder, &all);
    for gone in [0, 37, 99] {
        let less = input((0..100).filter(|&n| n != gone).map(|n| ready(n, 100)));
        let after = builder.build(&less, &[&all], &View::default(), 4);
        let collateral = before.moved(&after) - rows_of(&before, backend(gone));
        assert!(
            collateral as f64 <= 0.0005 * ROWS as f64,
            "{gone}: {collateral} rows of others moved"
        );
        assert_eq!(after.uncovered(&before), 0, "{gone} removed");
        let back = builder.build(&all, &[&less], &View::default(), 4);
        assert_eq!(back.uncovered(&after), 0, "{gone} added");
    }
}

#[test]
fn great_changes_leave_no_row_uncovered() {
    let light = input((0..10).map(|n| ready(n, if n == 0 { 1 } else { 100 })));
    let drained = input(
        (0..10)
            .map(|n| draining(n, 100))
            .chain((10..20).map(|n| ready(n, 100))),
    );
    for (what, before, after) in [
        ("ten backends become forty", equal(0..10), equal(0..40)),
        ("a weight falls from 100 to 1", equal(0..10), light),
        ("ten drain while ten come", equal(0..10), drained),
        (
            "ten are removed while ten come",
            equal(0..10),
            equal(10..20),
        ),
    ] {
        let mut builder = Builder::new(&KEY);
        let born = plain(&mut builder, &before);
        assert!(
            plain(&mut builder, &after).uncovered(&born) > 1000,
            "{what}: the control must lose rows"
        );
        let there = builder.build(&after, &[&before], &View::default(), 4);
        assert_eq!(there.uncovered(&born), 0, "{what}");
        let born = plain(&mut builder, &after);
        let back = builder.build(&before, &[&after], &View::default(), 4);
        assert_eq!(back.uncovered(&born), 0, "{what}, and back");
    }
}

#[test]
fn changes_in_quick_succession_push_nothing_out() {
    let mut builder = Builder::new(&KEY);
    let inputs: Vec<Input> = (0..4).map(|removed| equal(removed..12)).collect();
    let newest_first = [&inputs[2], &inputs[1], &inputs[0]];
    let table = builder.build(&inputs[3], &newest_first, &View::default(), 4);
    for past in newest_first {
        assert_eq!(
            builder.uncovered(&table, past),
            0,
            "{} backends",
            past.members().len()
        );
    }
    let forgetful = builder.build(&inputs[3], &newest_first[..2], &View::default(), 4);
    assert!(
        builder.uncovered(&forgetful, &inputs[0]) > 1000,
        "the control must lose rows"
    );
}

#[test]
fn removed_backends_drain_and_then_leave() {
    let mut builder = Builder::new(&KEY);
    let (all, less) = (equal(0..5), equal(1..5));
    let draining = builder.build(&less, &[&all], &View::default(), 4);
    assert_eq!(draining.members.last(), Some(&backend(0)));
    assert_eq!(draining.first_hops()[4], 0);
    assert_eq!(draining.uncovered(&plain(&mut builder, &all)), 0);
    let later = plain(&mut builder, &less);
    assert_eq!(later.members.len(), 4);
    assert_eq!(
        later.hash(),
        draining.hash(),
        "history has no part in the digest"
    );
}

#[test]
fn draining_backends_own_nothing_unless_all_drain() {
    let mut builder = Builder::new(&KEY);
    let two = plain(
        &mut builder,
        &input([draining(0, 100), ready(1, 100), ready(2, 100)]),
    );
    assert_eq!(two.first_hops()[0], 0);
    assert!((0..ROWS).all(|row| two.hops(row).count() == 3));
    let all = plain(&mut builder, &input((0..3).map(|n| draining(n, 100))));
    assert_eq!(all.rows, plain(&mut builder, &equal(0..3)).rows);
}

#[test]
fn rows_have_as_many_distinct_hops_as_there_can_be() {
    let mut builder = Builder::new(&KEY);
    for backends in [1, 2, 3, 6] {
        for hops in 1..=4 {
            let table = builder.build(&equal(0..backends), &[], &View::default(), hops);
            let expected = usize::from(hops).min(backends as usize);
            for row in 0..ROWS {
                let (hops, rest) = table.rows[row].split_at(expected);
                let distinct = (1..expected).all(|i| !hops[..i].contains(&hops[i]));
                assert!(distinct && !hops.contains(&ABSENT), "{hops:?}");
                assert!(rest.iter().all(|&hop| hop == ABSENT), "{rest:?}");
            }
        }
    }
}

#[test]
fn an_empty_input_has_rows_without_hops() {
    let table = Builder::new(&KEY).build(&Input::default(), &[&equal(0..2)], &down(0..1), 4);
    assert!(table.members.is_empty());
    assert!(table.rows.iter().all(|row| *row == [ABSENT; 4]));
}

/// A small pool in no order, some of it draining.
pub(super) fn pools() -> impl Strategy<Value = Vec<Member>> {
    let member = (
        0..14_u32,
        prop_oneof![Just(100), 1..=1000_u16],
        prop::bool::weighted(0.2),
    );
    let member = member.prop_map(|(n, weight, drains)| {
        if drains {
            draining(n, weight)
        } else {
            ready(n, weight)
        }
    });
    prop::collection::vec(member, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5))]

    #[test]
    fn loads_keep_to_their_caps(members in pools()) {
        let input = input(members);
        let loads = plain(&mut Builder::new(&KEY), &input).first_hops();
        let any_ready = input.members().iter().any(|m| m.admin == AdminState::Ready);
        let weight = |m: &Member| if any_ready && m.admin == AdminState::Draining { 0 } else { u64::from(m.weight) };
        let sum: u64 = input.members().iter().map(weight).sum();
        for (member, &load) in input.members().iter().zip(&loads) {
            let cap = (weight(member) * ROWS as u64 * 105).div_ceil(sum * 100);
            prop_assert!(load as u64 <= cap, "{member:?} has {load} rows, cap {cap}");
        }
        prop_assert_eq!(loads.iter().sum::<usize>(), ROWS);
    }

    #[test]
    fn a_table_depends_on_nothing_built_before(pools in prop::collection::vec(pools(), 2)) {
        let inputs: Vec<Input> = pools.iter().cloned().map(input).collect();
        let reversed = input(pools[1].iter().rev().copied());
        prop_assert_eq!(&reversed.members().iter().map(|m| m.address).collect::<Vec<_>>(),
            &inputs[1].members().iter().map(|m| m.address).collect::<Vec<_>>());
        let mut used = Builder::new(&KEY);
        for (i, current) in inputs.iter().enumerate() {
            let previous: Vec<&Input> = inputs[..i].iter().rev().collect();
            let table = used.build(current, &previous, &down(0..2), 4);
            let fresh = Builder::new(&KEY).build(current, &previous, &down(0..2), 4);
            prop_assert!(table == fresh, "table {i}");
        }
    }

    #[test]
    fn one_change_leaves_no_row_uncovered(before in pools(), after in pools()) {
        let (before, after) = (input(before), input(after));
        let mut builder = Builder::new(&KEY);
        let born = plain(&mut builder, &before);
        let table = builder.build(&after, &[&before], &View::default(), 4);
        prop_assert_eq!(table.uncovered(&born), 0);
        prop_assert_eq!(builder.uncovered(&table, &before), 0);
    }
}
