//! A table of rows and what can be said of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::flow::FLOW_HASH_VERSION;

use super::input::identity;
use super::keys::Keys;
use super::owner::Owners;
use super::{ABSENT, HOPS_MAX, Input, ROWS, VERSION};

/// Rows of one pool under one view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Backends by their number in `rows`: members of the input in ascending order of identity, then, likewise, those of
    /// previous inputs that some row still names. Addresses are canonical.
    pub members: Vec<IpAddr>,
    /// [`ROWS`] lists of distinct numbers, `ABSENT` after the last hop.
    pub rows: Arc<[[u16; HOPS_MAX]]>,
    /// Owner of each row, health apart.
    owners: Arc<Owners>,
    digest: u64,
}

impl Table {
    /// Drops members without a row, unless they are members of `input`.
    pub(super) fn new(
        keys: &Keys,
        input: &Input,
        mut members: Vec<IpAddr>,
        mut rows: Vec<[u16; HOPS_MAX]>,
        owners: Arc<Owners>,
    ) -> Self {
        let listed = input.members().len();
        compact(&mut members, &mut rows, listed);
        let digest = keys.digest(&digest_bytes(&members[..listed], owners.owner.iter()));
        Self {
            members,
            rows: rows.into(),
            owners,
            digest,
        }
    }

    /// Digest of key, versions, the input's backends and their rows, as 16 hexadecimal digits. It covers neither health nor
    /// previous inputs, so nodes with one configuration have one digest.
    pub fn hash(&self) -> String {
        format!("{:016x}", self.digest)
    }

    /// The backend that owns a row, health apart; none in the table of an empty input.
    pub fn owner(&self, row: usize) -> Option<IpAddr> {
        self.member(self.owners.owner.at(row as u32))
    }

    /// The backends of a row in order.
    pub fn hops(&self, row: usize) -> impl Iterator<Item = IpAddr> {
        self.rows[row].into_iter().map_while(|m| self.member(m))
    }

    /// Rows in which each member is the first hop, in the order of `members`.
    pub fn first_hops(&self) -> Vec<usize> {
        let mut counts = vec![0; self.members.len()];
        for [first, ..] in self.rows.iter() {
            if let Some(count) = counts.get_mut(usize::from(*first)) {
                *count += 1;
            }
        }
        counts
    }

    /// Rows whose first hop is another one in `other`.
    pub fn moved(&self, other: &Self) -> usize {
        let here = numbers_of(&other.members, &self.members);
        let differs = |(mine, theirs): &(&[u16; HOPS_MAX], &[u16; HOPS_MAX])| {
            mine[0] != translate(&here, theirs[0])
        };
        self.rows
            .iter()
            .zip(other.rows.iter())
            .filter(differs)
            .count()
    }

    /// Rows whose first hop in `other` is not among the hops here: what would break of the flows that began in `other`
    /// if they met this table now.
    pub fn uncovered(&self, other: &Self) -> usize {
        self.uncovered_by(&other.members, other.rows.iter().map(|row| row[0]))
    }

    /// For each row whether its owner under an input is not among its hops.
    pub(super) fn missing(&self, input: &Input, owners: &Owners) -> Vec<bool> {
        let members: Vec<IpAddr> = input.members().iter().map(|m| m.address).collect();
        self.missing_of(&members, owners.owner.iter()).collect()
    }

    fn uncovered_by(&self, members: &[IpAddr], backends: impl Iterator<Item = u16>) -> usize {
        let missing = self.missing_of(members, backends);
        missing.filter(|missing| *missing).count()
    }

    fn missing_of(
        &self,
        members: &[IpAddr],
        backends: impl Iterator<Item = u16>,
    ) -> impl Iterator<Item = bool> {
        let here = numbers_of(members, &self.members);
        self.rows.iter().zip(backends).map(move |(row, backend)| {
            let number = translate(&here, backend);
            backend != ABSENT && (number == ABSENT || !row.contains(&number))
        })
    }

    fn member(&self, m: u16) -> Option<IpAddr> {
        self.members.get(usize::from(m)).copied()
    }
}

/// For each of `from` its number in `to`, or `ABSENT`.
fn numbers_of(from: &[IpAddr], to: &[IpAddr]) -> Vec<u16> {
    let numbers: BTreeMap<IpAddr, u16> = to.iter().copied().zip(0..).collect();
    from.iter()
        .map(|address| numbers.get(address).copied().unwrap_or(ABSENT))
        .collect()
}

fn translate(numbers: &[u16], m: u16) -> u16 {
    numbers.get(usize::from(m)).copied().unwrap_or(ABSENT)
}

/// Removes the members from `listed` on that no row names, and renumbers the rest.
fn compact(members: &mut Vec<IpAddr>, rows: &mut [[u16; HOPS_MAX]], listed: usize) {
    let mut named = vec![false; members.len()];
    named[..listed].fill(true);
    for m in rows.iter().flatten().filter(|m| **m != ABSENT) {
        named[usize::from(*m)] = true;
    }
    if !named.contains(&false) {
        return;
    }
    let kept: Vec<IpAddr> = members
        .iter()
        .zip(&named)
        .filter(|(_, named)| **named)
        .map(|(a, _)| *a)
        .collect();
    let numbers = numbers_of(members, &kept);
    for m in rows.iter_mut().flatten() {
        *m = translate(&numbers, *m);
    }
    *members = kept;
}

/// Versions (a byte each), rows and backends (four bytes each), identities, owners (two bytes each); little endian.
fn digest_bytes(members: &[IpAddr], owners: impl Iterator<Item = u16>) -> Vec<u8> {
    let mut bytes = vec![VERSION, FLOW_HASH_VERSION];
    bytes.extend((ROWS as u32).to_le_bytes());
    bytes.extend((members.len() as u32).to_le_bytes());
    bytes.extend(members.iter().flat_map(|&address| identity(address)));
    bytes.extend(owners.flat_map(u16::to_le_bytes));
    bytes
}
