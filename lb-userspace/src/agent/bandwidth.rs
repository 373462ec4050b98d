//! How much of its link bandwidth a VIP is announced with. Pure.
//!
//! Routers move flows when a route's share changes, so it follows the backends' health in tenths and not often.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::Vip;

/// Between two changes of what is said of one VIP.
const PAUSE: Duration = Duration::from_secs(60);

/// What the announced VIPs are announced with.
#[derive(Debug, Default)]
pub struct Shares(BTreeMap<Vip, Told>);

#[derive(Clone, Copy, Debug)]
struct Told {
    /// From 1: a VIP that is announced wants some traffic.
    tenths: u8,
    at: Instant,
}

impl Shares {
    /// What to say of each VIP that is announced, in tenths, when it can carry so many percent. A VIP that is announced anew is told
    /// as it is.
    pub fn follow(&mut self, percent: &BTreeMap<Vip, u8>, now: Instant) -> BTreeMap<Vip, u8> {
        self.0.retain(|vip, _| percent.contains_key(vip));
        for (&vip, &percent) in percent {
            let tenths = (percent.saturating_add(5) / 10).clamp(1, 10);
            let new = Told { tenths, at: now };
            let told = self.0.entry(vip).or_insert(new);
            let apart = percent.abs_diff(told.tenths * 10) >= 10;
            if apart && told.tenths != tenths && now.duration_since(told.at) >= PAUSE {
                *told = new;
            }
        }
        self.0
            .iter()
            .map(|(&vip, told)| (vip, told.tenths))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::address;

    /// Tenths that are said after so many seconds, each with so many percent there; none: it is not announced.
    fn said(course: &[(u64, Option<u8>)]) -> Vec<Option<u8>> {
        let vip = Vip::from(address("198.51.100.1"));
        let (mut shares, mut now) = (Shares::default(), Instant::now());
        let mut step = |&(seconds, percent): &(u64, Option<u8>)| {
            now += Duration::from_secs(seconds);
            let percent = percent.map(|percent| (vip, percent)).into_iter().collect();
            shares.follow(&percent, now).remove(&vip)
        };
        course.iter().map(&mut step).collect()
    }

    #[test]
    fn it_is_told_in_tenths_and_never_none() {
        for (percent, tenths) in [(100, 10), (96, 10), (94, 9), (50, 5), (6, 1), (0, 1)] {
            assert_eq!(said(&[(0, Some(percent))]), [Some(tenths)], "{percent}");
        }
    }

    #[test]
    fn at_most_one_change_a_minute() {
        let course = [(0, 100), (10, 50), (49, 50), (1, 50), (30, 80), (30, 80)];
        let course = course.map(|(seconds, percent)| (seconds, Some(percent)));
        assert_eq!(
            said(&course),
            [10, 10, 10, 5, 5, 8].map(Some),
            "a minute from the last change on"
        );
    }

    #[test]
    fn less_than_a_tenth_is_no_change() {
        let course = [(0, 84), (60, 86), (60, 89), (60, 90), (60, 81), (60, 80)];
        let course = course.map(|(seconds, percent)| (seconds, Some(percent)));
        assert_eq!(said(&course), [8, 8, 8, 9, 9, 8].map(Some));
    }

    #[test]
    fn what_is_announced_anew_is_told_as_it_is() {
        let course = [(0, Some(100)), (1, None), (1, Some(30))];
        assert_eq!(said(&course), [Some(10), None, Some(3)]);
    }
}
