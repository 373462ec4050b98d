//! Who owns a row: the best-ranked active backend still under its cap. A function of input and key alone.

use super::rank::Ranking;
use super::{ABSENT, Input, ROWS};

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

/// The owner of each row as a number in the input; `ABSENT` everywhere for an empty input. `ranking` ranks this input.
pub(super) fn owners(input: &Input, ranking: &Ranking, walk: &[u32]) -> Vec<u16> {
    let caps = caps(input, &input.active());
    let mut load = vec![0; caps.len()];
    let mut owners = vec![ABSENT; ROWS];
    if caps.is_empty() {
        return owners;
    }
    for &row in walk {
        let owner = ranking
            .first(row, |m| load[usize::from(m)] < caps[usize::from(m)])
            .expect("the caps add up to more than the rows");
        load[usize::from(owner)] += 1;
        owners[row as usize] = owner;
    }
    owners
}
