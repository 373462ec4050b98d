//! Whole tables: their bytes, their balance, and what changes do to live flows.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use super::{Builder, Input, Member, ROWS, Table, View};
use crate::model::{AdminState, HashKey};

mod changes;
mod forecast;
mod golden;
mod health;

const KEY: HashKey = HashKey([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

/// Address of the n-th backend.
fn backend(n: u32) -> IpAddr {
    IpAddr::from(Ipv4Addr::from(0x0a00_0001 + n))
}

fn ready(n: u32, weight: u16) -> Member {
    Member {
        address: backend(n),
        weight,
        admin: AdminState::Ready,
    }
}

fn draining(n: u32, weight: u16) -> Member {
    Member {
        admin: AdminState::Draining,
        ..ready(n, weight)
    }
}

fn input(members: impl IntoIterator<Item = Member>) -> Input {
    Input::new(members).expect("a small pool")
}

/// Backends of equal weight.
fn equal(backends: Range<u32>) -> Input {
    input(backends.map(|n| ready(n, 100)))
}

fn down(backends: Range<u32>) -> View {
    View::new(backends.map(backend), [])
}

/// A table without history or opinions.
fn plain(builder: &mut Builder, input: &Input) -> Table {
    builder.build(input, &[], &View::default(), 4)
}

/// Rows that a backend gets the first packet of.
fn rows_of(table: &Table, backend: IpAddr) -> usize {
    (0..ROWS)
        .filter(|&row| table.hops(row).next() == Some(backend))
        .count()
}
