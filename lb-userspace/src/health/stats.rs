//! Counters behind `anylb_health_*`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Outcome;
use crate::model::CheckKind;

/// Upper bounds of the buckets of `health_check_duration_seconds`.
pub const DURATION_BOUNDS_SECS: [f64; 11] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];

/// Label `result` of `health_checks_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckResult {
    /// `success`.
    Success,
    /// `failure`.
    Failure,
    /// `inconclusive`: this node could not ask. Healthy value: 0.
    Inconclusive,
}

impl CheckResult {
    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            CheckResult::Success => "success",
            CheckResult::Failure => "failure",
            CheckResult::Inconclusive => "inconclusive",
        }
    }

    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Success => CheckResult::Success,
            Outcome::Failure(_) => CheckResult::Failure,
            Outcome::Inconclusive(_) => CheckResult::Inconclusive,
        }
    }
}

/// Durations in buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Observations per bucket of [`DURATION_BOUNDS_SECS`], not cumulative; the last one is above all bounds.
    pub buckets: [u64; DURATION_BOUNDS_SECS.len() + 1],
    /// Sum of all observations.
    pub sum_secs: f64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&mut self, duration: Duration) {
        let secs = duration.as_secs_f64();
        let bucket = DURATION_BOUNDS_SECS.partition_point(|&bound| bound < secs);
        self.buckets[bucket] += 1;
        self.sum_secs += secs;
    }

    /// Observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Observations at most each bound of [`DURATION_BOUNDS_SECS`], as Prometheus wants them.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        DURATION_BOUNDS_SECS
            .into_iter()
            .zip(self.buckets.iter().scan(0, |sum, count| {
                *sum += count;
                Some(*sum)
            }))
    }
}

/// Counters since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// By type (`tcp`, `http`, `https`) and result.
    pub checks_total: BTreeMap<(&'static str, CheckResult), u64>,
    /// By type; inconclusive ones are not counted.
    pub duration: BTreeMap<&'static str, Histogram>,
    /// Verdicts that changed, the first ones included.
    pub state_changes_total: u64,
}

impl Stats {
    /// Counts one check.
    pub fn checked(&mut self, kind: &CheckKind, outcome: &Outcome, duration: Duration) {
        let result = CheckResult::of(outcome);
        *self
            .checks_total
            .entry((type_name(kind), result))
            .or_default() += 1;
        if result != CheckResult::Inconclusive {
            self.duration
                .entry(type_name(kind))
                .or_default()
                .observe(duration);
        }
    }
}

fn type_name(kind: &CheckKind) -> &'static str {
    match kind {
        CheckKind::Tcp { .. } => "tcp",
        CheckKind::Http(request) if request.tls.is_some() => "https",
        CheckKind::Http(_) => "http",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HttpCheck, TlsCheck, Trust};

    #[test]
    fn bounds_are_inclusive_and_cumulative() {
        let mut histogram = Histogram::default();
        for ms in [1, 1, 2, 9_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let at_most: Vec<(f64, u64)> = histogram.cumulative().collect();
        assert_eq!(at_most[..3], [(0.0005, 0), (0.001, 2), (0.0025, 3)]);
        assert_eq!(
            at_most.last(),
            Some(&(5.0, 3)),
            "nine seconds are above all bounds"
        );
        assert_eq!(histogram.count(), 4);
        assert!((histogram.sum_secs - 9.004).abs() < 1e-9);
    }

    #[test]
    fn every_type_is_counted_apart() {
        let http = crate::health::http_tests::http_check(80);
        let https = HttpCheck {
            tls: Some(TlsCheck {
                server_name: None,
                trust: Trust::Anything,
            }),
            ..http.clone()
        };
        let mut stats = Stats::default();
        for kind in [
            CheckKind::Tcp { port: 80 },
            CheckKind::Http(http.into()),
            CheckKind::Http(https.into()),
        ] {
            stats.checked(&kind, &Outcome::Success, Duration::from_millis(1));
        }
        let counted = ["http", "https", "tcp"].map(|kind| ((kind, CheckResult::Success), 1));
        assert_eq!(stats.checks_total, BTreeMap::from(counted));
    }

    #[test]
    fn inconclusive_checks_have_no_duration() {
        let mut stats = Stats::default();
        let tcp = CheckKind::Tcp { port: 80 };
        stats.checked(&tcp, &Outcome::Success, Duration::from_millis(1));
        stats.checked(
            &tcp,
            &Outcome::Inconclusive("no port".into()),
            Duration::ZERO,
        );
        assert_eq!(stats.checks_total[&("tcp", CheckResult::Success)], 1);
        assert_eq!(stats.checks_total[&("tcp", CheckResult::Inconclusive)], 1);
        assert_eq!(stats.duration["tcp"].count(), 1);
    }
}
