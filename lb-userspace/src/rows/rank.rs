//! The best backends of each row, by weighted rendezvous hashing.

use super::input::{Member, identity};
use super::keys::Keys;
use super::log2::{neg_log2, neg_log2_at_least};
use super::score::Score;
use super::{ABSENT, ROWS};

/// Ranks kept per row. Deeper ones are rarely asked for, and computed when they are.
const DEPTH: usize = 8;

/// Rows ranked in one go: their ranks and the tables of one backend fit the nearest cache together.
const BATCH: usize = 128;

/// For one set of backends and weights: the first eight of every row, 1 MiB. Costs are not kept: a hash is cheaper than
/// the memory.
#[derive(Default)]
pub(super) struct Ranking {
    contenders: Vec<Contender>,
    top: Vec<[u16; DEPTH]>,
}

impl Ranking {
    /// Ranks `members` (an input's) in every row. Rows whose first eight cannot have changed since the last call are only
    /// renumbered.
    pub fn update(&mut self, keys: &Keys, members: &[Member]) {
        let before = std::mem::take(&mut self.contenders);
        let count_before = before.len();
        let (contenders, renumber, new) = merge(keys, before, members);
        self.contenders = contenders;
        if self.top.is_empty() || new.len() > count_before {
            self.top = vec![[ABSENT; DEPTH]; ROWS];
            self.rank(&(0..ROWS as u32).collect::<Vec<_>>());
        } else if !new.is_empty() || count_before != self.contenders.len() {
            let stale = self.renumbered(&renumber, &new);
            self.rank(&stale);
        }
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

    /// Those of a row behind the first eight, in order of rank.
    pub fn deeper(&self, row: u32) -> Vec<u16> {
        if self.contenders.len() <= DEPTH {
            return Vec::new();
        }
        let numbers = (0..).take(self.contenders.len());
        let mut places: Vec<(u64, u16)> = numbers.map(|m| self.place(row, m)).collect();
        places.sort_unstable();
        places.into_iter().skip(DEPTH).map(|(_, m)| m).collect()
    }

    /// What backends of a row are ranked by, the lowest first.
    pub fn place(&self, row: u32, member: u16) -> (u64, u16) {
        (self.contenders[usize::from(member)].cost(row), member)
    }

    /// Ranks some rows anew.
    fn rank(&mut self, rows: &[u32]) {
        for rows in rows.chunks(BATCH) {
            let mut tops = [Top::EMPTY; BATCH];
            // Backend by backend in ascending order, so that of equal costs the lower number stands first.
            for (m, contender) in (0..).zip(&self.contenders) {
                for (top, &row) in tops.iter_mut().zip(rows) {
                    if let Some(cost) = contender.cost_below(row, top.costs[DEPTH - 1]) {
                        top.insert(cost, m);
                    }
                }
            }
            for (top, &row) in tops.iter().zip(rows) {
                self.top[row as usize] = top.ranks;
            }
        }
    }

    /// Renumbers the ranks of all rows; returns the rows that one left or one of the `new` members belongs into.
    fn renumbered(&mut self, renumber: &[u16], new: &[u16]) -> Vec<u32> {
        let mut stale = Vec::new();
        for row in 0..ROWS as u32 {
            let mut whole = true;
            for rank in self.top[row as usize]
                .iter_mut()
                .filter(|rank| **rank != ABSENT)
            {
                *rank = renumber[usize::from(*rank)];
                whole &= *rank != ABSENT;
            }
            if !whole || self.any_enters(row, new) {
                stale.push(row);
            }
        }
        stale
    }

    /// Whether one of the `new` members belongs among the first eight of a row.
    fn any_enters(&self, row: u32, new: &[u16]) -> bool {
        let last = self.top[row as usize][DEPTH - 1];
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

/// What takes part in the ranking. Administrative states do not.
struct Contender {
    score: Score,
    weight: u64,
    identity: [u8; 16],
}

impl Contender {
    fn new(keys: &Keys, member: &Member) -> Self {
        let identity = identity(member.address);
        Self {
            score: Score::new(keys.backend(identity)),
            weight: u64::from(member.weight),
            identity,
        }
    }

    fn cost(&self, row: u32) -> u64 {
        neg_log2(self.score.with_lower(self.score.upper(row), row)) / self.weight
    }

    /// The cost, unless it is `limit` or more.
    #[inline(always)]
    fn cost_below(&self, row: u32, limit: u64) -> Option<u64> {
        let upper = self.score.upper(row);
        let at_most = upper << 48 | 0xffff_ffff_ffff;
        if neg_log2_at_least(at_most) >= limit.saturating_mul(self.weight) {
            return None;
        }
        Some(neg_log2(self.score.with_lower(upper, row)) / self.weight).filter(|&cost| cost < limit)
    }
}

/// The first eight of a row in the making.
#[derive(Clone, Copy)]
struct Top {
    costs: [u64; DEPTH],
    ranks: [u16; DEPTH],
}

impl Top {
    const EMPTY: Self = Self {
        costs: [u64::MAX; DEPTH],
        ranks: [ABSENT; DEPTH],
    };

    /// Puts a member behind those that cost no more, and the last one out.
    fn insert(&mut self, cost: u64, m: u16) {
        let mut at = DEPTH - 1;
        while at > 0 && self.costs[at - 1] > cost {
            self.costs[at] = self.costs[at - 1];
            self.ranks[at] = self.ranks[at - 1];
            at -= 1;
        }
        self.costs[at] = cost;
        self.ranks[at] = m;
    }
}

/// Contenders of `members`; the new number of each old one, `ABSENT` where it left or its weight changed; the numbers of
/// those that are new.
fn merge(
    keys: &Keys,
    before: Vec<Contender>,
    members: &[Member],
) -> (Vec<Contender>, Vec<u16>, Vec<u16>) {
    let mut renumber = vec![ABSENT; before.len()];
    let mut new = Vec::new();
    let mut contenders = Vec::with_capacity(members.len());
    let mut before = before.into_iter().enumerate().peekable();
    for (number, member) in (0..).zip(members) {
        let identity = identity(member.address);
        while before.next_if(|(_, old)| old.identity < identity).is_some() {}
        let weight = u64::from(member.weight);
        match before.next_if(|(_, old)| old.identity == identity) {
            Some((old, contender)) if contender.weight == weight => {
                renumber[old] = number;
                contenders.push(contender);
            }
            Some((_, contender)) => {
                new.push(number);
                contenders.push(Contender {
                    weight,
                    ..contender
                });
            }
            None => {
                new.push(number);
                contenders.push(Contender::new(keys, member));
            }
        }
    }
    (contenders, renumber, new)
}
