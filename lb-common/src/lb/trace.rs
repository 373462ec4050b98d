//! `anylb trace`: which packets are told of, and what is told.
//!
//! Only the programs `watched_...` know of this; the agent loads one and puts it in the place of the other for as long as somebody
//! watches.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{L3, skip_tags};
use crate::abi::unpinned_values;
use crate::budget::Budget;
use crate::packet::Transit;
use crate::wire::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6, v4_mapped};

/// Bytes of a packet that are told at most.
pub const CAPTURE_MAX: usize = 256;
/// [`Asked::exit`]: wherever it leaves.
pub const ANY_EXIT: u32 = u32::MAX;

unpinned_values! {
    /// What is asked for: value of the map `ASKED`.
    Asked = 88 {
        /// Nothing is told from then on, by CLOCK_MONOTONIC; zero: nobody asks.
        until_ns: u64,
        /// Only to these addresses, v4-mapped, as they lie on the wire: those that have the same bits.
        destination: [u64; 2],
        /// Which bits those are; zeroes: to any.
        destination_mask: [u64; 2],
        /// Only from these addresses: those that have the same bits.
        source: [u64; 2],
        /// Which bits those are; zeroes: from any.
        source_mask: [u64; 2],
        /// Only what leaves at this exit, or [`ANY_EXIT`].
        exit: u32,
        /// One packet in so many, on each CPU; at least one.
        sample: u32,
        /// Packets that one CPU tells of per jiffy.
        per_jiffy: u32,
        /// The same after a pause.
        burst: u32,
    }
    /// A packet as it came in, before the bytes of it that are told.
    Head = 24 {
        /// When, by CLOCK_MONOTONIC.
        time_ns: u64,
        /// Its bytes from the Ethernet header on.
        length: u32,
        /// Bytes that follow.
        captured: u32,
        /// Interface that it came in by.
        ifindex: u32,
        /// Number of its [`Exit`](super::Exit).
        exit: u32,
    }
    /// What was not told.
    Untold = 16 {
        /// One too many in its jiffy.
        limited: u64,
        /// The ring was full.
        lost: u64,
    }
}

/// Where one CPU writes down what it tells: value of the map `DESK`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Desk {
    /// What it could not tell.
    pub untold: Untold,
    /// Limits what it tells.
    pub budget: Budget,
    /// Packets until one is taken again.
    pub skip: u64,
    /// Of the packet at hand.
    pub head: Head,
    /// Its first bytes.
    pub packet: [u8; CAPTURE_MAX],
}

impl Asked {
    /// Whether a packet has the addresses that are asked for.
    #[inline(always)]
    pub fn fits<P: Transit>(&self, mut packet: P) -> bool {
        let [to_high, to_low] = self.destination_mask;
        let [from_high, from_low] = self.source_mask;
        if to_high | to_low | from_high | from_low == 0 {
            return true;
        }
        let Some((source, destination)) = addresses(&mut packet) else {
            return false;
        };
        let to = destination[0] & to_high == self.destination[0]
            && destination[1] & to_low == self.destination[1];
        to && source[0] & from_high == self.source[0] && source[1] & from_low == self.source[1]
    }

    /// Whether packets that leave there are asked for.
    #[inline(always)]
    pub const fn is_exit(&self, exit: u32) -> bool {
        self.exit == ANY_EXIT || self.exit == exit
    }
}

impl Desk {
    /// Whether it is this packet's turn.
    #[inline(always)]
    pub fn turn(&mut self, sample: u32) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.skip = u64::from(sample).saturating_sub(1);
        true
    }
}

/// Source and destination, v4-mapped.
#[inline(always)]
fn addresses<P: Transit>(packet: &mut P) -> Option<([u64; 2], [u64; 2])> {
    if packet.get::<Ethernet>(0)?.is_tagged() {
        skip_tags(packet).ok()?;
    }
    let ethertype = packet.get::<Ethernet>(0)?.ethertype;
    if ethertype == ETHERTYPE_IPV4 {
        let ip = packet.get::<Ipv4>(L3)?;
        Some((v4_mapped(ip.source), v4_mapped(ip.destination)))
    } else if ethertype == ETHERTYPE_IPV6 {
        let ip = packet.get::<Ipv6>(L3)?;
        Some((ip.source, ip.destination))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::frame::Frame;

    const CLIENT: u32 = u32::from_ne_bytes([192, 0, 2, 7]);
    const VIP: u32 = u32::from_ne_bytes([198, 51, 100, 1]);

    fn ipv4(tags: usize) -> Frame {
        let mut packet = std::vec![0; 12];
        for _ in 0..tags {
            packet.extend([0x81, 0, 0, 5]);
        }
        packet.extend([8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0]);
        packet.extend(CLIENT.to_ne_bytes());
        packet.extend(VIP.to_ne_bytes());
        Frame::new(&packet).expect("a short packet")
    }

    fn ipv6() -> Frame {
        let mut packet = std::vec![0; 12];
        packet.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 17, 64]);
        packet.extend((1..=32).collect::<Vec<u8>>());
        Frame::new(&packet).expect("a short packet")
    }

    fn words(bytes: [u8; 16]) -> [u64; 2] {
        let word = |half: &[u8]| u64::from_ne_bytes(half.try_into().expect("eight bytes"));
        [word(&bytes[..8]), word(&bytes[8..])]
    }

    #[test]
    fn addresses_that_are_asked_for() {
        let any = Asked::default();
        let to_vip = Asked {
            destination: v4_mapped(VIP),
            destination_mask: [u64::MAX; 2],
            ..any
        };
        let to_client = Asked {
            destination: v4_mapped(CLIENT),
            destination_mask: [u64::MAX; 2],
            ..any
        };
        let prefix = |bits: usize| {
            let mask = words(core::array::from_fn(|at| match bits / 8 {
                whole if at < 12 + whole => 0xff,
                _ => 0,
            }));
            let [high, low] = v4_mapped(CLIENT);
            Asked {
                source: [high & mask[0], low & mask[1]],
                source_mask: mask,
                ..any
            }
        };
        let other = Asked {
            source: v4_mapped(VIP),
            source_mask: [u64::MAX; 2],
            ..any
        };
        let six = Asked {
            source: words(core::array::from_fn(
                |at| if at < 4 { at as u8 + 1 } else { 0 },
            )),
            source_mask: words(core::array::from_fn(|at| if at < 4 { 0xff } else { 0 })),
            ..any
        };
        for (asked, packet, expected, why) in [
            (any, ipv4(0), true, "anything"),
            (to_vip, ipv4(0), true, "its destination"),
            (to_vip, ipv4(1), true, "behind a tag"),
            (to_vip, ipv4(2), true, "behind two"),
            (to_client, ipv4(0), false, "another destination"),
            (prefix(24), ipv4(0), true, "its network"),
            (prefix(32), ipv4(1), true, "its source"),
            (other, ipv4(0), false, "another source"),
            (six, ipv6(), true, "an IPv6 network"),
            (six, ipv4(0), false, "the other family"),
            (to_vip, ipv6(), false, "the other family"),
            (
                any,
                Frame::new(&[]).expect("short"),
                true,
                "no packet at all",
            ),
            (
                to_vip,
                Frame::new(&[0; 20]).expect("short"),
                false,
                "nothing that has addresses",
            ),
        ] {
            assert_eq!(asked.fits(packet), expected, "{why}: {asked:?}");
        }
    }

    #[test]
    fn one_in_so_many() {
        for (sample, packets, expected) in [(1, 5, 5), (3, 9, 3), (3, 10, 4), (0, 4, 4)] {
            let mut desk = Desk::read_from_bytes(&[0; size_of::<Desk>()]).expect("its size");
            let taken = (0..packets).filter(|_| desk.turn(sample)).count();
            assert_eq!(taken, expected, "one in {sample} of {packets}");
        }
    }

    #[test]
    fn exits_that_are_asked_for() {
        let asked = |exit| Asked {
            exit,
            ..Asked::default()
        };
        assert!(asked(ANY_EXIT).is_exit(3));
        assert!(asked(3).is_exit(3));
        assert!(!asked(3).is_exit(4));
    }
}
