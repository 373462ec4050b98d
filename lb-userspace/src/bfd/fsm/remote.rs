//! What the peer has said.

use std::num::NonZeroU32;
use std::time::Duration;

use super::state::State;
use crate::bfd::diagnostic::Diagnostic;
use crate::bfd::packet::ControlPacket;

/// The peer's side of a session, as its last packet has it (the variables "bfd.Remote..." of RFC 5880 section 6.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its number of the session; none while it is not heard.
    pub discriminator: Option<NonZeroU32>,
    /// Its state.
    pub state: State,
    /// Why it last changed.
    pub diagnostic: Diagnostic,
    /// It wants nothing periodic while both are Up.
    pub demand: bool,
    /// Its BFD survives its control plane. Kept when it falls silent: it says what the silence means.
    pub control_plane_independent: bool,
    /// It takes no more; zero: nothing periodic.
    pub required_min_rx: Duration,
    /// It sends no faster.
    pub desired_min_tx: Duration,
    /// Detect Mult.
    pub multiplier: u8,
}

impl Remote {
    /// A peer that was never heard.
    pub(super) const UNKNOWN: Remote = Remote {
        discriminator: None,
        state: State::Down,
        diagnostic: Diagnostic::NONE,
        demand: false,
        control_plane_independent: false,
        required_min_rx: Duration::from_micros(1),
        desired_min_tx: Duration::ZERO,
        multiplier: 0,
    };

    /// From a packet that counts.
    pub(super) fn heard(packet: &ControlPacket) -> Remote {
        Remote {
            discriminator: Some(packet.my_discriminator),
            state: packet.state,
            diagnostic: packet.diagnostic,
            demand: packet.demand,
            control_plane_independent: packet.control_plane_independent,
            required_min_rx: packet.required_min_rx,
            desired_min_tx: packet.desired_min_tx,
            multiplier: packet.multiplier,
        }
    }

    /// One that has fallen silent.
    pub(super) fn silent(self) -> Remote {
        Remote {
            diagnostic: self.diagnostic,
            control_plane_independent: self.control_plane_independent,
            ..Remote::UNKNOWN
        }
    }
}
