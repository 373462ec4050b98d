//! The highest rate without loss (the throughput of RFC 1242), found as RFC 2544 section 26.1 has it: double until packets are
//! lost, then halve the step between the best rate without loss and the lowest with.

#![forbid(unsafe_code)]

/// The search is over when the two rates are within one part in so many of each other.
const RESOLUTION: u64 = 100;
/// A generator that reaches less than this of a rate, in percent, twice running, cannot do more.
const REACHED_PERCENT: u64 = 98;
/// Lower rates are not tried, packets per second: a node that loses these is not to be measured but mended.
const FLOOR: u64 = 100;

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Rate that the driver took, packets per second.
    pub reached: u64,
    /// More was lost than is allowed.
    pub lossy: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Try this rate, packets per second.
    Try(u64),
    /// There is nothing more to try.
    Done(Limit),
}

/// What keeps the rate from being higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Packets are lost above it; where there is no best rate, at every rate that was tried.
    Loss,
    /// The generator makes no more.
    Generator,
    /// The link carries no more.
    Line,
}

/// A search that has begun.
#[derive(Clone, Debug)]
pub struct Search {
    asked: u64,
    /// Highest rate that was reached and lost nothing.
    good: Option<u64>,
    /// Lowest rate that lost packets.
    bad: Option<u64>,
    /// Rate of the line.
    line: Option<u64>,
    /// The generator did not reach the rate: once may be because of something else that this box had to do.
    short: bool,
}

impl Search {
    /// Begins with `first`, and goes no higher than `line`, packets per second.
    pub fn new(first: u64, line: Option<u64>) -> Self {
        let asked = line.map_or(first, |line| first.min(line)).max(FLOOR);
        Self {
            asked,
            good: None,
            bad: None,
            line: line.map(|line| line.max(FLOOR)),
            short: false,
        }
    }

    /// The rate to try first.
    pub fn first(&self) -> u64 {
        self.asked
    }

    /// What follows from the trial at the rate that was last said.
    pub fn next(&mut self, outcome: Outcome) -> Step {
        let again = std::mem::take(&mut self.short);
        if outcome.lossy {
            self.bad = Some(self.asked);
        } else if outcome.reached < self.asked * REACHED_PERCENT / 100 {
            if again {
                return Step::Done(Limit::Generator);
            }
            self.short = true;
            return Step::Try(self.asked);
        } else {
            self.good = Some(self.asked);
            if self.line.is_some_and(|line| self.asked >= line) {
                return Step::Done(Limit::Line);
            }
        }
        self.asked = match (self.good, self.bad) {
            (Some(good), None) => self.line.map_or(good * 2, |line| line.min(good * 2)),
            (None, Some(bad)) if bad / 2 < FLOOR => return Step::Done(Limit::Loss),
            (None, Some(bad)) => bad / 2,
            (Some(good), Some(bad)) if bad - good <= (good / RESOLUTION).max(1) => {
                return Step::Done(Limit::Loss);
            }
            (Some(good), Some(bad)) => good.midpoint(bad),
            (None, None) => self.asked,
        };
        Step::Try(self.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that loses above `most`, and a generator that makes `ceiling` at most: the rates tried, and the end.
    fn search(
        first: u64,
        line: Option<u64>,
        most: u64,
        ceiling: u64,
    ) -> (Vec<u64>, Option<u64>, Limit) {
        let mut search = Search::new(first, line);
        let (mut rate, mut tried) = (search.first(), Vec::new());
        loop {
            tried.push(rate);
            assert!(tried.len() < 64, "no end: {tried:?}");
            let reached = rate.min(ceiling);
            let lossy = reached > most;
            match search.next(Outcome { reached, lossy }) {
                Step::Try(next) => rate = next,
                Step::Done(limit) => return (tried, search.good, limit),
            }
        }
    }

    #[test]
    fn doubles_then_halves_the_step() {
        let (tried, good, limit) = search(1_000, None, 2_900, u64::MAX);
        assert_eq!(
            tried,
            [
                1_000, 2_000, 4_000, 3_000, 2_500, 2_750, 2_875, 2_937, 2_906, 2_890
            ]
        );
        assert_eq!((good, limit), (Some(2_890), Limit::Loss));
    }

    #[test]
    fn every_end() {
        for (first, line, most, ceiling, good, limit, why) in [
            (
                1_000,
                None,
                900,
                u64::MAX,
                Some(898),
                Limit::Loss,
                "the first rate is too high",
            ),
            (
                1_000,
                None,
                0,
                u64::MAX,
                None,
                Limit::Loss,
                "everything is lost",
            ),
            (
                1_000,
                None,
                u64::MAX,
                7_000,
                Some(4_000),
                Limit::Generator,
                "the generator ends it",
            ),
            (
                1_000,
                Some(5_000),
                u64::MAX,
                u64::MAX,
                Some(5_000),
                Limit::Line,
                "the line ends it",
            ),
            (
                1_000,
                Some(600),
                u64::MAX,
                u64::MAX,
                Some(600),
                Limit::Line,
                "a slow line",
            ),
            (
                1_000,
                Some(5_000),
                u64::MAX,
                4_000,
                Some(4_000),
                Limit::Generator,
                "the generator does not fill the line",
            ),
            (
                1_000,
                Some(5_000),
                4_800,
                u64::MAX,
                Some(4_781),
                Limit::Loss,
                "loss below the line",
            ),
            (
                1_000,
                None,
                7_500,
                7_000,
                Some(4_000),
                Limit::Generator,
                "loss would come later",
            ),
        ] {
            let found = search(first, line, most, ceiling);
            assert_eq!((found.1, found.2), (good, limit), "{why}: {:?}", found.0);
        }
    }

    #[test]
    fn a_generator_that_falls_short_has_a_second_try() {
        let mut search = Search::new(1_000, None);
        for (asked, reached, lossy, step, why) in [
            (1_000, 979, false, Step::Try(1_000), "short, once more"),
            (1_000, 980, false, Step::Try(2_000), "not short any more"),
            (2_000, 1_000, false, Step::Try(2_000), "short, once more"),
            (2_000, 2_000, true, Step::Try(1_500), "reached, and lost"),
            (1_500, 1_400, true, Step::Try(1_250), "lost all the same"),
            (1_250, 1_000, false, Step::Try(1_250), "short, once more"),
            (1_250, 1_000, false, Step::Done(Limit::Generator), "twice"),
        ] {
            assert_eq!(search.asked, asked, "{why}");
            assert_eq!(search.next(Outcome { reached, lossy }), step, "{why}");
        }
    }

    #[test]
    fn the_answer_is_within_the_resolution_wherever_the_loss_begins() {
        for most in (200..20_000_000).step_by(777_777) {
            let (tried, good, limit) = search(100_000, None, most, u64::MAX);
            let good = good.unwrap();
            assert_eq!(limit, Limit::Loss);
            assert!(
                good <= most && most - good <= good / RESOLUTION + 1,
                "{most}: {tried:?}"
            );
        }
    }

    #[test]
    fn a_node_that_loses_now_and_then_still_ends_the_search() {
        // Every third trial is lossy, whatever the rate.
        let mut search = Search::new(1_000, None);
        let mut trials = 0;
        let mut step = Step::Try(search.first());
        while let Step::Try(rate) = step {
            trials += 1;
            assert!(trials < 64);
            step = search.next(Outcome {
                reached: rate,
                lossy: trials % 3 == 0,
            });
        }
    }
}
