//! What a pool can do, and what that means for a service. Pure.

use crate::model::{BelowNeed, Need};

/// What a pool's backends can do; each number counts a part of those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// All of them.
    pub configured: usize,
    /// Their checks pass.
    pub healthy: usize,
    /// They have a next hop.
    pub reached: usize,
    /// They get new flows.
    pub ready: usize,
    /// Checks of this process have confirmed or changed every verdict.
    pub judged: bool,
}

/// Whether a service can be served, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servable {
    /// Configured backends whose checks pass.
    pub healthy: usize,
    /// Configured.
    pub configured: usize,
    /// Needed.
    pub need: usize,
    /// Percent of the configured backends that get new flows.
    pub percent: u8,
    /// Why the VIP cannot be announced because of this service.
    pub obstacle: Option<String>,
    /// Why it is announced only as a last resort.
    pub last_resort: Option<String>,
}

impl Capacity {
    /// Whether a service that needs so much can be served, apart from the datapath.
    pub fn servable(&self, need: Need, below_need: BelowNeed) -> Servable {
        let need = need.of(self.configured);
        let of = format!("of {} backends", self.configured);
        let short = if self.healthy < need {
            Some(format!("{} {of} healthy, {need} needed", self.healthy))
        } else if self.reached < need {
            Some(format!(
                "{} {of} healthy and with a next hop, {need} needed",
                self.reached
            ))
        } else if self.ready < need {
            Some(format!(
                "{} {of} healthy and ready, {need} needed",
                self.ready
            ))
        } else {
            None
        };
        let (obstacle, last_resort) = match below_need {
            BelowNeed::Withdraw => (short, None),
            BelowNeed::LastResort => (None, short),
        };
        Servable {
            healthy: self.healthy,
            configured: self.configured,
            need,
            percent: (self.ready * 100 / self.configured.max(1)) as u8,
            obstacle,
            last_resort,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_obstacle_is_the_first_number_that_falls_short() {
        let obstacle = |[configured, healthy, reached, ready]: [usize; 4], need| {
            let capacity = Capacity {
                configured,
                healthy,
                reached,
                ready,
                judged: true,
            };
            let servable = capacity.servable(need, BelowNeed::Withdraw);
            let last = capacity.servable(need, BelowNeed::LastResort);
            assert_eq!(
                (last.obstacle, last.last_resort),
                (None, servable.obstacle.clone())
            );
            servable.obstacle
        };
        for (about, numbers, need, expected) in [
            ("enough", [4, 3, 3, 2], Need::Count(2), None),
            (
                "health",
                [4, 1, 1, 1],
                Need::Count(2),
                Some("1 of 4 backends healthy, 2 needed"),
            ),
            (
                "the way",
                [4, 3, 1, 1],
                Need::Count(2),
                Some("1 of 4 backends healthy and with a next hop, 2 needed"),
            ),
            (
                "the operator",
                [4, 3, 3, 1],
                Need::Count(2),
                Some("1 of 4 backends healthy and ready, 2 needed"),
            ),
            (
                "a share, rounded up",
                [4, 1, 1, 1],
                Need::Percent(26),
                Some("1 of 4 backends healthy, 2 needed"),
            ),
            ("a share, met", [4, 2, 2, 2], Need::Percent(50), None),
            (
                "more than there are",
                [1, 1, 1, 1],
                Need::Count(2),
                Some("1 of 1 backends healthy, 2 needed"),
            ),
            (
                "an empty pool",
                [0, 0, 0, 0],
                Need::Percent(30),
                Some("0 of 0 backends healthy, 1 needed"),
            ),
        ] {
            assert_eq!(obstacle(numbers, need).as_deref(), expected, "{about}");
        }
    }
}
