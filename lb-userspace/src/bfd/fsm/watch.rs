//! Any operations on a session, and what holds whatever happens, seen from outside.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use lb_oracle::dice::Dice;

use super::testing::{MS, OURS, THEIRS, from_peer};
use super::*;
use crate::bfd::packet::{ControlPacket, LENGTH};

/// A session, and what is known of it without looking into it.
pub(crate) struct Watch {
    session: Session,
    now: Instant,
    state: State,
    forwarding: bool,
    heard_at: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(settings: Settings, now: Instant) -> Watch {
        Watch {
            session: Session::new(settings, OURS, 7, now),
            now,
            state: State::Down,
            forwarding: true,
            heard_at: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Time passes and something happens; how many actions followed.
    pub(crate) fn step(&mut self, dice: &mut Dice<'_>) -> usize {
        self.now += MS * dice.pick(&[0, 1, 20, 100, 400]);
        let input = any_input(dice);
        let actions = self.session.handle(input, self.now);
        self.check(input, &actions);
        actions.len()
    }

    fn check(&mut self, input: Input, actions: &[Action]) {
        assert!(actions.len() <= 4, "{actions:?}");
        match input {
            Input::Forwarding(works) => self.forwarding = works,
            Input::Received(_) if self.session.state() != State::AdminDown => {
                self.heard_at = Some(self.now)
            }
            _ => {}
        }
        for action in actions {
            match action {
                Action::Changed(change) => {
                    assert_eq!(change.from, self.state);
                    assert_ne!(change.from, change.to);
                    let possible = match (change.from, change.to) {
                        (State::AdminDown, to) => to == State::Down && input == Input::Enable,
                        (_, State::AdminDown) => input == Input::Disable,
                        (State::Up, State::Init) => false,
                        _ => true,
                    };
                    assert!(possible, "{change:?}");
                    self.state = change.to;
                }
                Action::Send(packet) => self.check_packet(packet),
            }
        }
        assert_eq!(self.session.state(), self.state, "a change was not told");
        let live = matches!(self.state, State::Init | State::Up);
        assert!(!live || self.forwarding);
        assert!(!live || self.session.remote().discriminator.is_some());
        if input == Input::Tick {
            assert!(
                self.session.next_deadline() > Some(self.now)
                    || self.session.next_deadline().is_none()
            );
            let heard = self.heard_at.zip(self.session.detection_time());
            assert!(!live || heard.is_some_and(|(at, detection)| at + detection > self.now));
        }
    }

    fn check_packet(&self, packet: &ControlPacket) {
        assert_eq!(ControlPacket::decode(&packet.encode()), Ok(*packet));
        assert_eq!(packet.my_discriminator, OURS);
        assert_eq!(packet.state, self.session.state());
        assert!(!(packet.poll && packet.is_final), "section 6.5");
        assert!(packet.control_plane_independent && !packet.demand);
        let idle = packet.state != State::Up;
        assert!(!idle || packet.desired_min_tx >= Duration::from_secs(1));
        assert!(!idle || !packet.poll);
    }
}

fn any_packet(dice: &mut Dice<'_>) -> ControlPacket {
    let intervals = [0, 1, 10, 100, 100, 1000, 4_294_967].map(|ms| MS * ms);
    ControlPacket {
        poll: dice.once_in(5),
        is_final: dice.once_in(5),
        demand: dice.once_in(10),
        control_plane_independent: dice.once_in(2),
        multiplier: dice.pick(&[1, 2, 3, 3, 3, 255]),
        my_discriminator: dice.pick(&[THEIRS, THEIRS, NonZeroU32::MAX]),
        desired_min_tx: dice.pick(&intervals),
        required_min_rx: dice.pick(&intervals),
        ..from_peer(dice.pick(&[
            State::AdminDown,
            State::Down,
            State::Init,
            State::Up,
            State::Up,
            State::Up,
        ]))
    }
}

fn any_input(dice: &mut Dice<'_>) -> Input {
    match dice.below(40) {
        0 => Input::Enable,
        1 => Input::Disable,
        2 => Input::Forwarding(false),
        3 | 4 => Input::Forwarding(true),
        5 => Input::Enable,
        6 => Input::Configure(Settings {
            desired_min_tx: dice.pick(&[50 * MS, 300 * MS, 3000 * MS]),
            required_min_rx: dice.pick(&[50 * MS, 300 * MS, 3000 * MS]),
            multiplier: dice.pick(&[1, 3, 50]),
        }),
        7..=20 => Input::Tick,
        21 => match ControlPacket::decode(&dice.bytes(LENGTH)) {
            Ok(packet) => Input::Received(packet),
            Err(_) => Input::Tick,
        },
        _ => Input::Received(any_packet(dice)),
    }
}
