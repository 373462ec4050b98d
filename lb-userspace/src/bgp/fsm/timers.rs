//! Timers as points in time, their jitter, and the back-off between attempts.

use std::time::{Duration, Instant};

use crate::bgp::notification::{code, subcode};

use super::event::{Event, Reason};

/// Time in which a TCP connection must come about (ConnectRetryTime). RFC 4271 suggests 120 s; a lost SYN or a link
/// that has just come back should not cost a node two minutes.
pub(super) const CONNECT_RETRY: Duration = Duration::from_secs(5);

/// Hold time until the peer's OPEN is there; RFC 4271 says "a large value" and suggests 240 s.
pub(super) const OPEN_HOLD: Duration = Duration::from_secs(60);

/// A session that has lasted this long was no failure.
pub(super) const STABLE: Duration = Duration::from_secs(10);

const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The peer does not answer: a try costs nobody anything.
const BACKOFF_PATH_MAX: Duration = Duration::from_secs(5);
/// The peer answers and disagrees: only a person can change that.
const BACKOFF_PROTOCOL_MAX: Duration = Duration::from_secs(60);

/// See [`send_hold`].
pub(in crate::bgp) const SEND_HOLD_MIN: Duration = Duration::from_secs(20);

/// The send hold time for a negotiated hold time; none without one. RFC 9687 suggests at least 8 minutes, in which a
/// peer that takes no data would keep a withdrawn route: too long for a load balancer.
pub(super) fn send_hold(hold_time: Duration) -> Option<Duration> {
    (!hold_time.is_zero()).then(|| (hold_time * 2).max(SEND_HOLD_MIN))
}

/// The timers of one connection; those that are not running are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Timers {
    pub connect_retry: Option<Instant>,
    pub idle_hold: Option<Instant>,
    pub hold: Option<Instant>,
    pub keepalive: Option<Instant>,
    pub send_hold: Option<Instant>,
}

impl Timers {
    /// The next of them.
    pub fn next(&self) -> Option<Instant> {
        [
            self.connect_retry,
            self.idle_hold,
            self.hold,
            self.keepalive,
            self.send_hold,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Stops one that has expired and says which; those that end a connection before those that only send.
    pub fn take_expired(&mut self, now: Instant) -> Option<Event> {
        let order = [
            (&mut self.hold, Event::HoldTimerExpires),
            (&mut self.send_hold, Event::SendHoldTimerExpires),
            (&mut self.connect_retry, Event::ConnectRetryTimerExpires),
            (&mut self.idle_hold, Event::IdleHoldTimerExpires),
            (&mut self.keepalive, Event::KeepaliveTimerExpires),
        ];
        for (timer, event) in order {
            if timer.is_some_and(|at| at <= now) {
                *timer = None;
                return Some(event);
            }
        }
        None
    }
}

/// Randomness of timers (RFC 4271 section 10): 0.75 to 1 times what they say.
#[derive(Clone, Debug)]
pub(in crate::bgp) struct Jitter(u64);

impl Jitter {
    pub fn new(seed: u64) -> Jitter {
        // Xorshift has the one fixed point 0.
        Jitter(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn apply(&mut self, duration: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        duration * (768 + (self.0 >> 32) as u32 % 257) / 1024
    }
}

/// Failures in a row, by their kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    path: u32,
    protocol: u32,
}

impl Backoff {
    /// Forgets them.
    pub fn reset(&mut self) {
        *self = Backoff::default();
    }

    /// Counts a failure and says how long to wait, before jitter.
    pub fn after(&mut self, reason: &Reason) -> Duration {
        match kind(reason) {
            Kind::None => BACKOFF_MIN,
            Kind::Path => grow(&mut self.path, BACKOFF_PATH_MAX),
            Kind::Protocol => grow(&mut self.protocol, BACKOFF_PROTOCOL_MAX),
        }
    }
}

fn grow(failures: &mut u32, max: Duration) -> Duration {
    let delay = BACKOFF_MIN * (1 << (*failures).min(16));
    *failures = failures.saturating_add(1);
    delay.min(max)
}

enum Kind {
    None,
    Path,
    Protocol,
}

fn kind(reason: &Reason) -> Kind {
    match reason {
        Reason::Stopped | Reason::Collision => Kind::None,
        Reason::HoldTimerExpired
        | Reason::SendHoldTimerExpired
        | Reason::PathFailed
        | Reason::TcpFailed(_) => Kind::Path,
        Reason::NotificationReceived(n) => match (n.code, n.subcode) {
            (code::CEASE, subcode::COLLISION) => Kind::None,
            (code::CEASE, subcode::ADMINISTRATIVE_RESET) | (code::HOLD_TIMER, _) => Kind::Path,
            _ => Kind::Protocol,
        },
        Reason::NotificationSent(_) => Kind::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bgp::notification::Notification;

    #[test]
    fn rfc4271_10_jitter_stays_within_its_bounds_and_uses_them() {
        let second = Duration::from_secs(1);
        for seed in 0..100 {
            let mut jitter = Jitter::new(seed);
            let drawn: Vec<Duration> = (0..1000).map(|_| jitter.apply(second)).collect();
            assert!(drawn.iter().all(|d| *d >= second * 3 / 4 && *d <= second));
            assert!(
                drawn.iter().any(|d| *d < second * 77 / 100)
                    && drawn.iter().any(|d| *d > second * 98 / 100)
            );
        }
    }

    #[test]
    fn back_off_doubles_to_its_limit() {
        let mut backoff = Backoff::default();
        let refused = Reason::TcpFailed("connection refused".into());
        let delays: Vec<u64> = (0..5).map(|_| backoff.after(&refused).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        let bad_as = Reason::NotificationReceived(Notification::new(2, 2));
        let delays: Vec<u64> = (0..8).map(|_| backoff.after(&bad_as).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
        for _ in 0..100 {
            assert_eq!(backoff.after(&bad_as).as_secs(), 60);
        }
        assert_eq!(
            backoff.after(&Reason::Collision).as_secs(),
            1,
            "a collision is nobody's fault"
        );
        backoff.reset();
        assert_eq!(backoff.after(&bad_as).as_secs(), 1);
    }

    #[test]
    fn expired_timers_come_once() {
        let now = Instant::now();
        let mut timers = Timers {
            hold: Some(now),
            keepalive: Some(now),
            connect_retry: Some(now + STABLE),
            ..Default::default()
        };
        assert_eq!(timers.next(), Some(now));
        assert_eq!(timers.take_expired(now), Some(Event::HoldTimerExpires));
        assert_eq!(timers.take_expired(now), Some(Event::KeepaliveTimerExpires));
        assert_eq!(timers.take_expired(now), None);
        assert_eq!(timers.next(), Some(now + STABLE));
    }
}
