//! What the tests of the state machine share.

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::bfd::diagnostic::Diagnostic;
use crate::bfd::packet::ControlPacket;

pub const MS: Duration = Duration::from_millis(1);

pub const OURS: NonZeroU32 = NonZeroU32::new(11).expect("not zero");
pub const THEIRS: NonZeroU32 = NonZeroU32::new(22).expect("not zero");

/// From a peer at 100 ms x 3 that has heard us.
pub fn from_peer(state: State) -> ControlPacket {
    ControlPacket {
        diagnostic: Diagnostic::NONE,
        state,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        multiplier: 3,
        my_discriminator: THEIRS,
        your_discriminator: Some(OURS),
        desired_min_tx: 100 * MS,
        required_min_rx: 100 * MS,
        required_min_echo_rx: Duration::ZERO,
    }
}
