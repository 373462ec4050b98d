//! Which packets are probes.

use crate::abi::PROBE_MARK;
use crate::packet::{Packet, is_zero};

/// 1 where a packet is a node's own probe, else 0.
///
/// A number, which the verifier knows nothing of: it need not look at all that follows once for probes and once for others.
#[derive(Clone, Copy)]
pub struct Mark(u64);

impl Mark {
    /// A node's own probe.
    pub const PROBE: Self = Self(1);
    /// A packet without metadata.
    pub const NONE: Self = Self(0);

    /// The metadata before a packet.
    #[inline(always)]
    pub fn of<P: Packet>(metadata: u64) -> Self {
        Self(is_zero::<P>(metadata ^ PROBE_MARK))
    }

    /// [`Mark::NONE`], made of any number below 2^63.
    #[inline(always)]
    pub const fn none(number: u64) -> Self {
        Self(number >> 63)
    }

    /// Whether it is a probe.
    #[inline(always)]
    pub const fn is_probe(self) -> bool {
        self.0 != 0
    }

    /// `number` where it is a probe, else zero.
    #[inline(always)]
    pub(super) const fn or_zero(self, number: u64) -> u64 {
        number * self.0
    }
}
