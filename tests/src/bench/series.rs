//! Measuring many cases in one run, so that all see the same machine.

use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};

use super::wrapper::Probe;

/// A program, a packet and what must become of it.
#[derive(Debug)]
pub struct Case {
    /// Name in the report.
    pub name: String,
    /// The measuring programs.
    pub probe: Probe,
    /// `XDP_` number that the packet must end with.
    pub verdict: u32,
}

/// What the rounds of one case gave, in nanoseconds per packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Name of the case.
    pub name: String,
    /// One per round, in their order: the rounds of all cases are comparable one by one.
    pub rounds: Vec<f64>,
}

/// Rounds, and packets in one.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Odd, so that the median is a round.
    pub rounds: usize,
    /// Packets per round and case.
    pub repeat: u32,
}

/// Runs every case once per round. The first round warms up and does not count.
pub fn measure(cases: &[Case], effort: Effort, progress: impl Fn(usize)) -> Result<Vec<Figures>> {
    for case in cases {
        let verdict = case.probe.verdict();
        ensure!(
            verdict == case.verdict,
            "{}: verdict {verdict}, expected {}",
            case.name,
            case.verdict
        );
    }
    interleaved(
        cases,
        effort.rounds,
        |case| &case.name,
        |case| case.probe.round(effort.repeat),
        progress,
    )
}

/// One round of every case after the other, so that all see the same machine; nanoseconds per packet. The first does not count.
pub(super) fn interleaved<C>(
    cases: &[C],
    rounds: usize,
    name: impl Fn(&C) -> &str,
    round: impl Fn(&C) -> Result<f64>,
    progress: impl Fn(usize),
) -> Result<Vec<Figures>> {
    let mut figures: Vec<Figures> = cases
        .iter()
        .map(|case| Figures {
            name: name(case).to_owned(),
            rounds: Vec::new(),
        })
        .collect();
    for number in 0..=rounds {
        progress(number);
        for (case, figures) in cases.iter().zip(&mut figures) {
            let nanoseconds = round(case).with_context(|| figures.name.clone())?;
            if number > 0 {
                figures.rounds.push(nanoseconds);
            }
        }
    }
    Ok(figures)
}

impl Figures {
    /// The middle round.
    pub fn median(&self) -> f64 {
        median(&self.rounds)
    }

    /// The cheapest and the dearest round.
    pub fn range(&self) -> RangeInclusive<f64> {
        let least = self.rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self
            .rounds
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        least..=most
    }

    /// Cost in units of another case: the median of the rounds' ratios, which a machine that slows down for a while
    /// changes least. The other case counts as `at_least` nanoseconds.
    pub fn ratio_to(&self, other: &Self, at_least: f64) -> f64 {
        let ratios: Vec<f64> = self
            .rounds
            .iter()
            .zip(&other.rounds)
            .map(|(own, other)| own / other.max(at_least))
            .collect();
        median(&ratios)
    }
}

/// Of an even number the mean of the middle two; zero of none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (
        sorted.get(sorted.len().saturating_sub(1) / 2),
        sorted.get(sorted.len() / 2),
    ) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rounds: &[f64]) -> Figures {
        Figures {
            name: "case".to_owned(),
            rounds: rounds.to_vec(),
        }
    }

    #[test]
    fn median_of_odd_and_even() {
        assert_eq!(figures(&[9.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(figures(&[4.0, 1.0, 2.0, 9.0]).median(), 3.0);
        assert_eq!(figures(&[]).median(), 0.0);
    }

    #[test]
    fn a_slow_round_of_the_whole_machine_does_not_change_the_ratio() {
        let reference = figures(&[30.0, 60.0, 30.0]);
        assert_eq!(figures(&[33.0, 66.0, 33.0]).ratio_to(&reference, 0.0), 1.1);
        assert_eq!(reference.range(), 30.0..=60.0);
    }
}
