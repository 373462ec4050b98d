//! How long a VIP that was withdrawn waits before it is announced again. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::serving::Vips;
use crate::model::Vip;

/// Longest wait, and the time without a withdrawal after which the waits begin anew.
const LONGEST: Duration = Duration::from_secs(300);

/// The VIPs that have been announced.
#[derive(Debug, Default)]
pub struct Holds(BTreeMap<Vip, Hold>);

#[derive(Clone, Copy, Debug, Default)]
struct Hold {
    /// Announced since then.
    announced: Option<Instant>,
    /// Fit since then, and waiting.
    fit: Option<Instant>,
    /// The wait after the last withdrawal; none yet: zero.
    wait: Duration,
}

impl Holds {
    /// Holds back what was withdrawn not long ago. `hold_up`: the first wait of a VIP; none where the operator has withdrawn it: what he
    /// announces does not wait.
    pub fn apply(
        &mut self,
        vips: &mut Vips,
        hold_up: impl Fn(Vip) -> Option<Duration>,
        now: Instant,
    ) {
        self.0.retain(|vip, _| vips.contains_key(vip));
        for (vip, state) in vips {
            let Some(hold_up) = hold_up(*vip) else {
                self.0.remove(vip);
                continue;
            };
            let hold = self.0.entry(*vip).or_default();
            if state.is_err() {
                hold.withdraw(hold_up, now);
            } else if let Some(left) = hold.left(now) {
                let seconds = left.as_millis().div_ceil(1000);
                *state = Err(format!("fit again, announced in {seconds} s (hold_up)"));
            }
        }
    }
}

impl Hold {
    fn withdraw(&mut self, hold_up: Duration, now: Instant) {
        self.fit = None;
        if let Some(since) = self.announced.take() {
            let steady = now.duration_since(since) >= LONGEST;
            self.wait = if self.wait.is_zero() || steady {
                hold_up
            } else {
                (self.wait * 2).min(LONGEST)
            };
        }
    }

    /// What is left of the wait of a VIP that is fit; none: it is announced.
    fn left(&mut self, now: Instant) -> Option<Duration> {
        if self.announced.is_none() {
            let fit = *self.fit.get_or_insert(now);
            let left = (fit + self.wait).saturating_duration_since(now);
            if !left.is_zero() {
                return Some(left);
            }
            self.announced = Some(now);
            self.fit = None;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::serving::Standing;
    use crate::agent::testing::address;

    const HOLD_UP: Duration = Duration::from_secs(10);

    struct Bench {
        holds: Holds,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                holds: Holds::default(),
                now: Instant::now(),
            }
        }

        /// What becomes of a VIP that is fit, or not, after so many seconds.
        fn after(&mut self, seconds: u64, fit: bool, operator: bool) -> Option<String> {
            self.now += Duration::from_secs(seconds);
            let state = match fit {
                true => Ok(Standing::Full),
                false => Err("ill".to_owned()),
            };
            let vip = Vip::from(address("198.51.100.1"));
            let mut vips = Vips::from([(vip, state)]);
            let hold_up = |_| (!operator).then_some(HOLD_UP);
            self.holds.apply(&mut vips, hold_up, self.now);
            vips.remove(&vip).expect("the VIP").err()
        }
    }

    #[test]
    fn the_first_announcement_does_not_wait() {
        let mut bench = Bench::new();
        assert_eq!(bench.after(0, false, false).as_deref(), Some("ill"));
        assert_eq!(bench.after(1, true, false), None);
    }

    #[test]
    fn each_withdrawal_doubles_the_wait_until_it_has_been_steady() {
        let mut bench = Bench::new();
        assert_eq!(bench.after(0, true, false), None);
        for wait in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(bench.after(5, false, false).as_deref(), Some("ill"));
            let said = format!("fit again, announced in {wait} s (hold_up)");
            assert_eq!(bench.after(1, true, false), Some(said));
            let said = bench.after(wait - 1, true, false);
            assert_eq!(
                said.as_deref(),
                Some("fit again, announced in 1 s (hold_up)")
            );
            assert_eq!(bench.after(1, true, false), None, "after {wait} s");
        }
        assert_eq!(bench.after(300, true, false), None);
        assert_eq!(bench.after(1, false, false).as_deref(), Some("ill"));
        bench.after(0, true, false);
        assert_eq!(bench.after(10, true, false), None, "as at first");
    }

    #[test]
    fn an_illness_while_it_waits_begins_the_wait_anew() {
        let mut bench = Bench::new();
        bench.after(0, true, false);
        bench.after(1, false, false);
        bench.after(1, true, false);
        bench.after(9, false, false);
        assert!(bench.after(1, true, false).is_some());
        assert!(bench.after(9, true, false).is_some());
        assert_eq!(bench.after(1, true, false), None, "10 s and not 20");
    }

    #[test]
    fn what_the_operator_announces_does_not_wait() {
        let mut bench = Bench::new();
        bench.after(0, true, false);
        bench.after(1, false, true);
        assert_eq!(bench.after(1, true, false), None);
    }
}
