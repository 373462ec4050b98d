//! What a change of a pool does to the flows that live in its rows, before it is made.

use std::sync::Arc;

use super::owner::Owners;
use super::{Builder, Input, ROWS, Table, View};

/// What a table follows from, health apart. A verdict takes no reachable backend out of a row, so that what is said here is
/// the same on every node, whatever its opinions.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// In force.
    pub input: &'a Input,
    /// Before it, newest first: all that are remembered.
    pub previous: &'a [&'a Input],
    /// Most hops of a row.
    pub hops: u8,
}

/// What happens to the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Rows that get another owner.
    pub moved: usize,
    /// What would break of the flows that began under each input: the one in force, then those before it, newest first.
    pub flows: Vec<Uncovered>,
}

/// Rows whose owner under one input is not among their hops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uncovered {
    /// After the change.
    pub after: usize,
    /// Of these, rows in which it still is before the change: flows that the change breaks.
    pub newly: usize,
}

impl Change {
    /// The worst of all inputs. Flows under different inputs are different flows, and most began under one.
    pub fn worst(&self) -> Uncovered {
        let most = |count: fn(&Uncovered) -> usize| self.flows.iter().map(count).max();
        Uncovered {
            after: most(|flows| flows.after).unwrap_or(0),
            newly: most(|flows| flows.newly).unwrap_or(0),
        }
    }
}

impl Builder {
    /// Compares the tables of `before` and `after`. They may be of two pools: a service that goes from one to the other takes
    /// its flows along, row by row.
    pub fn change(&mut self, before: Basis<'_>, after: Basis<'_>) -> Change {
        let table = |builder: &mut Self, basis: Basis<'_>| {
            builder.build(basis.input, basis.previous, &View::default(), basis.hops)
        };
        let old = table(self, before);
        let new = table(self, after);
        let pasts = std::iter::once(&before.input).chain(before.previous);
        let pasts: Vec<&Input> = pasts.copied().collect();
        // From few members to many: one that comes costs a ranking less than one that goes.
        let mut order: Vec<usize> = (0..pasts.len()).collect();
        order.sort_by_key(|&n| pasts[n].members().len());
        let mut flows = vec![Uncovered::default(); pasts.len()];
        for n in order {
            let owners = self.owners_of(pasts[n]);
            flows[n] = uncovered(&old, &new, pasts[n], &owners);
        }
        Change {
            moved: new.owned_by_another(&old),
            flows,
        }
    }
}

fn uncovered(old: &Table, new: &Table, past: &Input, owners: &Arc<Owners>) -> Uncovered {
    let (old, new) = (old.missing(past, owners), new.missing(past, owners));
    let rows = || old.iter().zip(&new);
    Uncovered {
        after: rows().filter(|(_, after)| **after).count(),
        newly: rows()
            .filter(|(before, after)| **after && !**before)
            .count(),
    }
}

impl Table {
    /// Rows whose owner is another one in `other`, health apart.
    fn owned_by_another(&self, other: &Self) -> usize {
        (0..ROWS)
            .filter(|&row| self.owner(row) != other.owner(row))
            .count()
    }
}
