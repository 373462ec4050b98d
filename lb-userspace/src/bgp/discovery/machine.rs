//! Who is taken for the peer on a link, and what is sent when. For one interface, from when it comes up until it goes down.

#![forbid(unsafe_code)]

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use super::message::Message;
use crate::bgp::fsm::Jitter;

/// Between advertisements while there is a session: routers look for theirs as often (FRR's default for such neighbors).
const INTERVAL: Duration = Duration::from_secs(10);
/// Between any two of them (MIN_DELAY_BETWEEN_RAS), and as long as there is no session: a router that comes up must hear of us soon.
const INTERVAL_MIN: Duration = Duration::from_secs(3);
/// A solicitation is answered after at most so long (MAX_RA_DELAY_TIME).
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// Solicitations for a start (MAX_RTR_SOLICITATIONS); later routers speak by themselves.
const SOLICITATIONS: u8 = 3;
/// Between them (RTR_SOLICITATION_INTERVAL).
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);
/// A router without a session that has said nothing for so long gives way to another one.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What an advertisement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It is from the peer, as before.
    Known,
    /// From now on the sender is the peer.
    Peer,
    /// A second router, which is not taken for the peer.
    Other,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Machine {
    peer: Option<(Ipv6Addr, Instant)>,
    advertised_at: Option<Instant>,
    advertise_at: Instant,
    solicitations: u8,
    solicit_at: Instant,
    jitter: Jitter,
}

impl Machine {
    /// Of an interface that has come up. `jitter` delays answers, of which those of several routers shall not collide.
    pub fn new(jitter: Jitter, now: Instant) -> Machine {
        Machine {
            peer: None,
            advertised_at: None,
            advertise_at: now,
            solicitations: SOLICITATIONS,
            solicit_at: now,
            jitter,
        }
    }

    /// A router has advertised itself; `session`: there is one with the peer. The first one is the peer, as long as it speaks or has a session.
    pub fn advertised(&mut self, source: Ipv6Addr, session: bool, now: Instant) -> News {
        let news = match self.peer {
            Some((peer, _)) if peer == source => News::Known,
            Some((_, heard_at)) if session || now < heard_at + SILENCE_MAX => return News::Other,
            Some(_) | None => News::Peer,
        };
        self.peer = Some((source, now));
        news
    }

    /// Somebody wants to know who is a router.
    pub fn solicited(&mut self, now: Instant) {
        let answer_at = now + self.jitter.apply(ANSWER_MAX);
        let earliest = self.advertised_at.map(|at| at + INTERVAL_MIN);
        let answer_at = earliest.map_or(answer_at, |earliest| answer_at.max(earliest));
        self.advertise_at = self.advertise_at.min(answer_at);
    }

    /// What is to be sent now.
    pub fn due(&mut self, session: bool, now: Instant) -> Vec<Message> {
        let mut due = Vec::new();
        if self.advertise_at <= now {
            due.push(Message::Advertisement);
            self.advertised_at = Some(now);
            self.advertise_at = now + if session { INTERVAL } else { INTERVAL_MIN };
        }
        if self.solicits() && self.solicit_at <= now {
            due.push(Message::Solicitation);
            self.solicitations -= 1;
            self.solicit_at = now + SOLICITATION_INTERVAL;
        }
        due
    }

    /// When something is to be sent next.
    pub fn deadline(&self) -> Instant {
        match self.solicits() {
            true => self.advertise_at.min(self.solicit_at),
            false => self.advertise_at,
        }
    }

    fn solicits(&self) -> bool {
        self.peer.is_none() && self.solicitations > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)
    }

    fn secs(secs: f64) -> Duration {
        Duration::from_secs_f64(secs)
    }

    /// When each was sent until `end`, in seconds from the start.
    fn sent(machine: &mut Machine, start: Instant, end: f64, session: bool) -> [Vec<f64>; 2] {
        let mut sent = [Vec::new(), Vec::new()];
        while machine.deadline() < start + secs(end) {
            let now = machine.deadline();
            let due = machine.due(session, now);
            assert!(!due.is_empty(), "a deadline without anything to do");
            for message in due {
                let at = (now - start).as_secs_f64();
                sent[usize::from(message == Message::Solicitation)].push(at);
            }
        }
        sent
    }

    #[test]
    fn rfc4861_6_3_7_three_solicitations_and_then_advertisements_alone() {
        let start = Instant::now();
        let mut machine = Machine::new(Jitter::new(7), start);
        let [advertisements, solicitations] = sent(&mut machine, start, 13.0, false);
        assert_eq!(advertisements, [0.0, 3.0, 6.0, 9.0, 12.0]);
        assert_eq!(solicitations, [0.0, 4.0, 8.0]);
    }

    #[test]
    fn a_peer_is_not_asked_for_and_hears_of_us_less_often_in_a_session() {
        let start = Instant::now();
        let mut machine = Machine::new(Jitter::new(7), start);
        assert_eq!(machine.due(false, start).len(), 2);
        assert_eq!(machine.advertised(router(1), false, start), News::Peer);
        let [advertisements, solicitations] = sent(&mut machine, start, 24.0, true);
        assert_eq!(advertisements, [3.0, 13.0, 23.0]);
        assert_eq!(solicitations, [0.0; 0]);
    }

    #[test]
    fn rfc4861_6_2_6_a_storm_of_solicitations_gets_an_answer_every_three_seconds() {
        let start = Instant::now();
        let mut machine = Machine::new(Jitter::new(7), start);
        machine.advertised(router(1), false, start);
        assert_eq!(machine.due(true, start), [Message::Advertisement]);
        machine.solicited(start + secs(5.0));
        let wait = machine.deadline() - start;
        assert!(wait <= secs(5.5), "sooner than by itself: {wait:?}");
        let mut advertisements = 0;
        for millisecond in 5_000..35_000 {
            let now = start + Duration::from_millis(millisecond);
            machine.solicited(now);
            advertisements += machine.due(true, now).len();
        }
        assert_eq!(advertisements, 10);
    }

    #[test]
    fn the_first_router_is_the_peer_as_long_as_it_speaks() {
        let start = Instant::now();
        let mut machine = Machine::new(Jitter::new(7), start);
        for (at, source, session, expected) in [
            (0.0, 1, false, News::Peer),
            (1.0, 2, false, News::Other),
            (20.0, 1, false, News::Known),
            (49.0, 2, false, News::Other),
            (50.0, 2, false, News::Peer),
            (51.0, 1, false, News::Other),
            (60.0, 2, false, News::Known),
            (600.0, 1, true, News::Other),
            (601.0, 1, false, News::Peer),
        ] {
            let news = machine.advertised(router(source), session, start + secs(at));
            assert_eq!(news, expected, "{source} at {at} s");
        }
    }
}
