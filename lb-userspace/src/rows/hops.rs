//! From owners and ranks to the hops of a row. Backends go by their number in the table: members of the input first.

use super::owner::{Owners, caps};
use super::rank::Ranking;
use super::{ABSENT, HOPS_MAX, Input, View};

/// Gives out first hops and alternates under one view. Rows must come in the order of the walk.
pub(super) struct Chooser<'a> {
    ranking: &'a Ranking,
    standing: Vec<Standing>,
    caps: Vec<u32>,
    load: Vec<u32>,
    hops: usize,
}

/// Owner and heir of a row under a previous input.
pub(super) type Past = (Option<u16>, Option<u16>);

/// What the view says of a backend.
#[derive(Clone, Copy)]
struct Standing {
    first: bool,
    down: bool,
    gone: bool,
}

impl<'a> Chooser<'a> {
    /// `members` are those of `input`, which `ranking` ranks, and after them those that only previous inputs have.
    pub fn new(
        input: &Input,
        members: &[std::net::IpAddr],
        ranking: &'a Ranking,
        owners: &Owners,
        view: &View,
        hops: u8,
    ) -> Self {
        let eligible = eligible(input, view);
        let mut load = vec![0; eligible.len()];
        for owner in owners.owner.iter() {
            if let Some(load) = load.get_mut(usize::from(owner)) {
                *load += 1;
            }
        }
        let standing = members.iter().enumerate().map(|(m, &address)| Standing {
            first: eligible.get(m).copied().unwrap_or(false),
            down: view.is_down(address),
            gone: view.is_gone(address),
        });
        let standing = standing.collect();
        let hops = usize::from(hops).clamp(1, HOPS_MAX);
        Self {
            ranking,
            standing,
            caps: caps(input, &eligible),
            load,
            hops,
        }
    }

    /// The hops of a row, by its owner, and its owners and heirs under previous inputs, newest first.
    pub fn row(
        &mut self,
        row: u32,
        owner: u16,
        previous: impl Iterator<Item = Past> + Clone,
    ) -> [u16; HOPS_MAX] {
        let set = self.set(row, owner, previous);
        let first = if self.may_be_first(owner) {
            owner
        } else {
            self.stand_in(row, &set)
        };
        self.ordered(first, &set)
    }

    /// Whose flows may live in this row: the same under every view, but for backends that are gone.
    fn set(&self, row: u32, owner: u16, previous: impl Iterator<Item = Past> + Clone) -> Set {
        let mut set = Set {
            backends: [ABSENT; HOPS_MAX],
            len: 0,
            max: self.hops,
        };
        let here = |m: &u16| !self.standing[usize::from(*m)].gone;
        let (owners, heirs) = (
            previous.clone().filter_map(|(owner, _)| owner),
            previous.filter_map(|(_, heir)| heir),
        );
        set.add_first(1, std::iter::once(owner).filter(here));
        set.add_first(HOPS_MAX, owners.filter(here));
        set.add_first(1, heirs.filter(here));
        set.add_first(HOPS_MAX, self.ranking.top(row).filter(here));
        if set.len < set.max {
            set.add_first(HOPS_MAX, self.ranking.deeper(row).into_iter().filter(here));
        }
        set
    }

    /// Who gets the first hop of a row whose owner is down.
    fn stand_in(&mut self, row: u32, set: &Set) -> u16 {
        let has_room = |m: u16| self.load[usize::from(m)] < self.caps[usize::from(m)];
        let of_set = || set.iter().filter(|&m| self.may_be_first(m));
        let best = |m: &u16| self.ranking.place(row, *m);
        let first = of_set()
            .filter(|&m| has_room(m))
            .min_by_key(best)
            .or_else(|| of_set().min_by_key(best))
            .or_else(|| {
                self.ranking
                    .first(row, |m| self.may_be_first(m) && has_room(m))
            })
            .expect("the caps of those that may be first add up to more than the rows");
        self.load[usize::from(first)] += 1;
        first
    }

    fn may_be_first(&self, m: u16) -> bool {
        self.standing[usize::from(m)].first
    }

    fn ordered(&self, first: u16, set: &Set) -> [u16; HOPS_MAX] {
        let others = || set.iter().filter(|&m| m != first).take(self.hops - 1);
        let down = |m: &u16| self.standing[usize::from(*m)].down;
        let order = std::iter::once(first)
            .chain(others().filter(|m| !down(m)))
            .chain(others().filter(down));
        let mut hops = [ABSENT; HOPS_MAX];
        for (hop, m) in hops.iter_mut().zip(order) {
            *hop = m;
        }
        hops
    }
}

/// Members that may be first hops under a view: active and up; where there is none, draining and up; where nothing is up,
/// active and not gone; and where all are gone, whoever is active.
fn eligible(input: &Input, view: &View) -> Vec<bool> {
    let active = input.active();
    let up: Vec<bool> = input
        .members()
        .iter()
        .map(|m| !view.is_down(m.address))
        .collect();
    let both: Vec<bool> = active
        .iter()
        .zip(&up)
        .map(|(&active, &up)| active && up)
        .collect();
    let here: Vec<bool> = input
        .members()
        .iter()
        .zip(&active)
        .map(|(m, &active)| active && !view.is_gone(m.address))
        .collect();
    [both, up, here]
        .into_iter()
        .find(|tier| tier.contains(&true))
        .unwrap_or(active)
}

/// A few distinct backends in order of choice.
struct Set {
    backends: [u16; HOPS_MAX],
    len: usize,
    max: usize,
}

impl Set {
    /// Adds the first `count` that are not in the set, as far as there is room.
    fn add_first(&mut self, count: usize, backends: impl Iterator<Item = u16>) {
        let end = self.max.min(self.len + count);
        for m in backends {
            if self.len == end {
                return;
            }
            if !self.iter().any(|other| other == m) {
                self.backends[self.len] = m;
                self.len += 1;
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = u16> {
        self.backends[..self.len].iter().copied()
    }
}
