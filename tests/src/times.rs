//! How long something took in several runs, against a limit for the median.

use std::time::Duration;

use serde::Serialize;

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    runs: usize,
    median_ms: f64,
    worst_ms: f64,
    limit_ms: f64,
}

impl Times {
    /// Head of the table's columns for [`Self::cells`].
    pub const HEAD: [&str; 4] = ["runs", "median ms", "worst ms", "limit ms"];

    /// Of at least one run.
    pub fn new(mut runs: Vec<Duration>, limit: Duration) -> Self {
        runs.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        Self {
            runs: runs.len(),
            median_ms: ms(median(&runs)),
            worst_ms: ms(runs[runs.len() - 1]),
            limit_ms: ms(limit),
        }
    }

    /// Whether the median is within the limit.
    pub fn within(&self) -> bool {
        self.median_ms <= self.limit_ms
    }

    /// For the table.
    pub fn cells(&self) -> [String; 4] {
        let [median, worst, limit] =
            [self.median_ms, self.worst_ms, self.limit_ms].map(|figure| format!("{figure:.1}"));
        [self.runs.to_string(), median, worst, limit]
    }
}

/// Of times in their order; of an even number the mean of the middle two.
fn median(times: &[Duration]) -> Duration {
    let middle = times.len() / 2;
    match times.len() % 2 {
        0 => (times[middle - 1] + times[middle]) / 2,
        _ => times[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_counts_and_not_the_worst() {
        let runs = [10, 900, 20, 30].map(Duration::from_millis).to_vec();
        let times = Times::new(runs, Duration::from_millis(25));
        assert_eq!((times.median_ms, times.worst_ms), (25.0, 900.0));
        assert!(times.within());
        assert_eq!(times.cells(), ["4", "25.0", "900.0", "25.0"]);
        let late = Times::new(vec![Duration::from_millis(26)], Duration::from_millis(25));
        assert!(!late.within());
    }
}
