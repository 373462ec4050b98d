//! When a CPU's next packet is due, and of which flow; and which of what the driver says is ours.

use super::{Order, Turn};

/// What a CPU is behind its schedule by more than this, and by more than [`BURST_MAX`] packets, it does not make up: a burst is no
/// load.
pub const DEBT_MAX_PS: u64 = 250_000_000;
/// Packets that may always be made up for.
pub const BURST_MAX: u64 = 4;

impl Turn {
    /// The flow of the packet that is due at `now_ns`, if one is; it is then taken for made.
    #[inline(always)]
    pub fn next(&mut self, order: &Order, now_ns: u64) -> Option<u32> {
        if now_ns < order.starts_ns || now_ns >= order.ends_ns {
            return None;
        }
        let now_ps = (now_ns - order.starts_ns).wrapping_mul(1000);
        if self.due_ps > now_ps {
            return None;
        }
        let few_ps = order.gap_ps.wrapping_mul(BURST_MAX);
        let debt_max_ps = if few_ps > DEBT_MAX_PS {
            few_ps
        } else {
            DEBT_MAX_PS
        };
        if now_ps - self.due_ps > debt_max_ps {
            self.due_ps = now_ps - debt_max_ps;
        }
        self.due_ps += order.gap_ps;
        self.made += 1;
        self.pending += 1;
        let flow = self.flow;
        self.flow = flow.wrapping_add(order.stride);
        if self.flow >= order.flows {
            self.flow = self.flow.wrapping_sub(order.flows);
        }
        Some(flow)
    }

    /// The driver has taken and refused so many packets on this CPU: ours, unless there are more of them than it was given.
    #[inline(always)]
    pub fn heard(&mut self, taken: u64, refused: u64) {
        let all = taken.wrapping_add(refused);
        if all > self.pending {
            return;
        }
        self.pending -= all;
        self.taken += taken;
        self.refused += refused;
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::testing::ORDER;
    use super::*;

    #[test]
    fn a_packet_is_due_every_gap_between_start_and_end() {
        let mut turn = Turn::default();
        for (now_ns, flow, why) in [
            (0, None, "before the start"),
            (1_000, Some(0), "the first at once"),
            (1_499, None, "half a microsecond has not passed"),
            (1_500, Some(2), "now it has"),
            (2_600, Some(4), "the third is late"),
            (2_600, Some(1), "and so is the fourth"),
            (2_600, None, "the fifth is not due"),
            (1_000_000, Some(3), "a long pause"),
            (2_000_000, None, "the end"),
        ] {
            assert_eq!(turn.next(&ORDER, now_ns), flow, "{why}");
        }
        assert_eq!((turn.made, turn.pending), (5, 5));
    }

    #[test]
    fn a_pause_is_made_up_for_to_a_bound() {
        let mut turn = Turn::default();
        let sent = core::iter::from_fn(|| turn.next(&ORDER, 1_500_000)).count();
        assert_eq!(sent as u64, DEBT_MAX_PS / ORDER.gap_ps + 1);
    }

    #[test]
    fn a_slow_schedule_makes_up_for_some_packets_after_any_pause() {
        let slow = Order {
            ends_ns: u64::MAX,
            gap_ps: 10_000_000_000,
            ..ORDER
        };
        let mut turn = Turn::default();
        let sent = core::iter::from_fn(|| turn.next(&slow, 3_000_000_000)).count();
        assert_eq!(sent as u64, BURST_MAX + 1);
    }

    #[test]
    fn strides_reach_every_flow() {
        let mut turn = Turn::default();
        let flows: Vec<u32> = (0..5)
            .map(|step| turn.next(&ORDER, 1_000 + 500 * step).unwrap())
            .collect();
        assert_eq!(flows, [0, 2, 4, 1, 3]);
        let single = Order {
            flows: 1,
            stride: 0,
            ..ORDER
        };
        let mut turn = Turn::default();
        for step in 0..3 {
            assert_eq!(turn.next(&single, 1_000 + 500 * step), Some(0));
        }
    }

    #[test]
    fn what_the_driver_says_is_ours_up_to_what_it_was_given() {
        let mut turn = Turn {
            pending: 20,
            ..Turn::default()
        };
        turn.heard(15, 1);
        turn.heard(5, 0);
        assert_eq!((turn.pending, turn.taken, turn.refused), (4, 15, 1));
        turn.heard(0, 4);
        assert_eq!((turn.pending, turn.taken, turn.refused), (0, 15, 5));
    }
}
