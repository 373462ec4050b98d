//! Who owns a row: the best-ranked active backend still under its cap. A function of input and key alone.

use super::column::Column;
use super::rank::Ranking;
use super::{Input, ROWS};

/// Most rows of each backend: `ceil(1.05 * rows * weight / sum of the eligible weights)`; 0 for the others.
pub(super) fn caps(input: &Input, eligible: &[bool]) -> Vec<u32> {
    let weights = || {
        input
            .members()
            .iter()
            .zip(eligible)
            .map(|(m, &e)| if e { u64::from(m.weight) } else { 0 })
    };
    let sum: u64 = weights().sum();
    // 105 * 65,536 * 65,535 is far below 2^64; the quotient is at most 1.05 * 65,536.
    weights()
        .map(|w| {
            if w == 0 {
                0
            } else {
                (105 * ROWS as u64 * w).div_ceil(100 * sum) as u32
            }
        })
        .collect()
}

/// Who has each row under an input, health apart, as numbers in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owners {
    /// Who owns the row.
    pub owner: Column,
    /// Who most likely has it while the owner is down: the best-ranked other active one.
    pub heir: Column,
}

impl Owners {
    /// `ranking` ranks the members of `input`.
    pub fn new(input: &Input, ranking: &Ranking, walk: &[u16]) -> Self {
        let active = input.active();
        let caps = caps(input, &active);
        let mut load = vec![0; caps.len()];
        let mut owners = Self {
            owner: Column::of(caps.len()),
            heir: Column::of(caps.len()),
        };
        if caps.is_empty() {
            return owners;
        }
        for row in walk.iter().copied().map(u32::from) {
            let owner = ranking
                .first(row, |m| load[usize::from(m)] < caps[usize::from(m)])
                .expect("the caps add up to more than the rows");
            load[usize::from(owner)] += 1;
            owners.owner.set(row, owner);
        }
        let others = active.iter().filter(|&&active| active).count() > 1;
        for row in (0..ROWS as u32).filter(|_| others) {
            let owner = owners.owner.at(row);
            if let Some(heir) = ranking.first(row, |m| m != owner && active[usize::from(m)]) {
                owners.heir.set(row, heir);
            }
        }
        owners
    }
}
