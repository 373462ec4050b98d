//! Rules of RFC 5880 one by one, and random operations against what holds always.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use lb_oracle::dice::Dice;

use super::testing::{MS, OURS, THEIRS, from_peer};
use super::watch::Watch;
use super::*;
use crate::bfd::diagnostic::Diagnostic;
use crate::bfd::packet::ControlPacket;

/// A session at 100 ms x 3 with a clock, and what it has sent.
struct Bench {
    session: Session,
    now: Instant,
    sent: Vec<(Instant, ControlPacket)>,
}

impl Bench {
    fn new(settings: Settings) -> Bench {
        let now = Instant::now();
        let session = Session::new(settings, OURS, 7, now);
        Bench {
            session,
            now,
            sent: Vec::new(),
        }
    }

    fn up(settings: Settings) -> Bench {
        let mut bench = Bench::new(settings);
        bench.hear(from_peer(State::Init));
        assert_eq!(bench.session.state(), State::Up);
        bench
    }

    fn feed(&mut self, input: Input) -> Vec<Action> {
        let actions = self.session.handle(input, self.now);
        for action in &actions {
            if let Action::Send(packet) = action {
                self.sent.push((self.now, *packet));
            }
        }
        actions
    }

    fn hear(&mut self, packet: ControlPacket) {
        self.feed(Input::Received(packet));
    }

    /// Ticks at every deadline up to `duration` from now, hearing `packet` every 50 ms; returns what was sent.
    fn run(&mut self, duration: Duration, packet: Option<ControlPacket>) -> Vec<ControlPacket> {
        self.sent.clear();
        let end = self.now + duration;
        let mut next = self.now;
        while self.now < end {
            let deadline = self.session.next_deadline().unwrap_or(end);
            self.now = deadline.max(self.now).min(next).min(end);
            if let (Some(packet), true) = (packet, self.now >= next) {
                self.hear(packet);
                next = self.now + 50 * MS;
            } else if packet.is_none() {
                next = end;
            }
            self.feed(Input::Tick);
        }
        self.sent.iter().map(|(_, packet)| *packet).collect()
    }
}

const FAST: Settings = Settings::symmetric(Duration::from_millis(100), 3);

fn answer(state: State) -> ControlPacket {
    ControlPacket {
        is_final: true,
        ..from_peer(state)
    }
}

/// Section 6.8.3: at most one packet a second while not Up, and we say so.
#[test]
fn a_second_while_not_up() {
    let mut bench = Bench::new(FAST);
    let sent = bench.run(Duration::from_secs(20), None);
    assert!((20..=27).contains(&sent.len()), "{}", sent.len());
    for packet in sent {
        assert_eq!(packet.desired_min_tx, Duration::from_secs(1));
        assert_eq!(packet.required_min_rx, 100 * MS);
        assert_eq!(packet.your_discriminator, None);
        assert!(packet.control_plane_independent && !packet.poll && !packet.demand);
    }
}

/// Section 6.8.7.
#[test]
fn intervals_have_jitter() {
    for (multiplier, most) in [(3, 100 * MS), (1, 90 * MS)] {
        let mut bench = Bench::up(Settings::symmetric(100 * MS, multiplier));
        bench.hear(answer(State::Up));
        bench.run(Duration::from_secs(30), Some(from_peer(State::Up)));
        let gaps: Vec<Duration> = bench.sent.windows(2).map(|w| w[1].0 - w[0].0).collect();
        let (least, longest) = (gaps.iter().min(), gaps.iter().max());
        assert!(
            least >= Some(&(75 * MS)) && least < Some(&(77 * MS)),
            "{least:?}"
        );
        assert!(
            longest <= Some(&most) && longest > Some(&(most - 2 * MS)),
            "{longest:?}"
        );
    }
}

/// Section 6.5: from Up on every packet polls until one is answered.
#[test]
fn polls_until_answered() {
    let mut bench = Bench::up(FAST);
    let sent = bench.run(Duration::from_secs(1), Some(from_peer(State::Up)));
    assert!(sent.len() > 9 && sent.iter().all(|packet| packet.poll));
    bench.hear(answer(State::Up));
    let sent = bench.run(Duration::from_secs(1), Some(from_peer(State::Up)));
    assert!(sent.len() > 9 && !sent.iter().any(|packet| packet.poll));
}

/// An answer never polls, says what packets say, and is no reason to be late with the next packet.
#[test]
fn answers_polls_at_once() {
    let mut bench = Bench::up(FAST);
    bench.sent.clear();
    let deadline = bench.session.next_deadline();
    bench.hear(ControlPacket {
        poll: true,
        ..from_peer(State::Up)
    });
    let (_, sent) = bench.sent[0];
    assert!(sent.is_final && !sent.poll);
    assert_eq!(sent.desired_min_tx, 100 * MS);
    assert_eq!(bench.sent.len(), 1);
    assert!(bench.session.next_deadline() <= deadline);
}

#[test]
fn answers_polls_with_the_next_packet_while_held_down() {
    let mut bench = Bench::up(FAST);
    bench.sent.clear();
    bench.feed(Input::Forwarding(false));
    let said = |sent: &[(Instant, ControlPacket)]| -> Vec<(State, bool)> {
        let said = sent.iter().map(|(_, sent)| (sent.state, sent.is_final));
        said.collect()
    };
    assert_eq!(said(&bench.sent), [(State::Down, false)], "at once");
    let poll = ControlPacket {
        poll: true,
        ..from_peer(State::Down)
    };
    assert_eq!(bench.run(700 * MS, Some(poll)), []);
    let next = bench.run(350 * MS, Some(poll));
    assert_eq!((next[0].state, next[0].is_final), (State::Down, true));
    assert_eq!(next.len(), 1);
    let last = bench.run(1000 * MS, None);
    assert!(last.iter().all(|packet| packet.state == State::Down));
    bench.feed(Input::Forwarding(true));
    bench.sent.clear();
    bench.hear(poll);
    assert_eq!(said(&bench.sent), [(State::Init, true)]);
}

/// Section 6.8.7: a peer that takes nothing periodic is still told of changes.
#[test]
fn a_peer_that_wants_nothing() {
    let deaf = ControlPacket {
        required_min_rx: Duration::ZERO,
        ..from_peer(State::Up)
    };
    let mut bench = Bench::up(FAST);
    bench.hear(deaf);
    assert_eq!(bench.run(Duration::from_secs(5), Some(deaf)), []);
    bench.feed(Input::Disable);
    assert_eq!(bench.sent.len(), 1);
    let mut bench = Bench::up(FAST);
    bench.hear(deaf);
    bench.run(Duration::from_secs(1), None);
    assert_eq!(bench.session.state(), State::Down);
    let sent = bench.run(Duration::from_secs(5), None);
    assert!(!sent.is_empty(), "one that begins anew must hear of us");
}

/// Section 6.6: nothing periodic to a peer in demand mode, but polls and their answers.
#[test]
fn a_peer_in_demand_mode() {
    let demand = ControlPacket {
        demand: true,
        ..from_peer(State::Up)
    };
    let mut bench = Bench::up(FAST);
    bench.hear(demand);
    let sent = bench.run(Duration::from_secs(1), Some(demand));
    assert!(sent.len() > 9, "the poll goes on");
    bench.hear(ControlPacket {
        is_final: true,
        ..demand
    });
    assert_eq!(bench.run(Duration::from_secs(1), Some(demand)), []);
    bench.hear(ControlPacket {
        poll: true,
        ..demand
    });
    assert_eq!(bench.sent.len(), 1);
    bench.run(Duration::from_secs(1), None);
    assert_eq!(bench.session.state(), State::Down, "we still detect");
    let sent = bench.run(Duration::from_secs(5), None);
    assert!(sent.len() >= 5, "demand mode is for sessions that are Up");
}

/// Section 6.8.4: the peer's multiplier, and the slower of what we take and it sends.
#[test]
fn detection_time() {
    for (multiplier, tx_ms, expected_ms) in [
        (3, 100, 300),
        (5, 100, 500),
        (3, 200, 600),
        (2, 1, 200),
        (255, 100, 25_500),
    ] {
        let mut bench = Bench::up(Settings::symmetric(100 * MS, 50));
        bench.hear(ControlPacket {
            multiplier,
            desired_min_tx: MS * tx_ms,
            is_final: true,
            ..from_peer(State::Up)
        });
        let expected = MS * expected_ms;
        assert_eq!(bench.session.detection_time(), Some(expected));
        bench.run(expected - MS, None);
        assert_eq!(bench.session.state(), State::Up);
        bench.run(MS, None);
        assert_eq!(bench.session.state(), State::Down);
        assert_eq!(
            bench.session.diagnostic(),
            Diagnostic::DETECTION_TIME_EXPIRED
        );
    }
}

/// RFC 5882 section 4.3 asks for it when the session is gone.
#[test]
fn what_the_peer_said_of_its_control_plane_outlives_it() {
    let mut bench = Bench::up(FAST);
    bench.hear(ControlPacket {
        control_plane_independent: true,
        ..from_peer(State::Up)
    });
    bench.now += Duration::from_secs(1);
    let actions = bench.feed(Input::Tick);
    let told = actions.iter().find_map(|action| match action {
        Action::Changed(change) => Some(change),
        Action::Send(_) => None,
    });
    let remote = told.expect("it is Down").remote;
    assert!(remote.control_plane_independent);
    assert_eq!((remote.discriminator, remote.state), (None, State::Down));
}

/// The operator's word of the other side is to be told from a failure.
#[test]
fn the_peers_admin_down_is_told() {
    let mut bench = Bench::up(FAST);
    let actions = bench.feed(Input::Received(from_peer(State::AdminDown)));
    let Some(Action::Changed(change)) = actions.first() else {
        panic!("{actions:?}")
    };
    assert_eq!(
        (change.to, change.remote.state),
        (State::Down, State::AdminDown)
    );
}

#[test]
fn a_peer_that_has_begun_anew_is_followed() {
    let mut bench = Bench::up(FAST);
    let other = NonZeroU32::new(99).expect("not zero");
    bench.hear(ControlPacket {
        my_discriminator: other,
        your_discriminator: None,
        ..from_peer(State::Down)
    });
    assert_eq!(bench.session.state(), State::Down);
    assert_eq!(
        bench.sent.last().expect("sent").1.your_discriminator,
        Some(other)
    );
    bench.hear(ControlPacket {
        my_discriminator: other,
        ..from_peer(State::Down)
    });
    assert_eq!(bench.session.state(), State::Init);
}

#[test]
fn enabling_forgets_who_was_there_before() {
    let mut bench = Bench::up(FAST);
    bench.feed(Input::Disable);
    let told = bench.sent.last().expect("sent").1;
    assert_eq!(
        (told.state, told.your_discriminator),
        (State::AdminDown, Some(THEIRS))
    );
    bench.feed(Input::Enable);
    let told = bench.sent.last().expect("sent").1;
    assert_eq!((told.state, told.your_discriminator), (State::Down, None));
}

#[test]
fn random_operations() {
    let (mut ups, mut sent) = (0, 0);
    for seed in 0..3000 {
        let mut dice = Dice::of(seed, 0);
        let mut watch = Watch::new(FAST, Instant::now());
        for _ in 0..200 {
            sent += watch.step(&mut dice);
            ups += usize::from(watch.state() == State::Up);
        }
    }
    assert!(ups > 50_000 && sent > 100_000, "{ups} {sent}");
}

/// However fast it is driven, a session sends no faster than its peer takes, but answers and changes.
#[test]
fn no_faster_than_the_peer_takes() {
    let mut bench = Bench::up(FAST);
    let slow = ControlPacket {
        required_min_rx: 400 * MS,
        is_final: true,
        ..from_peer(State::Up)
    };
    bench.hear(slow);
    let sent = bench.run(Duration::from_secs(40), Some(slow));
    assert!((100..=134).contains(&sent.len()), "{}", sent.len());
}
