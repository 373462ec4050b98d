//! What the tests of the state machine share.

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::bfd::diagnostic::Diagnostic;
use crate::bfd::packet::ControlPacket;

pub const MS: Duration = Duration::from_millis(1);

pub const OURS: NonZeroU32 = NonZeroU32::new(11).expect("not zero");
pub const THEIRS: NonZeroU32 = NonZeroU32::new(22).expect("not zero");

/// Deterministic, so that a failure can be run again.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

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
