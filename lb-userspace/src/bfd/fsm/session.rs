//! One session.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::jitter::Jitter;
use super::remote::Remote;
use super::state::State;
use super::table::{Event, cell};
use super::timing::{Settings, Timing};
use crate::bfd::diagnostic::Diagnostic;
use crate::bfd::packet::ControlPacket;

/// What the driver reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A packet of this session that no check refuses.
    Received(ControlPacket),
    /// A deadline may have passed. What has arrived before is to be reported before.
    Tick,
    /// The operator wants the session; it begins so.
    Enable,
    /// He does not: AdminDown, which tells the peer that its traffic need not move.
    Disable,
    /// Whether what the peer sends us is forwarded; it begins with true. While it is not the session is Down.
    Forwarding(bool),
    /// Other intervals or another multiplier.
    Configure(Settings),
}

/// What the driver has to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send it now.
    Send(ControlPacket),
    /// Tell the user.
    Changed(Change),
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// State before.
    pub from: State,
    /// State now.
    pub to: State,
    /// Why.
    pub diagnostic: Diagnostic,
    /// What the peer had said, up to what made the change.
    pub remote: Remote,
}

/// The state machine of one session in the active role. Pure: it is told what happens and when, and says what to do.
#[derive(Clone, Debug)]
pub struct Session {
    settings: Settings,
    discriminator: NonZeroU32,
    state: State,
    diagnostic: Diagnostic,
    remote: Remote,
    timing: Timing,
    forwarding: bool,
    /// The next packet answers a poll.
    owes_answer: bool,
    heard_at: Option<Instant>,
    /// The last packet but answers to polls.
    sent_at: Option<Instant>,
    send_at: Option<Instant>,
    /// What `send_at` was computed from.
    interval: Option<Duration>,
    jitter: Jitter,
}

impl Session {
    /// In Down; sends its first packet at `now`. `discriminator` is unique in this system, `seed` makes the jitter of this
    /// session its own.
    pub fn new(settings: Settings, discriminator: NonZeroU32, seed: u64, now: Instant) -> Session {
        Session {
            settings,
            discriminator,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            remote: Remote::UNKNOWN,
            timing: Timing::new(&settings),
            forwarding: true,
            owes_answer: false,
            heard_at: None,
            sent_at: None,
            send_at: Some(now),
            interval: None,
            jitter: Jitter::new(seed),
        }
    }

    /// Takes one report and returns what to do, in order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Received(packet) => self.received(&packet, now, &mut actions),
            Input::Tick => self.tick(now, &mut actions),
            Input::Enable => self.enable(now, &mut actions),
            Input::Disable => self.step(Event::Disable, now, &mut actions),
            Input::Forwarding(works) => self.forwarding(works, now, &mut actions),
            Input::Configure(settings) => {
                self.settings = settings;
                self.follow(now, &mut actions);
            }
        }
        self.reschedule(now);
        actions
    }

    /// When to send [`Input::Tick`] at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.send_at, self.expires_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Our number of it.
    pub fn discriminator(&self) -> NonZeroU32 {
        self.discriminator
    }

    /// State.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it last changed.
    pub fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    /// What the peer has said.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Time between our packets, before jitter; none: nothing periodic is sent.
    pub fn transmit_interval(&self) -> Option<Duration> {
        let wanted =
            self.remote.demand && (self.state, self.remote.state) == (State::Up, State::Up);
        let ceased = wanted && !self.timing.polls();
        (!ceased && !self.remote.required_min_rx.is_zero())
            .then(|| self.timing.transmit_interval(&self.remote))
    }

    /// Silence after which the peer is gone; none while it is not heard.
    pub fn detection_time(&self) -> Option<Duration> {
        self.heard_at
            .map(|_| self.timing.detection_time(&self.remote))
    }

    fn expires_at(&self) -> Option<Instant> {
        Some(self.heard_at? + self.detection_time()?)
    }

    /// RFC 5880 section 6.8.6, from where the session is found.
    fn received(&mut self, packet: &ControlPacket, now: Instant, actions: &mut Vec<Action>) {
        self.remote = Remote::heard(packet);
        if packet.is_final {
            self.timing.answered();
        }
        if self.state == State::AdminDown {
            return;
        }
        self.heard_at = Some(now);
        if packet.poll {
            self.change(Event::Received(packet.state), actions);
            self.timing.follow(&self.settings, self.state);
            self.answer_poll(actions);
        } else {
            self.step(Event::Received(packet.state), now, actions);
        }
    }

    /// At once (section 6.5), but where the session is held down. The peer goes from Up to Down with our first packet and polls at once, and
    /// to Init with our second: whoever is told of its states a moment later, as BGP in BIRD is, would not hear of Down.
    fn answer_poll(&mut self, actions: &mut Vec<Action>) {
        match self.forwarding {
            true => actions.push(Action::Send(self.answer())),
            false => self.owes_answer = true,
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.expires_at().is_some_and(|at| at <= now) {
            self.heard_at = None;
            self.remote = self.remote.silent();
            self.step(Event::DetectionTimeExpires, now, actions);
            self.reschedule(now);
        }
        if self.send_at.is_some_and(|at| at <= now) {
            self.send(now, actions);
        }
    }

    fn enable(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.state == State::AdminDown {
            // What was heard meanwhile may be of a peer that has begun anew since.
            self.remote = self.remote.silent();
            self.heard_at = None;
        }
        self.step(Event::Enable, now, actions);
    }

    fn forwarding(&mut self, works: bool, now: Instant, actions: &mut Vec<Action>) {
        if self.forwarding == works {
            return;
        }
        self.forwarding = works;
        let event = match works {
            true => Event::ForwardingReturns,
            false => Event::ForwardingFails,
        };
        self.step(event, now, actions);
    }

    /// One event, and a packet at once where the next one says something else than the last.
    fn step(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        if self.change(event, actions) {
            self.timing.follow(&self.settings, self.state);
            self.send(now, actions);
        } else {
            self.follow(now, actions);
        }
    }

    /// True: state or diagnostic are others.
    fn change(&mut self, event: Event, actions: &mut Vec<Action>) -> bool {
        let Some((to, diagnostic)) = cell(self.state, event) else {
            return false;
        };
        if matches!(to, State::Init | State::Up) && !self.forwarding {
            return false;
        }
        let from = std::mem::replace(&mut self.state, to);
        self.diagnostic = diagnostic;
        if from != to {
            actions.push(Action::Changed(Change {
                from,
                to,
                diagnostic,
                remote: self.remote,
            }));
        }
        true
    }

    fn follow(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.timing.follow(&self.settings, self.state) {
            self.send(now, actions);
        }
    }

    fn send(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let packet = match std::mem::take(&mut self.owes_answer) {
            true => self.answer(),
            false => self.packet(),
        };
        actions.push(Action::Send(packet));
        self.sent_at = Some(now);
        self.send_at = None;
        self.interval = None;
    }

    fn packet(&self) -> ControlPacket {
        let stated = self.timing.stated();
        ControlPacket {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: self.timing.polls(),
            is_final: false,
            control_plane_independent: true,
            demand: false,
            multiplier: self.settings.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx: stated.desired_min_tx,
            required_min_rx: stated.required_min_rx,
            required_min_echo_rx: Duration::ZERO,
        }
    }

    /// No packet polls and answers at once; ours polls again with the next.
    fn answer(&self) -> ControlPacket {
        ControlPacket {
            poll: false,
            is_final: true,
            ..self.packet()
        }
    }

    /// The next packet by the interval as it is now, counted from the last one.
    fn reschedule(&mut self, now: Instant) {
        let interval = self.transmit_interval();
        let Some(sent_at) = self.sent_at else { return };
        if interval == self.interval {
            return;
        }
        self.interval = interval;
        self.send_at = interval.map(|interval| {
            let multiplier = self.settings.multiplier;
            (sent_at + self.jitter.apply(interval, multiplier)).max(now)
        });
    }
}
