//! Which packets are a node's own probes.

use crate::abi::PROBE_MARK;
use crate::packet::{Packet, is_zero};

/// What the metadata before a packet holds besides [`PROBE_MARK`]: zero, and it is a probe.
///
/// A number, which the verifier knows nothing of: it need not look at all that follows once for probes and once for others.
#[derive(Clone, Copy)]
pub struct Mark(u64);

impl Mark {
    /// A node's own probe.
    pub const PROBE: Self = Self(0);
    /// A packet without metadata.
    pub const NONE: Self = Self::unlike(0);

    /// The metadata before a packet.
    #[inline(always)]
    pub const fn of(metadata: u64) -> Self {
        Self(metadata ^ PROBE_MARK)
    }

    /// [`Mark::NONE`], made of any number below 2^32.
    #[inline(always)]
    pub const fn unlike(number: u64) -> Self {
        Self(number + 1)
    }

    /// Whether it is a probe.
    #[inline(always)]
    pub const fn is_probe(self) -> bool {
        self.0 == 0
    }

    /// `bits` where it is a probe, else none.
    #[inline(always)]
    pub(super) fn bits<P: Packet>(self, bits: u8) -> u8 {
        bits * is_zero::<P>(self.0) as u8
    }
}
