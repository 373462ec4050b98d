//! The machine of one connection.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::bgp::codec::Open;
use crate::bgp::notification::Notification;
use crate::bgp::route::Family;

use super::event::{Event, Reason};
use super::negotiate::{self, Negotiated, NextHops, Settings};
use super::state::{Direction, State};
use super::table::{Procedure, cell};
use super::timers::{Backoff, CONNECT_RETRY, Jitter, OPEN_HOLD, STABLE, Timers, send_hold};

/// A kernel drops segments with a wrong MD5 signature without a word.
const NO_ANSWER: &str =
    "no answer to the dial (unreachable, filtered, or another TCP MD5 password)";

/// What the driver has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin to open a connection.
    Dial,
    /// Give up the one being opened.
    CancelDial,
    /// Take the connection just reported as this direction's.
    Adopt(Direction),
    /// Send this on the connection just reported and close it, instead of adopting it.
    Refuse(Notification),
    /// Send a message.
    Send(Direction, Reply),
    /// Close, once what was sent before is out.
    Close(Direction),
    /// A session is Established: its Adj-RIB-Out is empty.
    Up(Direction, Negotiated),
    /// The Established session is over.
    Down(Direction, Reason),
    /// An attempt came to nothing.
    Failed(Direction, Reason),
    /// The peer asks for all routes of a family again.
    Resend(Family),
}

/// Messages the machine itself sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// OPEN.
    Open(Open),
    /// KEEPALIVE.
    Keepalive,
    /// NOTIFICATION.
    Notification(Notification),
}

/// What both machines of a peer share, and where actions go.
pub(super) struct Context<'a> {
    pub now: Instant,
    pub settings: &'a Settings,
    pub jitter: &'a mut Jitter,
    pub backoff: &'a mut Backoff,
    /// OPEN without capabilities.
    pub bare: bool,
    /// Local address of the connection just reported.
    pub local: Option<IpAddr>,
    pub actions: &'a mut Vec<Action>,
}

/// One connection, from nothing to Established and back.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub direction: Direction,
    pub state: State,
    pub timers: Timers,
    /// What we sent, from OpenSent on.
    pub ours: Option<(Open, NextHops)>,
    /// From OpenConfirm on.
    pub negotiated: Option<Negotiated>,
    established_at: Option<Instant>,
}

impl Machine {
    pub fn new(direction: Direction) -> Machine {
        Machine {
            direction,
            state: State::Idle,
            timers: Timers::default(),
            ours: None,
            negotiated: None,
            established_at: None,
        }
    }

    /// One event, by the table.
    pub fn handle(&mut self, event: &Event, cx: &mut Context<'_>) {
        match cell(self.state, event) {
            Procedure::Ignore => {}
            Procedure::Start => self.start(cx),
            Procedure::Dial => self.dial(cx),
            Procedure::SendOpen => self.send_open(cx),
            Procedure::ReceiveOpen => self.receive_open(event, cx),
            Procedure::Establish => self.establish(cx),
            Procedure::SendKeepalive => self.send_keepalive(cx),
            Procedure::RestartHold => self.restart_hold(cx.now),
            Procedure::Retry => self.retry(event, cx),
            Procedure::Notify => {
                let notification = event.notification(self.state);
                cx.actions.push(Action::Send(
                    self.direction,
                    Reply::Notification(notification),
                ));
                self.fall(event, cx);
            }
            Procedure::Drop => self.fall(event, cx),
        }
    }

    /// Data waits to be sent, or does not any more; `progress`: some has been taken by TCP since the last call.
    pub fn sending(&mut self, pending: bool, progress: bool, now: Instant) {
        let limit = self
            .negotiated
            .as_ref()
            .and_then(|n| send_hold(n.hold_time));
        match (pending, limit) {
            (true, Some(limit)) if progress || self.timers.send_hold.is_none() => {
                self.timers.send_hold = Some(now + limit);
            }
            (true, _) => {}
            (false, _) => self.timers.send_hold = None,
        }
    }

    /// Idle without a timer: only an event from outside wakes it.
    pub fn is_parked(&self) -> bool {
        self.state == State::Idle && self.timers.idle_hold.is_none()
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        self.timers = Timers::default();
        match self.direction {
            Direction::Outgoing => self.dial(cx),
            Direction::Incoming => self.state = State::Active,
        }
    }

    fn dial(&mut self, cx: &mut Context<'_>) {
        if self.state == State::Connect {
            let reason = Reason::TcpFailed(NO_ANSWER.to_string());
            cx.actions.push(Action::CancelDial);
            cx.actions.push(Action::Failed(self.direction, reason));
        }
        cx.actions.push(Action::Dial);
        self.timers.connect_retry = Some(cx.now + cx.jitter.apply(CONNECT_RETRY));
        self.state = State::Connect;
    }

    fn send_open(&mut self, cx: &mut Context<'_>) {
        let unspecified = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let next_hops = NextHops::new(cx.settings, cx.local.unwrap_or(unspecified));
        let open = negotiate::our_open(cx.settings, &next_hops, cx.bare);
        cx.actions.push(Action::Adopt(self.direction));
        cx.actions
            .push(Action::Send(self.direction, Reply::Open(open.clone())));
        self.ours = Some((open, next_hops));
        self.timers = Timers {
            hold: Some(cx.now + OPEN_HOLD),
            ..Timers::default()
        };
        self.state = State::OpenSent;
    }

    fn receive_open(&mut self, event: &Event, cx: &mut Context<'_>) {
        // Invariants: the table sends only BGPOpen here, and only in OpenSent, which `send_open` alone enters.
        let (Event::BgpOpen(theirs), Some((ours, next_hops))) = (event, &self.ours) else {
            return;
        };
        self.negotiated = Some(negotiate::negotiate(*next_hops, ours, theirs));
        self.state = State::OpenConfirm;
        self.restart_hold(cx.now);
        self.send_keepalive(cx);
    }

    fn establish(&mut self, cx: &mut Context<'_>) {
        self.state = State::Established;
        self.established_at = Some(cx.now);
        self.restart_hold(cx.now);
        if let Some(negotiated) = &self.negotiated {
            cx.actions
                .push(Action::Up(self.direction, negotiated.clone()));
        }
    }

    /// Also restarts its timer: a third of the hold time, at most one a second.
    fn send_keepalive(&mut self, cx: &mut Context<'_>) {
        cx.actions
            .push(Action::Send(self.direction, Reply::Keepalive));
        let hold_time = self.hold_time();
        let interval = cx.jitter.apply(hold_time / 3).max(Duration::from_secs(1));
        self.timers.keepalive = (!hold_time.is_zero()).then(|| cx.now + interval);
    }

    fn restart_hold(&mut self, now: Instant) {
        let hold_time = self.hold_time();
        self.timers.hold = (!hold_time.is_zero()).then(|| now + hold_time);
    }

    fn hold_time(&self) -> Duration {
        self.negotiated
            .as_ref()
            .map_or(Duration::ZERO, |n| n.hold_time)
    }

    /// Close and wait in Active, where the peer may connect and we dial after the back-off.
    fn retry(&mut self, event: &Event, cx: &mut Context<'_>) {
        let reason = event.reason(self.state);
        let delay = cx.backoff.after(&reason);
        cx.actions.push(Action::Close(self.direction));
        cx.actions.push(Action::Failed(self.direction, reason));
        self.clear();
        self.state = State::Active;
        if self.direction == Direction::Outgoing {
            self.timers.connect_retry = Some(cx.now + cx.jitter.apply(delay));
        }
    }

    /// To Idle; and unless stopped, out of it again after the back-off.
    fn fall(&mut self, event: &Event, cx: &mut Context<'_>) {
        let reason = event.reason(self.state);
        if self.established_at.is_some_and(|at| cx.now >= at + STABLE) {
            cx.backoff.reset();
        }
        match self.state {
            State::Idle | State::Active => {}
            State::Connect => cx.actions.push(Action::CancelDial),
            State::OpenSent | State::OpenConfirm | State::Established => {
                cx.actions.push(Action::Close(self.direction));
            }
        }
        let end = match self.state {
            State::Established => Action::Down(self.direction, reason.clone()),
            _ => Action::Failed(self.direction, reason.clone()),
        };
        cx.actions.push(end);
        self.clear();
        self.state = State::Idle;
        if reason != Reason::Stopped {
            self.wait_idle(&reason, cx);
        }
    }

    /// Starts IdleHoldTimer. Listening costs nothing, so a path that failed does not keep us from it.
    fn wait_idle(&mut self, reason: &Reason, cx: &mut Context<'_>) {
        let delay = cx.backoff.after(reason);
        let listens_at_once = matches!(
            reason,
            Reason::TcpFailed(_) | Reason::HoldTimerExpired | Reason::Collision
        );
        let delay = match self.direction {
            Direction::Incoming if listens_at_once => Duration::ZERO,
            Direction::Incoming | Direction::Outgoing => cx.jitter.apply(delay),
        };
        self.timers.idle_hold = Some(cx.now + delay);
    }

    fn clear(&mut self) {
        self.timers = Timers::default();
        self.ours = None;
        self.negotiated = None;
        self.established_at = None;
    }
}
