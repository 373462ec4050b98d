//! The table: what each event does in each state (RFC 5880 sections 6.2, 6.8.4, 6.8.6, 6.8.15 and 6.8.16).
//!
//! | event | AdminDown | Down | Init | Up |
//! |---|---|---|---|---|
//! | Enable | Down | - | - | - |
//! | Disable | - | AdminDown 7 | AdminDown 7 | AdminDown 7 |
//! | received AdminDown | - | - | Down 3 | Down 3 |
//! | received Down | - | Init | - | Down 3 |
//! | received Init | - | Up | Up | - |
//! | received Up | - | - | Up | - |
//! | DetectionTimeExpires | - | - | Down 1 | Down 1 |
//! | ForwardingFails | - | Down 4 | Down 4 | Down 4 |
//! | ForwardingReturns | - | - | - | - |
//!
//! The number is the diagnostic. From ForwardingFails to ForwardingReturns Down is not left for Init or Up.

use super::state::State;
use crate::bfd::diagnostic::Diagnostic;

/// What may change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The operator takes `Disable` back.
    Enable,
    /// The operator wants the session down.
    Disable,
    /// A packet that counts, with the peer's state.
    Received(State),
    /// None for the detection time.
    DetectionTimeExpires,
    /// Packets are not forwarded any more.
    ForwardingFails,
    /// They are again.
    ForwardingReturns,
}

/// The new state and why; none: as before.
pub(super) fn cell(state: State, event: Event) -> Option<(State, Diagnostic)> {
    match state {
        State::AdminDown => admin_down(event),
        State::Down => down(event),
        State::Init => init(event),
        State::Up => up(event),
    }
}

fn admin_down(event: Event) -> Option<(State, Diagnostic)> {
    match event {
        Event::Enable => Some((State::Down, Diagnostic::NONE)),
        Event::Disable
        | Event::Received(_)
        | Event::DetectionTimeExpires
        | Event::ForwardingFails
        | Event::ForwardingReturns => None,
    }
}

fn down(event: Event) -> Option<(State, Diagnostic)> {
    match event {
        Event::Disable => Some((State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN)),
        Event::Received(State::Down) => Some((State::Init, Diagnostic::NONE)),
        Event::Received(State::Init) => Some((State::Up, Diagnostic::NONE)),
        Event::ForwardingFails => Some((State::Down, Diagnostic::FORWARDING_PLANE_RESET)),
        Event::Enable
        | Event::Received(State::AdminDown | State::Up)
        | Event::DetectionTimeExpires
        | Event::ForwardingReturns => None,
    }
}

fn init(event: Event) -> Option<(State, Diagnostic)> {
    match event {
        Event::Disable => Some((State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN)),
        Event::Received(State::AdminDown) => {
            Some((State::Down, Diagnostic::NEIGHBOR_SIGNALED_DOWN))
        }
        Event::Received(State::Init | State::Up) => Some((State::Up, Diagnostic::NONE)),
        Event::DetectionTimeExpires => Some((State::Down, Diagnostic::DETECTION_TIME_EXPIRED)),
        Event::ForwardingFails => Some((State::Down, Diagnostic::FORWARDING_PLANE_RESET)),
        Event::Enable | Event::Received(State::Down) | Event::ForwardingReturns => None,
    }
}

fn up(event: Event) -> Option<(State, Diagnostic)> {
    match event {
        Event::Disable => Some((State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN)),
        Event::Received(State::AdminDown | State::Down) => {
            Some((State::Down, Diagnostic::NEIGHBOR_SIGNALED_DOWN))
        }
        Event::DetectionTimeExpires => Some((State::Down, Diagnostic::DETECTION_TIME_EXPIRED)),
        Event::ForwardingFails => Some((State::Down, Diagnostic::FORWARDING_PLANE_RESET)),
        Event::Enable | Event::Received(State::Init | State::Up) | Event::ForwardingReturns => None,
    }
}
