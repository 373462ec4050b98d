//! Rates, loss and shares of line rate from counts.

#![forbid(unsafe_code)]

use super::frame::{CHECKSUM_BYTES, WIRE_BYTES};
use super::search::Limit;
use crate::dataplane::generator::Counts;
use crate::status::{FrameRate, RateLimit, Trial};

/// From this share on, percent, a link is full: clocks differ by less.
const FULL_PERCENT: f64 = 97.0;

/// Packets per second that fill a link.
pub(super) fn line_pps(line_mbps: u64, frame_bytes: u32) -> u64 {
    line_mbps * 1_000_000 / 8 / u64::from(frame_bytes + WIRE_BYTES)
}

/// What a trial with frames of this size comes to.
pub(super) fn trial(
    asked_pps: u64,
    seconds: u64,
    counts: &Counts,
    frame_bytes: u32,
    line_mbps: Option<u64>,
) -> Trial {
    let sent = counts.taken.unwrap_or(counts.made);
    let lost = sent.saturating_sub(counts.returned);
    let returned_bytes = counts.returned_bytes + u64::from(CHECKSUM_BYTES) * counts.returned;
    let (sent_gbps, returned_gbps) = (
        gbps(u64::from(frame_bytes) * sent, sent, seconds),
        gbps(returned_bytes, counts.returned, seconds),
    );
    Trial {
        asked_pps,
        seconds,
        offered: counts.made,
        sent: counts.taken,
        not_taken: counts.taken.map(|taken| counts.made.saturating_sub(taken)),
        returned: counts.returned,
        lost,
        loss_percent: percent(lost as f64, sent as f64),
        sent_pps: sent / seconds,
        returned_pps: counts.returned / seconds,
        sent_gbps,
        returned_gbps,
        line_percent: line_mbps
            .map(|mbps| percent(sent_gbps.max(returned_gbps), mbps as f64 / 1e3)),
    }
}

/// Gbit/s on the wire of so many bytes in so many frames.
fn gbps(bytes: u64, frames: u64, seconds: u64) -> f64 {
    let wire = bytes + u64::from(WIRE_BYTES) * frames;
    wire as f64 * 8.0 / seconds as f64 / 1e9
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        part / whole * 100.0
    } else {
        0.0
    }
}

/// What came of one frame size; `limit`: how its search ended, if it was one and did.
pub(super) fn frame_rate(
    frame_bytes: u32,
    trials: Vec<Trial>,
    loss_allowed_percent: f64,
    limit: Option<Limit>,
) -> FrameRate {
    let lossless =
        |trial: &&Trial| trial.loss_percent <= loss_allowed_percent && trial.returned > 0;
    let best = limit.and_then(|_| {
        let found = trials.iter().filter(lossless);
        found.max_by_key(|trial| trial.sent_pps)
    });
    let full = best.is_some_and(|trial| {
        trial
            .line_percent
            .is_some_and(|share| share >= FULL_PERCENT)
    });
    FrameRate {
        frame_bytes,
        throughput_pps: best.map(|trial| trial.sent_pps),
        limit: limit.map(|limit| match limit {
            Limit::Loss if full => RateLimit::Line,
            Limit::Loss => RateLimit::Loss,
            Limit::Generator => RateLimit::Generator,
            Limit::Line => RateLimit::Line,
        }),
        trials,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(made: u64, taken: Option<u64>, returned: u64) -> Counts {
        Counts {
            made,
            taken,
            returned,
            returned_bytes: returned * 116,
        }
    }

    #[test]
    fn line_rate_is_what_every_table_says() {
        for (mbps, frame, pps) in [
            (1_000, 64, 1_488_095),
            (10_000, 64, 14_880_952),
            (10_000, 1518, 812_743),
            (100_000, 512, 23_496_240),
        ] {
            assert_eq!(line_pps(mbps, frame), pps);
        }
    }

    #[test]
    fn what_the_driver_did_not_take_is_no_loss() {
        let found = trial(1_000, 2, &counts(2_000, Some(1_900), 1_900), 64, Some(1));
        assert_eq!((found.sent, found.not_taken), (Some(1_900), Some(100)));
        assert_eq!((found.lost, found.loss_percent), (0, 0.0));
        assert_eq!((found.sent_pps, found.returned_pps), (950, 950));
        assert!((found.sent_gbps - 950.0 * 84.0 * 8.0 / 1e9).abs() < 1e-9);
        // The way back is the fuller one: 120 bytes and 20 of the wire.
        assert!((found.returned_gbps - 950.0 * 140.0 * 8.0 / 1e9).abs() < 1e-9);
        assert!((found.line_percent.unwrap() - 106.4).abs() < 1e-9);
    }

    #[test]
    fn where_the_kernel_does_not_tell_everything_made_counts_as_sent() {
        let found = trial(1_000, 1, &counts(1_000, None, 750), 64, None);
        assert_eq!((found.sent, found.not_taken), (None, None));
        assert_eq!((found.lost, found.loss_percent), (250, 25.0));
        assert_eq!(found.line_percent, None);
    }

    #[test]
    fn nothing_sent_is_no_loss_and_no_throughput() {
        let found = trial(1_000, 1, &counts(1_000, Some(0), 0), 64, None);
        assert_eq!((found.lost, found.loss_percent), (0, 0.0));
        let rate = frame_rate(64, vec![found], 0.0, Some(Limit::Generator));
        assert_eq!(rate.throughput_pps, None);
    }

    #[test]
    fn the_throughput_is_the_best_rate_without_loss() {
        let run = |pps: u64, lost: u64| {
            trial(pps, 1, &counts(pps, Some(pps), pps - lost), 64, Some(1_000))
        };
        let trials = vec![run(1_000, 0), run(2_000, 0), run(4_000, 9), run(3_000, 1)];
        for (allowed, limit, expected, why) in [
            (0.0, Limit::Loss, Some(2_000), "none lost"),
            (0.1, Limit::Loss, Some(3_000), "1 of 3000 is allowed"),
            (0.5, Limit::Loss, Some(4_000), "9 of 4000 are allowed"),
        ] {
            let rate = frame_rate(64, trials.clone(), allowed, Some(limit));
            assert_eq!(rate.throughput_pps, expected, "{why}");
            assert_eq!(rate.limit, Some(RateLimit::Loss));
            let telling = rate.telling().unwrap();
            assert_eq!(Some(telling.sent_pps), expected, "{why}");
        }
        let twice = frame_rate(
            64,
            vec![run(2_000, 0), run(2_000, 7)],
            0.0,
            Some(Limit::Loss),
        );
        assert_eq!(
            twice.telling().unwrap().lost,
            0,
            "the one that lost nothing"
        );
        let given = frame_rate(64, trials, 0.0, None);
        assert_eq!((given.throughput_pps, given.limit), (None, None));
        assert_eq!(given.telling().unwrap().asked_pps, 3_000, "the last");
    }

    #[test]
    fn loss_on_a_full_link_is_the_links() {
        // 892,857 packets of 140 bytes on the way back are 1 Gbit/s.
        let full = trial(890_000, 1, &counts(890_000, None, 890_000), 64, Some(1_000));
        let rate = frame_rate(64, vec![full], 0.0, Some(Limit::Loss));
        assert_eq!(rate.limit, Some(RateLimit::Line));
    }
}
