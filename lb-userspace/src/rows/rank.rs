//! The best backends of each row, by weighted rendezvous hashing.

use super::input::{Member, identity};
use super::keys::Keys;
use super::log2::{neg_log2, neg_log2_at_least};
use super::score::Score;
use super::{ABSENT, ROWS};

/// Most ranks kept per row. Deeper ones are rarely asked for, and computed when they are.
const DEPTH: usize = 8;

/// Ranks that a row may be left with, where there are more than [`DEPTH`] members: a member that leaves takes its own along
/// and no other, so that a row is ranked anew for every fourth one that it loses, not for each. More than the hops of a row.
const DEPTH_MIN: usize = 5;

/// Rows ranked in one go: their ranks and the tables of one backend fit the nearest cache together.
const BATCH: usize = 128;

/// For one set of backends and weights: the first five to eight of every row, 1 MiB. Costs are not kept: a hash is cheaper
/// than the memory.
#[derive(Default)]
pub(super) struct Ranking {
    contenders: Vec<Contender>,
    top: Vec<[u16; DEPTH]>,
}

impl Ranking {
    /// Ranks `members` (an input's) in every row. Rows that keep enough of those they had since the last call take the new
    /// ones in between.
    pub fn update(&mut self, keys: &Keys, members: &[Member]) {
        let before = std::mem::take(&mut self.contenders);
        let count_before = before.len();
        let (contenders, renumber, new) = merge(keys, before, members);
        self.contenders = contenders;
        if self.top.is_empty() || new.len() > count_before {
            self.top = vec![[ABSENT; DEPTH]; ROWS];
            self.rank(&(0..ROWS as u32).collect::<Vec<_>>());
        } else if !new.is_empty() || count_before != self.contenders.len() {
            let stale = self.follow(&renumber, &new);
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

    /// The first five to eight, or all where there are no more than eight.
    pub fn top(&self, row: u32) -> impl Iterator<Item = u16> {
        self.top[row as usize].into_iter().filter(|&m| m != ABSENT)
    }

    /// Those of a row behind the ones of [`Self::top`], in order of rank.
    pub fn deeper(&self, row: u32) -> Vec<u16> {
        if self.contenders.len() <= DEPTH {
            return Vec::new();
        }
        let numbers = (0..).take(self.contenders.len());
        let mut places: Vec<(u64, u16)> = numbers.map(|m| self.place(row, m)).collect();
        places.sort_unstable();
        let known = self.top(row).count();
        places.into_iter().skip(known).map(|(_, m)| m).collect()
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

    /// Takes those that left out of all rows and the `new` ones in; returns the rows that are left with too few.
    fn follow(&mut self, renumber: &[u16], new: &[u16]) -> Vec<u32> {
        let stayed = renumber.iter().filter(|m| **m != ABSENT).count();
        let enough = match self.contenders.len() {
            all @ ..=DEPTH => all,
            _ => DEPTH_MIN,
        };
        let mut tops = std::mem::take(&mut self.top);
        let mut stale = Vec::new();
        for (row, top) in (0..).zip(&mut tops) {
            let mut length = keep(top, renumber);
            let whole = length == stayed;
            for &m in new {
                length = self.enter(row, top, length, m, whole);
            }
            if length < enough {
                stale.push(row);
            }
        }
        self.top = tops;
        stale
    }

    /// Puts a new member among the first `length` of a row, which are all there are where the row is `whole`; returns how
    /// many it has now. Behind the last of them only a whole row knows what follows.
    fn enter(&self, row: u32, top: &mut [u16; DEPTH], length: usize, m: u16, whole: bool) -> usize {
        let contender = &self.contenders[usize::from(m)];
        let Some(&last) = top[..length].last() else {
            top[0] = if whole { m } else { ABSENT };
            return usize::from(whole);
        };
        let (limit, _) = self.place(row, last);
        let Some(cost) = contender.cost_below(row, limit + u64::from(m < last)) else {
            let fits = whole && length < DEPTH;
            if fits {
                top[length] = m;
            }
            return length + usize::from(fits);
        };
        let before = |&other: &u16| self.place(row, other) < (cost, m);
        let at = top[..length - 1].partition_point(before);
        let end = (length + 1).min(DEPTH);
        top[at..end].rotate_right(1);
        top[at] = m;
        end
    }
}

/// Renumbers the ranks of a row without those that left; returns how many there are.
fn keep(top: &mut [u16; DEPTH], renumber: &[u16]) -> usize {
    let mut length = 0;
    for at in 0..DEPTH {
        let number = match top[at] {
            ABSENT => ABSENT,
            old => renumber[usize::from(old)],
        };
        top[at] = ABSENT;
        if number != ABSENT {
            top[length] = number;
            length += 1;
        }
    }
    length
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::Input;
    use super::*;
    use crate::model::{AdminState, HashKey};

    fn pool(members: &[(u32, u16)]) -> Input {
        let member = |&(n, weight): &(u32, u16)| Member {
            address: Ipv4Addr::from(0x0a00_0001 + n).into(),
            weight,
            admin: AdminState::Ready,
        };
        Input::new(members.iter().map(member)).expect("a small pool")
    }

    /// The whole order of a row, computed from nothing.
    fn order(ranking: &Ranking, row: u32) -> Vec<u16> {
        let mut all: Vec<u16> = (0..).take(ranking.contenders.len()).collect();
        all.sort_by_key(|&m| ranking.place(row, m));
        all
    }

    #[test]
    fn rows_stay_in_order_through_every_kind_of_change() {
        let equal =
            |numbers: &[u32]| -> Vec<(u32, u16)> { numbers.iter().map(|&n| (n, 100)).collect() };
        let twelve: Vec<u32> = (0..12).collect();
        let heavier: Vec<(u32, u16)> = (0..12)
            .map(|n| (n, if n == 6 { 900 } else { 100 }))
            .collect();
        let keys = Keys::new(&HashKey([7; 16]));
        let mut ranking = Ranking::default();
        for (about, members) in [
            ("from nothing", equal(&twelve)),
            ("the first goes", equal(&twelve[1..])),
            ("two more go", equal(&twelve[3..])),
            (
                "one goes and one comes",
                equal(&[2, 4, 5, 6, 7, 8, 9, 10, 11]),
            ),
            ("few enough to keep all", equal(&twelve[4..])),
            ("fewer than that", equal(&twelve[8..])),
            ("all there are, and more", equal(&twelve[5..])),
            ("more than are kept", equal(&twelve[1..])),
            ("all again", equal(&twelve)),
            ("one weighs more", heavier),
            ("others, and as many", equal(&(20..32).collect::<Vec<_>>())),
            ("nobody", equal(&[])),
            ("one", equal(&[3])),
        ] {
            let input = pool(&members);
            ranking.update(&keys, input.members());
            for row in (0..ROWS as u32).step_by(61) {
                let (top, order) = (ranking.top(row).collect::<Vec<_>>(), order(&ranking, row));
                let enough = if order.len() > DEPTH {
                    DEPTH_MIN
                } else {
                    order.len()
                };
                assert!(top.len() >= enough, "{about}: {} in row {row}", top.len());
                assert_eq!(top, order[..top.len()], "{about}: row {row}");
                let deeper = ranking.deeper(row);
                if order.len() > DEPTH {
                    assert_eq!(
                        deeper,
                        order[top.len()..],
                        "{about}: behind them in row {row}"
                    );
                }
                let last = order.last().copied();
                assert_eq!(
                    ranking.first(row, |m| Some(m) == last),
                    last,
                    "{about}: the last of row {row}"
                );
            }
        }
    }
}
