//! Rare work on a packet, in a function of its own.
//!
//! A program has it as a BPF function that the verifier looks at once, with arguments of any value: what is inlined into the one
//! packet function it looks at for every way that leads there, and there are thousands. So nothing but numbers goes in and comes
//! out, and only the packet is at hand.

use super::{fragment, icmp, too_big};
use crate::packet::Transit;

/// Bits of a result that no task uses for itself. What comes back is a number of any value to the verifier: families and tags that
/// were different ways before are one from there on.
pub mod common {
    /// The task was one of IPv6.
    pub const V6: u64 = 1 << 30;
    /// Where a program notes how many words of tags are skipped; at most three.
    pub const SKIPPED: u32 = 28;
}

/// Values of `task`; those of IPv6 are odd.
pub(super) mod task {
    /// [`super::icmp::find`]; `a`: offset of the ICMP header, `b`: where the packet ends.
    pub const QUOTED_V4: u32 = 0;
    pub const QUOTED_V6: u32 = 1;
    /// [`super::too_big::turn`]; `a`: length of the IP packet, `b`: what would have fitted.
    pub const TOO_BIG_V4: u32 = 2;
    pub const TOO_BIG_V6: u32 = 3;
    /// [`super::fragment::find_v4`]; `a`: offset behind the IP header, `b`: where the packet ends.
    pub const FRAGMENT_V4: u32 = 4;
    /// [`super::fragment::find_v6`]; `a`: offset of the fragment header, `b`: where the packet ends.
    pub const FRAGMENT_V6: u32 = 5;
}

/// Does one of the tasks of this version; others are none.
#[inline(always)]
pub fn run<P: Transit>(packet: &mut P, task: u32, a: u32, b: u32) -> u64 {
    // The largest IP packet, and offsets of the same size.
    let (first, second) = ((a & 0xffff) as usize, (b & 0x1ffff) as usize);
    let result = match task {
        task::QUOTED_V4 => icmp::find_v4(packet, first, second),
        task::QUOTED_V6 => icmp::find_v6(packet, first, second),
        task::TOO_BIG_V4 => too_big::turn_v4(packet, first, b),
        task::TOO_BIG_V6 => too_big::turn_v6(packet, first, b),
        task::FRAGMENT_V4 => fragment::find_v4(packet, first, second),
        task::FRAGMENT_V6 => fragment::find_v6(packet, first, second),
        _ => 0,
    };
    let family = if task & 1 != 0 { common::V6 } else { 0 };
    result | family
}
