//! Builds tables, and keeps what the next build of the same pool can use again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::hops::Chooser;
use super::input::identity;
use super::keys::Keys;
use super::owner::Owners;
use super::rank::Ranking;
use super::{ABSENT, HOPS_MAX, Input, PREVIOUS_MAX, ROWS, Table, View};
use crate::model::HashKey;

/// The table of one pool; see [`Builder::build`], which does the same and is faster from the second time on.
pub fn build(current: &Input, previous: &[&Input], view: &View, key: &HashKey, hops: u8) -> Table {
    Builder::new(key).build(current, previous, view, hops)
}

/// Builds the tables of one pool. What it keeps (ranks, 1 MiB, and owners, 128 KiB per input, or twice that of
/// more than 255 backends) is a cache: a table never
/// depends on what was built before.
pub struct Builder {
    keys: Keys,
    walk: Vec<u16>,
    ranking: Ranking,
    owners: Vec<(Input, Arc<Owners>)>,
}

impl Builder {
    /// Empty, for tables under this key.
    pub fn new(key: &HashKey) -> Self {
        let keys = Keys::new(key);
        Self {
            keys,
            walk: keys.walk(),
            ranking: Ranking::default(),
            owners: Vec::new(),
        }
    }

    /// The table of `current` with owners under `previous` inputs as alternates and first hops as `view` has them.
    ///
    /// `previous` is newest first; the first [`PREVIOUS_MAX`] that differ from `current` and from each other count. `hops`
    /// is held to 1..=4. An empty input has rows without hops.
    pub fn build(&mut self, current: &Input, previous: &[&Input], view: &View, hops: u8) -> Table {
        let previous = distinct(current, previous);
        self.owners
            .retain(|(input, _)| input == current || previous.contains(&input));
        // Oldest first, so that each ranking is near the one before it and the last is that of `current`.
        let past_owners: Vec<Arc<Owners>> = previous
            .iter()
            .rev()
            .map(|input| self.owners(input))
            .collect();
        let owners = self.owners(current);
        self.ranking.update(&self.keys, current.members());

        let members = union(current, &previous);
        let numbers: BTreeMap<IpAddr, u16> = members.iter().copied().zip(0..).collect();
        let past = previous
            .iter()
            .rev()
            .zip(past_owners)
            .map(|(input, owners)| Past {
                numbers: input
                    .members()
                    .iter()
                    .map(|m| numbers[&m.address])
                    .collect(),
                owners,
            });
        let past: Vec<Past> = past.rev().collect();
        let chooser = Chooser::new(current, &members, &self.ranking, &owners, view, hops);
        let rows = self.rows(chooser, &owners, &past);
        Table::new(&self.keys, current, members, rows, owners)
    }

    /// Rows whose owner under `past` is not among the hops of `table`: what would break of the flows that began under
    /// `past` if `table` came now.
    pub fn uncovered(&mut self, table: &Table, past: &Input) -> usize {
        let owners = self.owners(past);
        let missing = table.missing(past, &owners).into_iter();
        missing.filter(|missing| *missing).count()
    }

    /// Owners under an input, not kept for later unless they are already.
    pub(super) fn owners_of(&mut self, input: &Input) -> Arc<Owners> {
        let kept = self.owners.len();
        let owners = self.owners(input);
        self.owners.truncate(kept);
        owners
    }

    fn rows(
        &self,
        mut chooser: Chooser<'_>,
        owners: &Owners,
        past: &[Past],
    ) -> Vec<[u16; HOPS_MAX]> {
        let mut rows = vec![[ABSENT; HOPS_MAX]; ROWS];
        for row in self.walk.iter().copied().map(u32::from) {
            let owner = owners.owner.at(row);
            if owner != ABSENT {
                let previous = past.iter().map(|past| past.row(row));
                rows[row as usize] = chooser.row(row, owner, previous);
            }
        }
        rows
    }

    /// Owners under an input, health apart.
    fn owners(&mut self, input: &Input) -> Arc<Owners> {
        if let Some((_, owners)) = self.owners.iter().find(|(known, _)| known == input) {
            return owners.clone();
        }
        self.ranking.update(&self.keys, input.members());
        let owners = Arc::new(Owners::new(input, &self.ranking, &self.walk));
        self.owners.push((input.clone(), owners.clone()));
        owners
    }
}

/// Owners under a previous input, and the number in the table of each of its members.
struct Past {
    owners: Arc<Owners>,
    numbers: Vec<u16>,
}

impl Past {
    /// Owner and heir of a row as numbers in the table.
    fn row(&self, row: u32) -> (Option<u16>, Option<u16>) {
        let number = |m: u16| self.numbers.get(usize::from(m)).copied();
        (
            number(self.owners.owner.at(row)),
            number(self.owners.heir.at(row)),
        )
    }
}

/// Previous inputs that count.
fn distinct<'a>(current: &Input, previous: &[&'a Input]) -> Vec<&'a Input> {
    let mut distinct = Vec::new();
    for &input in previous {
        if input != current && !distinct.contains(&input) && distinct.len() < PREVIOUS_MAX {
            distinct.push(input);
        }
    }
    distinct
}

/// Members of `current`, then those that only `previous` inputs have; each part in ascending order of identity.
fn union(current: &Input, previous: &[&Input]) -> Vec<IpAddr> {
    let addresses = |input: &Input| {
        input
            .members()
            .iter()
            .map(|m| (identity(m.address), m.address))
            .collect::<Vec<_>>()
    };
    let current = addresses(current);
    let mut removed: Vec<_> = previous.iter().flat_map(|input| addresses(input)).collect();
    removed.retain(|address| current.binary_search(address).is_err());
    removed.sort_unstable();
    removed.dedup();
    current
        .into_iter()
        .chain(removed)
        .map(|(_, address)| address)
        .collect()
}
