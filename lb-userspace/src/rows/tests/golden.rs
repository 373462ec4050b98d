//! The format cannot drift: digests and rows made with another implementation, written from the description in
//! [`super::super`] alone.

use lb_common::siphash::siphash_2_4;

use super::*;

/// Four kinds of weight, both families, one backend draining.
fn mixed() -> Input {
    let v6 = Member {
        address: "2001:db8::1".parse().expect("a literal"),
        ..ready(0, 7)
    };
    let other = Member {
        address: "192.0.2.9".parse().expect("a literal"),
        ..ready(0, 300)
    };
    input([
        ready(0, 100),
        ready(1, 100),
        ready(2, 50),
        draining(3, 1000),
        v6,
        other,
    ])
}

#[test]
fn digests() {
    let mut builder = Builder::new(&KEY);
    for (what, input, expected) in [
        ("one", equal(0..1), "467db97fcdb35dd0"),
        ("two", equal(0..2), "c792bdd7afa275b3"),
        ("mixed", mixed(), "0296408f565366b7"),
    ] {
        assert_eq!(plain(&mut builder, &input).hash(), expected, "{what}");
    }
}

#[test]
fn members_are_numbered_by_identity() {
    let table = plain(&mut Builder::new(&KEY), &mixed());
    let members = table
        .members
        .iter()
        .map(IpAddr::to_string)
        .collect::<Vec<_>>();
    assert_eq!(
        members,
        [
            "10.0.0.1",
            "10.0.0.2",
            "10.0.0.3",
            "10.0.0.4",
            "192.0.2.9",
            "2001:db8::1"
        ]
    );
    assert_eq!(table.first_hops(), [11_701, 11_819, 5_968, 0, 35_202, 846]);
}

#[test]
fn literal_rows() {
    let table = plain(&mut Builder::new(&KEY), &mixed());
    // The draining heavyweight ranks first in most rows and owns none.
    for (row, hops) in [
        (0, [4, 3, 0, 1]),
        (1, [4, 3, 0, 2]),
        (2, [4, 2, 3, 1]),
        (3, [0, 3, 4, 2]),
        (65_535, [4, 3, 1, 0]),
    ] {
        assert_eq!(table.rows[row], hops, "row {row}");
    }
}

/// Rules 6 and 7: previous owners, heirs, a backend that is down and owns most rows, one that is gone.
#[test]
fn a_whole_table_with_history_under_a_view() {
    let other = |weight| Member {
        address: "192.0.2.9".parse().expect("a literal"),
        ..ready(0, weight)
    };
    let newest = input([ready(1, 100), ready(6, 200), other(30)]);
    let oldest = input([ready(1, 100), draining(6, 200), ready(7, 10)]);
    let view = View::new([other(300).address], [backend(2)]);
    let table = Builder::new(&KEY).build(&mixed(), &[&newest, &oldest], &view, 4);
    assert_eq!(table.members[6..], [backend(6), backend(7)]);
    assert_eq!(table.first_hops(), [13_243, 51_344, 0, 0, 0, 949, 0, 0]);
    for (row, hops) in [
        (0, [1, 6, 7, 4]),
        (2, [1, 6, 3, 4]),
        (3, [0, 6, 7, 1]),
        (65_535, [1, 7, 3, 4]),
    ] {
        assert_eq!(table.rows[row], hops, "row {row}");
    }
    let bytes: Vec<u8> = table
        .rows
        .iter()
        .flatten()
        .flat_map(|m| m.to_le_bytes())
        .collect();
    assert_eq!(siphash_2_4([0; 16], &bytes), 0xcbea_7bb3_da5a_3daa);
}

#[test]
fn another_key_is_another_table() {
    let mut other = KEY;
    other.0[15] ^= 1;
    let (a, b) = (
        plain(&mut Builder::new(&KEY), &equal(0..2)),
        plain(&mut Builder::new(&other), &equal(0..2)),
    );
    assert_ne!(a.hash(), b.hash());
    let moved = a.moved(&b);
    assert!(moved.abs_diff(ROWS / 2) < 1000, "{moved}");
}
