//! What a driver has, and what must hold after each of its reports.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use lb_oracle::dice::Dice;

use super::testing::{IN, LOCAL, OUT, open, settings};
use super::*;
use crate::bgp::codec::{Capabilities, DecodeError, GracefulRestartCapability, Message, Open};
use crate::bgp::notification::Notification;
use crate::bgp::route::Family;

/// What a driver has, and has done.
pub(crate) struct Driver {
    peer: Peer,
    passive: bool,
    now: Instant,
    started: bool,
    dialling: bool,
    /// By direction: the connection is there, and an OPEN was sent on it.
    links: [Option<bool>; 2],
    up: Option<Direction>,
    /// Sessions that there were.
    pub(crate) sessions: u32,
}

impl Driver {
    /// Of a peer with any settings, before its start.
    pub(crate) fn new(dice: &mut Dice<'_>, now: Instant) -> Driver {
        let passive = dice.once_in(5);
        let settings = Settings {
            passive,
            hold_time_secs: if dice.once_in(7) { 0 } else { 9 },
            ..settings()
        };
        Driver {
            peer: Peer::new(settings, u64::from(dice.byte())),
            passive,
            now,
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
    pub(crate) fn draw(&mut self, dice: &mut Dice<'_>) -> Input {
        let direction = [OUT, IN][dice.below(2)];
        let connected = self.link(direction).is_some();
        match dice.below(20) {
            0 if dice.once_in(4) => Input::PathFailed,
            0 => Input::Start,
            1 if dice.below(4) == 0 => Input::Stop(Notification::shutdown("bye")),
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
                pending: dice.below(2) == 0,
                progress: dice.below(2) == 0,
            },
            11..=17 if connected => Input::Received {
                direction,
                message: match dice.below(4) {
                    0 => message(dice),
                    _ => Ok(self.expected()),
                },
            },
            _ => {
                let due = self.peer.next_deadline().filter(|_| dice.below(2) == 0);
                let later = self.now + Duration::from_millis(dice.below(3000) as u64);
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
    pub(crate) fn step(&mut self, input: Input) {
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

fn message(dice: &mut Dice<'_>) -> Result<Message, DecodeError> {
    Ok(match dice.below(16) {
        0..=2 => Message::Open(open(dice.pick(&[5, 20]))),
        3..=4 => Message::Open(any_open(dice)),
        5..=10 => Message::Keepalive,
        11 => Message::Update,
        12 => Message::RouteRefresh(dice.pick(&[None, Some(Family::Ipv4), Some(Family::Ipv6)])),
        13 => Message::Notification(Notification::new(dice.below(9) as u8, dice.below(9) as u8)),
        14 => Message::Open(Open {
            asn: 65009,
            ..open(20)
        }),
        _ => {
            return Err(match dice.below(3) {
                0 => DecodeError::Header(Notification::new(1, 1)),
                1 => DecodeError::Open(Notification::new(2, 4)),
                _ => DecodeError::Update(Notification::new(3, 1)),
            });
        }
    })
}

/// Acceptable or not.
fn any_open(dice: &mut Dice<'_>) -> Open {
    let last = dice.pick(&[0, 5, 10, 20, 255]);
    let families = dice.pick(&[
        &[][..],
        &[Family::Ipv4],
        &[Family::Ipv6],
        &[Family::Ipv4, Family::Ipv6],
    ]);
    let restart = GracefulRestartCapability {
        restarting: dice.once_in(2),
        restart_time_secs: 120,
        families: families.iter().map(|family| (*family, true)).collect(),
    };
    Open {
        asn: dice.pick(&[65000, 0, 65001, 23456, 4_200_000_001]),
        hold_time_secs: dice.pick(&[9, 0, 1, 2, 3, u16::MAX]),
        identifier: dice.pick(&[open(last).identifier, Ipv4Addr::UNSPECIFIED]),
        capabilities: Capabilities {
            families: families.iter().copied().collect(),
            other_families: dice.once_in(4),
            route_refresh: dice.once_in(2),
            four_octet_as: dice.once_in(2),
            extended_next_hop: dice.once_in(2),
            graceful_restart: dice.once_in(2).then_some(restart),
            others: BTreeSet::new(),
        },
    }
}
