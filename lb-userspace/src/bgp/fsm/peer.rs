//! A peer: one machine for the connection we open, one for the connection it opens, and their collision.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use crate::bgp::codec::{DecodeError, Message, Open};
use crate::bgp::notification::{Notification, code, subcode};

use super::event::{Event, Reason};
use super::machine::{Action, Context, Machine, Reply};
use super::negotiate::{self, Negotiated, Settings};
use super::state::{Direction, State};
use super::timers::{Backoff, Jitter};

/// What the driver reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Begin.
    Start,
    /// End with this NOTIFICATION; nothing happens after it until the next `Start`.
    Stop(Notification),
    /// A deadline may have passed.
    Tick,
    /// A TCP connection is there: our dial succeeded, or the peer's did.
    Connected {
        /// Which.
        direction: Direction,
        /// Our end of it.
        local: IpAddr,
    },
    /// The dial came to nothing, or a connection ended.
    Disconnected {
        /// Which.
        direction: Direction,
        /// In words.
        error: String,
    },
    /// A message, or what stands in its place.
    Received {
        /// From where.
        direction: Direction,
        /// What.
        message: Result<Message, DecodeError>,
    },
    /// Bytes wait to be taken by the peer (or no longer do), and whether it took some since the last time.
    Sending {
        /// Where.
        direction: Direction,
        /// Some wait.
        pending: bool,
        /// Some were taken.
        progress: bool,
    },
    /// Who watches the path to the peer says that it has failed (RFC 9384).
    PathFailed,
    /// A session has been told everything: OPENs from now on are those of a speaker that has not restarted since, R bit
    /// clear and F bit set.
    RestartDone,
}

/// The state machine of one peer. Pure: it is told what happens and when, and says what to do.
#[derive(Clone, Debug)]
pub struct Peer {
    settings: Settings,
    outgoing: Machine,
    incoming: Machine,
    jitter: Jitter,
    backoff: Backoff,
    started: bool,
    bare: bool,
}

impl Peer {
    /// In Idle. `seed` makes the jitter of this peer its own.
    pub fn new(settings: Settings, seed: u64) -> Peer {
        Peer {
            settings,
            outgoing: Machine::new(Direction::Outgoing),
            incoming: Machine::new(Direction::Incoming),
            jitter: Jitter::new(seed),
            backoff: Backoff::default(),
            started: false,
            bare: false,
        }
    }

    /// Takes one report and returns what to do, in order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Start => self.start(now, &mut actions),
            Input::Stop(notification) => self.stop(&notification, now, &mut actions),
            Input::Tick => self.tick(now, &mut actions),
            Input::Connected { direction, local } => {
                self.connected(direction, local, now, &mut actions)
            }
            Input::Disconnected { direction, error } => {
                self.step(
                    direction,
                    &Event::TcpConnectionFails(error),
                    now,
                    &mut actions,
                );
            }
            Input::Received { direction, message } => {
                self.received(direction, message, now, &mut actions)
            }
            Input::Sending {
                direction,
                pending,
                progress,
            } => {
                self.machine_mut(direction).sending(pending, progress, now);
            }
            Input::PathFailed => {
                for direction in Direction::ALL {
                    self.step(direction, &Event::PathFails, now, &mut actions);
                }
            }
            Input::RestartDone => self.restart_done(),
        }
        self.settle(now, &mut actions);
        actions
    }

    /// When to send [`Input::Tick`] at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.outgoing.timers.next(), self.incoming.timers.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// State of the connection that has come furthest; while there is none, what the dialling side does.
    pub fn state(&self) -> State {
        let furthest = self.outgoing.state.max(self.incoming.state);
        match furthest {
            State::OpenSent | State::OpenConfirm | State::Established => furthest,
            State::Idle | State::Connect | State::Active if self.settings.passive => {
                self.incoming.state
            }
            State::Idle | State::Connect | State::Active => self.outgoing.state,
        }
    }

    /// Between [`Input::Start`] and [`Input::Stop`].
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// The Established session.
    pub fn session(&self) -> Option<(Direction, &Negotiated)> {
        let direction = self.established()?;
        Some((direction, self.machine(direction).negotiated.as_ref()?))
    }

    fn machine(&self, direction: Direction) -> &Machine {
        match direction {
            Direction::Outgoing => &self.outgoing,
            Direction::Incoming => &self.incoming,
        }
    }

    fn machine_mut(&mut self, direction: Direction) -> &mut Machine {
        match direction {
            Direction::Outgoing => &mut self.outgoing,
            Direction::Incoming => &mut self.incoming,
        }
    }

    fn established(&self) -> Option<Direction> {
        Direction::ALL
            .into_iter()
            .find(|d| self.machine(*d).state == State::Established)
    }

    fn step(
        &mut self,
        direction: Direction,
        event: &Event,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.step_connected(direction, event, None, now, actions);
    }

    fn step_connected(
        &mut self,
        direction: Direction,
        event: &Event,
        local: Option<IpAddr>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let mut cx = Context {
            now,
            settings: &self.settings,
            jitter: &mut self.jitter,
            backoff: &mut self.backoff,
            bare: self.bare,
            local,
            actions,
        };
        match direction {
            Direction::Outgoing => self.outgoing.handle(event, &mut cx),
            Direction::Incoming => self.incoming.handle(event, &mut cx),
        }
    }

    fn start(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.started = true;
        self.step(Direction::Incoming, &Event::ManualStart, now, actions);
        if !self.settings.passive {
            self.step(Direction::Outgoing, &Event::ManualStart, now, actions);
        }
    }

    fn stop(&mut self, notification: &Notification, now: Instant, actions: &mut Vec<Action>) {
        self.started = false;
        for direction in Direction::ALL {
            self.step(
                direction,
                &Event::ManualStop(notification.clone()),
                now,
                actions,
            );
            self.machine_mut(direction).timers = Default::default();
        }
    }

    fn restart_done(&mut self) {
        if let Some(restart) = &mut self.settings.graceful_restart {
            restart.restarting = false;
            restart.forwarding_preserved = true;
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for direction in Direction::ALL {
            while let Some(event) = self.machine_mut(direction).timers.take_expired(now) {
                self.step(direction, &event, now, actions);
            }
        }
    }

    fn connected(
        &mut self,
        direction: Direction,
        local: IpAddr,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        if !self.started {
            actions.push(Action::Refuse(Notification::new(
                code::CEASE,
                subcode::CONNECTION_REJECTED,
            )));
            return;
        }
        if let Some(established) = self.established() {
            actions.push(Action::Refuse(Notification::new(
                code::CEASE,
                subcode::COLLISION,
            )));
            // A peer that has lost its end of the session dials again: whatever we send makes its host reset ours.
            actions.push(Action::Send(established, Reply::Keepalive));
            return;
        }
        let event = match direction {
            Direction::Outgoing => Event::TcpCrAcked,
            Direction::Incoming => Event::TcpConnectionConfirmed,
        };
        if direction == Direction::Incoming && self.incoming.state >= State::OpenSent {
            // A peer has one connection of its own; if it opens another, it has given up the first.
            self.step(direction, &Event::OpenCollisionDump, now, actions);
            self.step(direction, &Event::IdleHoldTimerExpires, now, actions);
        }
        self.step_connected(direction, &event, Some(local), now, actions);
    }

    fn received(
        &mut self,
        direction: Direction,
        message: Result<Message, DecodeError>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let event = match message {
            Ok(Message::Open(open)) => self.opened(direction, open, now, actions),
            Ok(Message::Keepalive) => Event::KeepAliveMsg,
            Ok(Message::Update) => Event::UpdateMsg,
            Ok(Message::RouteRefresh(family)) => {
                if let (State::Established, Some(family)) = (self.machine(direction).state, family)
                {
                    actions.push(Action::Resend(family));
                }
                Event::RouteRefreshMsg
            }
            Ok(Message::Notification(n)) => self.notified(direction, n),
            Err(DecodeError::Header(n)) => Event::BgpHeaderErr(n),
            Err(DecodeError::Open(n)) => Event::BgpOpenMsgErr(n),
            Err(DecodeError::Update(n)) => Event::UpdateMsgErr(n),
        };
        self.step(direction, &event, now, actions);
    }

    fn notified(&mut self, direction: Direction, notification: Notification) -> Event {
        let refused = (notification.code, notification.subcode)
            == (code::OPEN, subcode::UNSUPPORTED_PARAMETER);
        let opening = matches!(
            self.machine(direction).state,
            State::OpenSent | State::OpenConfirm
        );
        if opening {
            // The next OPEN goes without capabilities; if that does not help, the one after has them again.
            self.bare = refused && !self.bare;
        }
        if (notification.code, notification.subcode) == (code::OPEN, subcode::UNSUPPORTED_VERSION) {
            return Event::NotifMsgVerErr(notification);
        }
        Event::NotifMsg(notification)
    }

    /// The event that an OPEN is, after its check and the collision procedure of RFC 4271 section 6.8.
    fn opened(
        &mut self,
        direction: Direction,
        open: Open,
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> Event {
        if let (State::OpenSent, Some((ours, _))) =
            (self.machine(direction).state, &self.machine(direction).ours)
        {
            if let Err(notification) = negotiate::check_open(&self.settings, ours, &open) {
                return Event::BgpOpenMsgErr(notification);
            }
            let other = direction.other();
            if self.machine(other).state == State::OpenConfirm {
                if self.survivor(&open) == other {
                    return Event::OpenCollisionDump;
                }
                self.step(other, &Event::OpenCollisionDump, now, actions);
            }
        }
        Event::BgpOpen(open)
    }

    /// Of two connections, the one opened by the side with the higher identifier, or with the higher AS where the
    /// identifiers are equal (RFC 6286 section 2.3).
    fn survivor(&self, theirs: &Open) -> Direction {
        let rank = |identifier: Ipv4Addr, asn: u32| (u32::from(identifier), asn);
        let ours = rank(self.settings.identifier, self.settings.asn);
        match ours > rank(theirs.identifier, theirs.asn) {
            true => Direction::Outgoing,
            false => Direction::Incoming,
        }
    }

    /// While one connection is Established the other rests; when none is, both are tried again.
    fn settle(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if let Some(established) = self.established() {
            self.bare = false;
            let other = established.other();
            if self.machine(other).state != State::Idle {
                self.step(other, &Event::OpenCollisionDump, now, actions);
            }
            self.machine_mut(other).timers.idle_hold = None;
            return;
        }
        if !self.started {
            return;
        }
        if self.incoming.is_parked() {
            self.step(Direction::Incoming, &Event::ManualStart, now, actions);
        }
        if self.outgoing.is_parked() && !self.settings.passive {
            let delay = self.backoff.after(&Reason::Collision);
            self.outgoing.timers.idle_hold = Some(now + self.jitter.apply(delay));
        }
    }
}
