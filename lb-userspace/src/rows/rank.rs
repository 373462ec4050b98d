//! The best backends of each row, by weighted rendezvous hashing.

use std::net::IpAddr;

use super::input::Member;
use super::keys::Keys;
use super::log2::{neg_log2, neg_log2_at_least};
use super::sip::{Key, siphash_row};
use super::{ABSENT, ROWS};

/// Ranks kept per row. Deeper ones are rarely asked for, and computed when they are.
pub(super) const DEPTH: usize = 8;

/// For one set of backends and weights: the first eight of every row, 1 MiB. Costs are not kept: a hash is cheaper than
/// the memory.
#[derive(Default)]
pub(super) struct Ranking {
    contenders: Vec<Contender>,
    top: Vec<[u16; DEPTH]>,
}

/// What takes part in the ranking. Administrative states do not.
#[derive(Clone, Copy)]
struct Contender {
    key: Key,
    weight: u16,
    address: IpAddr,
}

impl Contender {
    #[inline(always)]
    fn cost(&self, row: u32) -> u64 {
        neg_log2(siphash_row(self.key, row)) / u64::from(self.weight)
    }

    /// The cost, unless it is `limit` or more.
    #[inline(always)]
    fn cost_below(&self, row: u32, limit: u64) -> Option<u64> {
        let hash = siphash_row(self.key, row);
        if neg_log2_at_least(hash) >= limit.saturating_mul(u64::from(self.weight)) {
            return None;
        }
        Some(neg_log2(hash) / u64::from(self.weight)).filter(|&cost| cost < limit)
    }
}

impl Ranking {
    /// Ranks `members` (ascending, at most [`super::input::MEMBERS_MAX`]) in every row. Rows whose first eight cannot have
    /// changed since the last call are only renumbered.
    pub fn update(&mut self, keys: &Keys, members: &[Member]) {
        let before = std::mem::take(&mut self.contenders);
        let (contenders, renumber, new) = merge(keys, &before, members);
        self.contenders = contenders;
        if new.is_empty() && before.len() == self.contenders.len() {
            return;
        }
        if before.is_empty() || new.len() > before.len() {
            self.top = (0..ROWS as u32).map(|row| self.rank(row)).collect();
            return;
        }
        let mut top = std::mem::take(&mut self.top);
        for (row, ranks) in (0..).zip(&mut top) {
            if !renumbered(ranks, &renumber) || self.any_enters(row, ranks, &new) {
                *ranks = self.rank(row);
            }
        }
        self.top = top;
    }

    /// The first of a row that is `eligible`.
    pub fn first(&self, row: u32, eligible: impl Fn(u16) -> bool) -> Option<u16> {
        let top = self.top(row).find(|&m| eligible(m));
        if top.is_some() || self.contenders.len() <= DEPTH {
            return top;
        }
        let mut best = (u64::MAX, None);
        for (m, contender) in (0..).zip(&self.contenders) {
            if eligible(m)
                && let Some(cost) = contender.cost_below(row, best.0)
            {
                best = (cost, Some(m));
            }
        }
        best.1
    }

    /// The first eight, or all where there are fewer.
    pub fn top(&self, row: u32) -> impl Iterator<Item = u16> {
        self.top[row as usize].into_iter().filter(|&m| m != ABSENT)
    }

    /// All of a row in order of rank.
    pub fn all(&self, row: u32) -> Vec<u16> {
        let mut ranks: Vec<(u64, u16)> = (0..)
            .zip(&self.contenders)
            .map(|(m, c)| (c.cost(row), m))
            .collect();
        ranks.sort_unstable();
        ranks.into_iter().map(|(_, m)| m).collect()
    }

    /// Place of a backend in a row: the lower the better.
    pub fn place(&self, row: u32, member: u16) -> (u64, u16) {
        (self.contenders[usize::from(member)].cost(row), member)
    }

    fn rank(&self, row: u32) -> [u16; DEPTH] {
        let mut costs = [u64::MAX; DEPTH];
        let mut ranks = [ABSENT; DEPTH];
        for (m, contender) in (0..).zip(&self.contenders) {
            // Members come in ascending order, so an equal cost is a lower rank.
            let Some(cost) = contender.cost_below(row, costs[DEPTH - 1]) else {
                continue;
            };
            let mut at = DEPTH - 1;
            while at > 0 && costs[at - 1] > cost {
                costs[at] = costs[at - 1];
                ranks[at] = ranks[at - 1];
                at -= 1;
            }
            costs[at] = cost;
            ranks[at] = m;
        }
        ranks
    }

    /// Whether one of the `new` members belongs among the first eight of a row.
    fn any_enters(&self, row: u32, ranks: &[u16; DEPTH], new: &[u16]) -> bool {
        let last = ranks[DEPTH - 1];
        if new.is_empty() || last == ABSENT {
            return !new.is_empty();
        }
        let (limit, _) = self.place(row, last);
        let enters = |m: u16| {
            self.contenders[usize::from(m)]
                .cost_below(row, limit + u64::from(m < last))
                .is_some()
        };
        new.iter().any(|&m| enters(m))
    }
}

/// New contenders; the new number of each old one, `ABSENT` where it left or its weight changed; numbers of new ones.
fn merge(
    keys: &Keys,
    before: &[Contender],
    members: &[Member],
) -> (Vec<Contender>, Vec<u16>, Vec<u16>) {
    let mut renumber = vec![ABSENT; before.len()];
    let mut new = Vec::new();
    let contenders = (0..).zip(members).map(|(number, member)| {
        let old = before.binary_search_by_key(&super::input::identity(member.address), |c| {
            super::input::identity(c.address)
        });
        match old {
            Ok(old) if before[old].weight == member.weight => {
                renumber[old] = number;
                before[old]
            }
            Ok(_) | Err(_) => {
                new.push(number);
                Contender {
                    key: keys.backend(member.address),
                    weight: member.weight,
                    address: member.address,
                }
            }
        }
    });
    (contenders.collect(), renumber, new)
}

/// Renumbers the ranks of a row; false where one of them is no longer there.
fn renumbered(ranks: &mut [u16; DEPTH], renumber: &[u16]) -> bool {
    let mut whole = true;
    for rank in ranks.iter_mut().filter(|rank| **rank != ABSENT) {
        *rank = renumber[usize::from(*rank)];
        whole &= *rank != ABSENT;
    }
    whole
}
