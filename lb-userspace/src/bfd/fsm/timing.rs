//! Intervals, and how a change of them becomes good (RFC 5880 sections 6.8.2 to 6.8.4).

use std::time::Duration;

use super::remote::Remote;
use super::state::State;

/// What the user wants of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// We send no faster; above zero.
    pub desired_min_tx: Duration,
    /// We take no more; above zero.
    pub required_min_rx: Duration,
    /// The peer gives us up once so many packets in a row are missing; at least 1.
    pub multiplier: u8,
}

impl Settings {
    /// The same interval both ways.
    pub const fn symmetric(interval: Duration, multiplier: u8) -> Settings {
        Settings {
            desired_min_tx: interval,
            required_min_rx: interval,
            multiplier,
        }
    }
}

/// A session that is not Up sends no faster (section 6.8.3).
pub(super) const IDLE_INTERVAL: Duration = Duration::from_secs(1);

/// The two intervals that our packets state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Intervals {
    pub desired_min_tx: Duration,
    pub required_min_rx: Duration,
}

impl Intervals {
    fn wanted(settings: &Settings, state: State) -> Intervals {
        let idle = match state {
            State::AdminDown | State::Down | State::Init => IDLE_INTERVAL,
            State::Up => Duration::ZERO,
        };
        Intervals {
            desired_min_tx: settings.desired_min_tx.max(idle),
            required_min_rx: settings.required_min_rx,
        }
    }
}

/// The intervals on their way: those that packets state, and those that the peer is known to go by.
///
/// While they differ a Poll Sequence is under way. Until the peer has answered it, we send no slower than before and
/// expect nothing faster than before. A session that is not Up does not poll: the poll that begins with Up covers all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    stated: Intervals,
    known: Intervals,
}

impl Timing {
    pub fn new(settings: &Settings) -> Timing {
        let wanted = Intervals::wanted(settings, State::Down);
        Timing {
            stated: wanted,
            known: wanted,
        }
    }

    /// A Poll Sequence is under way.
    pub fn polls(&self) -> bool {
        self.stated != self.known
    }

    /// What packets say.
    pub fn stated(&self) -> Intervals {
        self.stated
    }

    /// Follows settings and state; a poll that is under way is finished first. True: a poll begins.
    pub fn follow(&mut self, settings: &Settings, state: State) -> bool {
        let wanted = Intervals::wanted(settings, state);
        if state != State::Up {
            self.stated = wanted;
            self.known = wanted;
            return false;
        }
        if self.polls() {
            return false;
        }
        self.stated = wanted;
        self.polls()
    }

    /// The peer has answered the poll.
    pub fn answered(&mut self) {
        self.known = self.stated;
    }

    /// Time between our packets, before jitter (section 6.8.2).
    pub fn transmit_interval(&self, remote: &Remote) -> Duration {
        let desired = self.stated.desired_min_tx.min(self.known.desired_min_tx);
        desired.max(remote.required_min_rx)
    }

    /// Time without a packet after which the peer is gone, by its multiplier (section 6.8.4).
    pub fn detection_time(&self, remote: &Remote) -> Duration {
        let required = self.stated.required_min_rx.max(self.known.required_min_rx);
        required.max(remote.desired_min_tx) * u32::from(remote.multiplier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn settings(tx_ms: u32, rx_ms: u32) -> Settings {
        Settings {
            desired_min_tx: MS * tx_ms,
            required_min_rx: MS * rx_ms,
            multiplier: 3,
        }
    }

    fn fast_peer() -> Remote {
        Remote {
            desired_min_tx: MS * 10,
            required_min_rx: MS * 10,
            multiplier: 3,
            ..Remote::UNKNOWN
        }
    }

    /// What is in use: interval between our packets, detection time; in milliseconds.
    fn in_use(timing: &Timing) -> (u128, u128) {
        let peer = fast_peer();
        let (tx, detection) = (
            timing.transmit_interval(&peer),
            timing.detection_time(&peer),
        );
        (tx.as_millis(), detection.as_millis())
    }

    #[test]
    fn slower_waits_for_the_answer_and_faster_does_not() {
        let mut timing = Timing::new(&settings(100, 100));
        assert_eq!(in_use(&timing), (1000, 300), "one second while not Up");
        assert!(timing.follow(&settings(100, 100), State::Up));
        assert_eq!(
            in_use(&timing),
            (100, 300),
            "sending faster needs no answer"
        );
        timing.answered();
        let steps = [
            ("both slower", (300, 400), (100, 1200), (300, 1200)),
            ("both faster", (200, 50), (200, 1200), (200, 150)),
            ("sending slower", (900, 50), (200, 150), (900, 150)),
            ("taking less", (900, 80), (900, 240), (900, 240)),
        ];
        for (about, (tx, rx), before, after) in steps {
            assert!(timing.follow(&settings(tx, rx), State::Up), "{about}");
            assert_eq!(in_use(&timing), before, "{about}, before the answer");
            timing.answered();
            assert_eq!(in_use(&timing), after, "{about}, after it");
        }
    }

    #[test]
    fn a_poll_states_the_same_to_its_end() {
        let mut timing = Timing::new(&settings(100, 100));
        assert!(timing.follow(&settings(100, 100), State::Up));
        assert!(!timing.follow(&settings(500, 500), State::Up));
        assert_eq!(timing.stated().required_min_rx, MS * 100);
        timing.answered();
        assert!(timing.follow(&settings(500, 500), State::Up));
        assert_eq!(timing.stated().required_min_rx, MS * 500);
    }

    #[test]
    fn going_down_ends_the_poll_and_states_a_second() {
        let mut timing = Timing::new(&settings(100, 100));
        timing.follow(&settings(100, 100), State::Up);
        assert!(!timing.follow(&settings(100, 100), State::Down));
        assert!(!timing.polls());
        assert_eq!(timing.stated().desired_min_tx, IDLE_INTERVAL);
        timing.follow(&settings(2000, 100), State::Down);
        assert_eq!(timing.stated().desired_min_tx, MS * 2000);
    }

    #[test]
    fn the_slower_side_decides() {
        let timing = Timing::new(&settings(100, 100));
        let slow = Remote {
            required_min_rx: MS * 3000,
            desired_min_tx: MS * 5000,
            multiplier: 2,
            ..Remote::UNKNOWN
        };
        assert_eq!(timing.transmit_interval(&slow), MS * 3000);
        assert_eq!(timing.detection_time(&slow), MS * 10_000);
    }
}
