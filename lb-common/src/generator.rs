//! The load of `anylb bench`: which packet is due, what is in it, and which of those that come in are ours.
//!
//! A CPU has a schedule of its own and takes every `stride`th flow. A packet's flow decides source address and port; everything
//! else is the same in all packets of a trial and is written anew in each, since a page that is used again holds what its last
//! reader left. The last eight bytes are the mark of run and trial, behind whatever headers a node has put before them.
//!
//! ```text
//! flow f   host = f * odd mod 2^17     198.18.0.0/15 (RFC 2544) or 2001:2::/48 (RFC 5180)
//!          port = 32768 + (f / 2^17 + what follows from the host) mod 2^15
//! ```

use core::mem::size_of;

use crate::abi::values;
use crate::packet::Packet;
use crate::wire::{Be16, Ethernet, Ipv4, Ipv6, Udp, fold, halves, wire};

/// Most flows: every one has an address and port of its own.
pub const FLOWS_MAX: u32 = 1 << 24;
/// Network of the sources, IPv4: 198.18.0.0/15.
pub const SOURCES_V4: u32 = 0xc612_0000;
/// First half of the sources, IPv6: 2001:2::/48.
pub const SOURCES_V6: u64 = 0x2001_0002_0000_0000;
/// The first source port.
pub const FIRST_PORT: u16 = 0x8000;
/// Low bits of a mark, which tell the trials of a run apart.
pub const TRIAL_BITS: u32 = 16;
/// What a CPU is behind its schedule by more than this, and by more than [`BURST_MAX`] packets, it does not make up: a burst is no
/// load.
pub const DEBT_MAX_PS: u64 = 250_000_000;
/// Packets that may always be made up for.
pub const BURST_MAX: u64 = 4;

/// Hosts behind a source network.
const HOST_BITS: u32 = 17;
/// Odd, so that every host comes up once in 2^17 flows (Knuth's multiplier).
const SCATTER: u32 = 0x9e37_79b1;
/// Makes of the host a port that is no linear function of it.
const STIR: u32 = 0x85eb_ca6b;

values! {
    /// What all CPUs send in a trial.
    Order = 144 {
        /// Nothing is sent before, on the clock of `bpf_ktime_get_ns`.
        starts_ns: u64,
        /// Nor from then on.
        ends_ns: u64,
        /// Between two packets of one CPU.
        gap_ps: u64,
        /// Run and trial; zero: none. See [`TRIAL_BITS`].
        mark: u64,
        /// At least 1, at most [`FLOWS_MAX`].
        flows: u32,
        /// From one flow of a CPU to its next; less than `flows`.
        stride: u32,
        /// Sum of the IPv4 header without source and checksum, unfolded.
        header_sum: u32,
        /// Sum of pseudo-header and datagram without source address, source port and checksum, unfolded.
        datagram_sum: u32,
        /// Link-layer header; its EtherType tells the family.
        ethernet: Ethernet,
        /// Without source and checksum.
        ipv4: Ipv4,
        /// Without source.
        ipv6: Ipv6,
        /// Without source port and checksum.
        udp: Udp,
        /// Zero.
        padding: [u8; 14],
    }
    /// Where a CPU stands. Only that CPU writes it while a trial runs.
    Turn = 48 {
        /// Packets made.
        made: u64,
        /// When the next is due, since the start.
        due_ps: u64,
        /// Packets that the driver has not been heard of yet.
        pending: u64,
        /// Packets that the driver took.
        taken: u64,
        /// Packets that it did not.
        refused: u64,
        /// Flow of the next packet.
        flow: u32,
        /// Zero.
        padding: u32,
    }
    /// What came back to a CPU.
    Returned = 16 {
        /// Packets.
        packets: u64,
        /// Bytes from the Ethernet header on.
        bytes: u64,
    }
}

wire! {
    /// The last bytes of a packet of ours.
    Mark {
        /// As in [`Order`].
        value: u64,
    }
}

/// Whose a packet is that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This trial's.
    Trial,
    /// An earlier trial's of the same run.
    Late,
    /// Somebody else's.
    Other,
}

impl Turn {
    /// The flow of the packet that is due at `now_ns`, if one is; it is then taken for made.
    #[inline(always)]
    pub fn next(&mut self, order: &Order, now_ns: u64) -> Option<u32> {
        if now_ns < order.starts_ns || now_ns >= order.ends_ns {
            return None;
        }
        let now_ps = (now_ns - order.starts_ns).wrapping_mul(1000);
        if self.due_ps > now_ps {
            return None;
        }
        let few_ps = order.gap_ps.wrapping_mul(BURST_MAX);
        let debt_max_ps = if few_ps > DEBT_MAX_PS {
            few_ps
        } else {
            DEBT_MAX_PS
        };
        if now_ps - self.due_ps > debt_max_ps {
            self.due_ps = now_ps - debt_max_ps;
        }
        self.due_ps += order.gap_ps;
        self.made += 1;
        self.pending += 1;
        let flow = self.flow;
        self.flow = flow.wrapping_add(order.stride);
        if self.flow >= order.flows {
            self.flow = self.flow.wrapping_sub(order.flows);
        }
        Some(flow)
    }

    /// The driver has taken and refused so many packets on this CPU: ours, unless there are more of them than it was given.
    #[inline(always)]
    pub fn heard(&mut self, taken: u64, refused: u64) {
        let all = taken.wrapping_add(refused);
        if all > self.pending {
            return;
        }
        self.pending -= all;
        self.taken += taken;
        self.refused += refused;
    }
}

/// Host part and port of a flow's source.
#[inline(always)]
const fn source(flow: u32) -> (u32, u16) {
    let host = flow.wrapping_mul(SCATTER) & ((1 << HOST_BITS) - 1);
    let port = (flow >> HOST_BITS).wrapping_add(host.wrapping_mul(STIR) >> 15);
    (host, FIRST_PORT | (port as u16 & (FIRST_PORT - 1)))
}

/// Writes the headers of a flow's packet; `None` where the packet is too short for them.
#[inline(always)]
pub fn write<P: Packet>(packet: &mut P, order: &Order, flow: u32) -> Option<()> {
    let (host, port) = source(flow);
    let ethernet = packet.get_mut::<Ethernet>(0)?;
    ethernet.macs_low = order.ethernet.macs_low;
    ethernet.macs_high = order.ethernet.macs_high;
    ethernet.ethertype = order.ethernet.ethertype;
    if order.ethernet.ethertype == crate::wire::ETHERTYPE_IPV6 {
        let low = u64::from(host).to_be();
        let high = SOURCES_V6.to_be();
        let ip = packet.get_mut::<Ipv6>(size_of::<Ethernet>())?;
        ip.version_class_label = order.ipv6.version_class_label;
        ip.payload_length = order.ipv6.payload_length;
        ip.next_header = order.ipv6.next_header;
        ip.hop_limit = order.ipv6.hop_limit;
        ip.set_addresses([high, low], order.ipv6.destination);
        let sum = halves(high as u32) + halves((high >> 32) as u32);
        let sum = sum + halves(low as u32) + halves((low >> 32) as u32);
        let at = size_of::<Ethernet>() + size_of::<Ipv6>();
        return write_udp(packet.get_mut::<Udp>(at)?, order, port, sum);
    }
    let source = (SOURCES_V4 | host).to_be();
    let ip = packet.get_mut::<Ipv4>(size_of::<Ethernet>())?;
    *ip = order.ipv4;
    ip.source = source;
    ip.checksum = !fold(order.header_sum + halves(source));
    let at = size_of::<Ethernet>() + size_of::<Ipv4>();
    write_udp(packet.get_mut::<Udp>(at)?, order, port, halves(source))
}

#[inline(always)]
fn write_udp(udp: &mut Udp, order: &Order, port: u16, address_sum: u32) -> Option<()> {
    let port = Be16::new(port);
    let checksum = !fold(order.datagram_sum + address_sum + u32::from(port.raw()));
    udp.ports.source = port;
    udp.ports.destination = order.udp.ports.destination;
    udp.length = order.udp.length;
    // Zero would say that there is none.
    udp.checksum = if checksum == 0 { 0xffff } else { checksum };
    Some(())
}

/// Whose the packet is, by its last bytes.
#[inline(always)]
pub fn origin<P: Packet>(packet: &P, order: &Order) -> Origin {
    let length = packet.len();
    if order.mark == 0 || length < size_of::<Mark>() {
        return Origin::Other;
    }
    let Some(mark) = packet.get_at::<Mark>(length - size_of::<Mark>()) else {
        return Origin::Other;
    };
    let found = mark.value;
    if found == order.mark {
        Origin::Trial
    } else if found >> TRIAL_BITS == order.mark >> TRIAL_BITS {
        Origin::Late
    } else {
        Origin::Other
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::*;

    const ORDER: Order = Order {
        starts_ns: 1_000,
        ends_ns: 2_000_000,
        gap_ps: 500_000,
        mark: 0x1234_5678_9abc_0001,
        flows: 5,
        stride: 2,
        header_sum: 0,
        datagram_sum: 0,
        ethernet: Ethernet {
            macs_low: 0,
            macs_high: 0,
            ethertype: crate::wire::ETHERTYPE_IPV4,
        },
        ipv4: Ipv4 {
            version_ihl: 0x45,
            tos: 0,
            total_length: Be16::new(36),
            identification: Be16::new(0),
            fragment: Be16::new(0),
            ttl: 64,
            protocol: 17,
            checksum: 0,
            source: 0,
            destination: 0,
        },
        ipv6: Ipv6 {
            version_class_label: crate::wire::Be32::new(0),
            payload_length: Be16::new(0),
            next_header: 0,
            hop_limit: 0,
            source: [0; 2],
            destination: [0; 2],
        },
        udp: Udp {
            ports: crate::wire::Ports {
                source: Be16::new(0),
                destination: Be16::new(53),
            },
            length: Be16::new(16),
            checksum: 0,
        },
        padding: [0; 14],
    };

    #[test]
    fn a_packet_is_due_every_gap_between_start_and_end() {
        let mut turn = Turn::default();
        for (now_ns, flow, why) in [
            (0, None, "before the start"),
            (1_000, Some(0), "the first at once"),
            (1_499, None, "half a microsecond has not passed"),
            (1_500, Some(2), "now it has"),
            (2_600, Some(4), "the third is late"),
            (2_600, Some(1), "and so is the fourth"),
            (2_600, None, "the fifth is not due"),
            (1_000_000, Some(3), "a long pause"),
            (2_000_000, None, "the end"),
        ] {
            assert_eq!(turn.next(&ORDER, now_ns), flow, "{why}");
        }
        assert_eq!((turn.made, turn.pending), (5, 5));
    }

    #[test]
    fn a_pause_is_made_up_for_to_a_bound() {
        let mut turn = Turn::default();
        let sent = core::iter::from_fn(|| turn.next(&ORDER, 1_500_000)).count();
        assert_eq!(sent as u64, DEBT_MAX_PS / ORDER.gap_ps + 1);
    }

    #[test]
    fn a_slow_schedule_makes_up_for_some_packets_after_any_pause() {
        let slow = Order {
            ends_ns: u64::MAX,
            gap_ps: 10_000_000_000,
            ..ORDER
        };
        let mut turn = Turn::default();
        let sent = core::iter::from_fn(|| turn.next(&slow, 3_000_000_000)).count();
        assert_eq!(sent as u64, BURST_MAX + 1);
    }

    #[test]
    fn strides_reach_every_flow() {
        let mut turn = Turn::default();
        let flows: Vec<u32> = (0..5)
            .map(|step| turn.next(&ORDER, 1_000 + 500 * step).unwrap())
            .collect();
        assert_eq!(flows, [0, 2, 4, 1, 3]);
        let single = Order {
            flows: 1,
            stride: 0,
            ..ORDER
        };
        let mut turn = Turn::default();
        for step in 0..3 {
            assert_eq!(turn.next(&single, 1_000 + 500 * step), Some(0));
        }
    }

    #[test]
    fn what_the_driver_says_is_ours_up_to_what_it_was_given() {
        let mut turn = Turn {
            pending: 20,
            ..Turn::default()
        };
        turn.heard(15, 1);
        turn.heard(5, 0);
        assert_eq!((turn.pending, turn.taken, turn.refused), (4, 15, 1));
        turn.heard(0, 4);
        assert_eq!((turn.pending, turn.taken, turn.refused), (0, 15, 5));
    }

    #[test]
    fn every_flow_has_a_source_of_its_own() {
        // Steps of a prime reach into every part of the range.
        let flows = (0..FLOWS_MAX).step_by(101);
        let sources: BTreeSet<(u32, u16)> = flows.clone().map(source).collect();
        assert_eq!(sources.len(), flows.count());
        let hosts: BTreeSet<u32> = (0..1 << HOST_BITS).map(|flow| source(flow).0).collect();
        assert_eq!(hosts.len(), 1 << HOST_BITS);
        assert!(hosts.iter().all(|host| *host < 1 << HOST_BITS));
        assert!(sources.iter().all(|(_, port)| *port >= FIRST_PORT));
    }

    #[test]
    fn packets_are_known_by_their_last_bytes() {
        let ending = |mark: u64, before: usize| {
            let mut bytes = std::vec![7; before];
            bytes.extend(mark.to_ne_bytes());
            crate::frame::Frame::new(&bytes).unwrap()
        };
        for (mark, order, expected, why) in [
            (ORDER.mark, ORDER, Origin::Trial, "this one's"),
            (ORDER.mark + 1, ORDER, Origin::Late, "another trial's"),
            (ORDER.mark ^ 1 << 40, ORDER, Origin::Other, "another run's"),
            (
                0,
                Order { mark: 0, ..ORDER },
                Origin::Other,
                "nothing is sent",
            ),
        ] {
            for before in [14, 61, 1500] {
                assert_eq!(origin(&ending(mark, before), &order), expected, "{why}");
            }
        }
        let short = crate::frame::Frame::new(&[1; 7]).unwrap();
        assert_eq!(origin(&short, &ORDER), Origin::Other);
    }

    #[test]
    fn a_packet_without_room_for_its_headers_is_not_written() {
        let mut short = crate::frame::Frame::new(&[0; 41]).unwrap();
        assert_eq!(write(&mut short, &ORDER, 0), None);
        let mut long = crate::frame::Frame::new(&[0; 50]).unwrap();
        assert_eq!(write(&mut long, &ORDER, 0), Some(()));
    }
}
