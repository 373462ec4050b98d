//! Random sequences of inputs that a driver can report, against what must hold after each of them.

use std::time::{Duration, Instant};

use super::peer_tests::{IN, LOCAL, OUT, open, settings};
use super::*;
use crate::bgp::codec::{DecodeError, Message, Open};
use crate::bgp::notification::Notification;
use crate::bgp::route::Family;

const SEEDS: u64 = 10_000;
const STEPS: u32 = 50;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// What a driver has, and has done.
struct Driver {
    peer: Peer,
    passive: bool,
    now: Instant,
    started: bool,
    dialling: bool,
    /// By direction: the connection is there, and an OPEN was sent on it.
    links: [Option<bool>; 2],
    up: Option<Direction>,
    /// Sessions that there were.
    sessions: u32,
}

impl Driver {
    fn new(seed: u64) -> Driver {
        let passive = seed.is_multiple_of(5);
        let hold_time_secs = if seed.is_multiple_of(7) { 0 } else { 9 };
        let settings = Settings {
            passive,
            hold_time_secs,
            ..settings()
        };
        Driver {
            peer: Peer::new(settings, seed),
            passive,
            now: Instant::now(),
            started: false,
            dialling: false,
            links: [None; 2],
            up: None,
            sessions: 0,
        }
    }

    fn link(&mut self, direction: Direction) -> &mut Option<bool> {
        &mut self.links[usize::from(direction == IN)]
    }

    /// Something that may happen now.
    fn draw(&mut self, random: &mut Random) -> Input {
        let direction = [OUT, IN][random.below(2) as usize];
        let connected = self.link(direction).is_some();
        match random.below(20) {
            0 => Input::Start,
            1 if random.below(4) == 0 => Input::Stop(Notification::shutdown("bye")),
            2 => Input::RestartDone,
            3..=5 if self.dialling => {
                self.dialling = false;
                Input::Connected {
                    direction: OUT,
                    local: LOCAL,
                }
            }
            6 if self.dialling => {
                self.dialling = false;
                Input::Disconnected {
                    direction: OUT,
                    error: "refused".into(),
                }
            }
            7..=8 => Input::Connected {
                direction: IN,
                local: LOCAL,
            },
            9 if connected => Input::Disconnected {
                direction,
                error: "reset".into(),
            },
            10 if connected => Input::Sending {
                direction,
                pending: random.below(2) == 0,
                progress: random.below(2) == 0,
            },
            11..=17 if connected => Input::Received {
                direction,
                message: match random.below(4) {
                    0 => message(random),
                    _ => Ok(self.expected()),
                },
            },
            _ => {
                let due = self.peer.next_deadline().filter(|_| random.below(2) == 0);
                let later = self.now + Duration::from_millis(random.below(3000));
                self.now = due.map_or(later, |due| due.max(self.now));
                Input::Tick
            }
        }
    }

    /// What brings a peer on.
    fn expected(&self) -> Message {
        match self.peer.state() {
            State::OpenConfirm | State::Established => Message::Keepalive,
            State::Idle | State::Connect | State::Active | State::OpenSent => {
                Message::Open(open(20))
            }
        }
    }

    /// Reports it, and holds every action against what the driver has.
    fn step(&mut self, input: Input) {
        let tick = input == Input::Tick;
        let answered = match &input {
            Input::Received {
                direction,
                message: Ok(Message::Notification(_)),
            } => Some(*direction),
            _ => None,
        };
        match input {
            Input::Start => self.started = true,
            Input::Stop(_) => self.started = false,
            _ => {}
        }
        let mut closing = None;
        for action in self.peer.handle(input, self.now) {
            if let Some(direction) = closing.take() {
                assert_eq!(
                    action,
                    Action::Close(direction),
                    "a NOTIFICATION is the last word"
                );
            }
            match action {
                Action::Dial => {
                    assert!(!self.dialling && self.links[0].is_none() && !self.passive);
                    self.dialling = true;
                }
                // Also of one that has just failed.
                Action::CancelDial => self.dialling = false,
                Action::Adopt(direction) => {
                    assert_eq!(
                        self.link(direction).replace(false),
                        None,
                        "two in one place"
                    );
                }
                Action::Refuse(_) => {}
                Action::Send(direction, reply) => {
                    let opened = self.link(direction).as_mut().expect("sent on a connection");
                    match reply {
                        Reply::Open(_) => assert!(!std::mem::replace(opened, true), "OPEN twice"),
                        Reply::Keepalive => assert!(*opened, "OPEN comes first"),
                        Reply::Notification(_) => {
                            assert!(*opened, "OPEN comes first");
                            assert_ne!(answered, Some(direction), "answered a NOTIFICATION");
                            closing = Some(direction);
                        }
                    }
                }
                Action::Close(direction) => assert!(self.link(direction).take().is_some()),
                Action::Up(direction, _) => {
                    assert_eq!(self.up.replace(direction), None, "two sessions");
                    self.sessions += 1;
                }
                Action::Down(direction, _) => assert_eq!(self.up.take(), Some(direction)),
                Action::Failed(direction, _) => assert_ne!(self.up, Some(direction)),
                Action::Resend(_) => assert!(self.up.is_some()),
            }
        }
        assert_eq!(closing, None, "and then it is closed");
        self.check(tick);
    }

    fn check(&self, tick: bool) {
        let session = self.peer.session();
        assert_eq!(session.map(|(direction, _)| direction), self.up);
        assert_eq!(self.up.is_some(), self.peer.state() == State::Established);
        if self.up.is_some() {
            let links = self.links.iter().flatten().count();
            assert_eq!((links, self.dialling), (1, false), "the other one rests");
        }
        let deadline = self.peer.next_deadline();
        if tick {
            assert!(
                deadline.is_none_or(|at| at > self.now),
                "a timer that stays due"
            );
        }
        if !self.started {
            assert_eq!(
                (deadline, self.links, self.dialling),
                (None, [None; 2], false)
            );
            assert_eq!(self.peer.state(), State::Idle);
        }
        let silent = session.is_some_and(|(_, negotiated)| negotiated.hold_time.is_zero())
            || self.links.iter().flatten().count() > 0;
        if self.started && !self.passive && !silent {
            assert!(deadline.is_some(), "nothing would ever happen again");
        }
    }
}

fn message(random: &mut Random) -> Result<Message, DecodeError> {
    Ok(match random.below(16) {
        0..=4 => Message::Open(open(if random.below(2) == 0 { 5 } else { 20 })),
        5..=10 => Message::Keepalive,
        11 => Message::Update,
        12 => Message::RouteRefresh(Some(Family::Ipv4)),
        13 => Message::Notification(Notification::new(
            random.below(9) as u8,
            random.below(9) as u8,
        )),
        14 => Message::Open(Open {
            asn: 65009,
            ..open(20)
        }),
        _ => {
            return Err(match random.below(3) {
                0 => DecodeError::Header(Notification::new(1, 1)),
                1 => DecodeError::Open(Notification::new(2, 4)),
                _ => DecodeError::Update(Notification::new(3, 1)),
            });
        }
    })
}

#[test]
fn any_sequence_of_inputs_keeps_what_must_hold() {
    let mut sessions = 0;
    for seed in 0..SEEDS {
        let mut driver = Driver::new(seed);
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut run = || {
            driver.step(Input::Start);
            for _ in 0..STEPS {
                let input = driver.draw(&mut random);
                driver.step(input);
            }
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut run));
        assert!(result.is_ok(), "seed {seed}");
        sessions += u64::from(driver.sessions);
    }
    assert!(
        sessions > SEEDS * 3 / 4,
        "most must come to a session: {sessions}"
    );
}
