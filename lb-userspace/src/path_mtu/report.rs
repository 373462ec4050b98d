//! What an ICMP message says about a packet of our own. Pure.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |   type = 3    |   code = 4    |           checksum            |   RFC 792 and RFC 1191, section 4
//! +---------------+---------------+-------------------------------+
//! |           unused = 0          |       MTU of the next hop     |   0 of a router older than RFC 1191
//! +-------------------------------+-------------------------------+
//! |      the packet from its IP header on, 28 bytes at least      |
//! +---------------------------------------------------------------+
//!
//! +---------------+---------------+-------------------------------+
//! |   type = 2    |  code, any    |           checksum            |   RFC 4443, section 3.2
//! +---------------+---------------+-------------------------------+
//! |                        MTU of the next hop                    |
//! +---------------------------------------------------------------+
//! |      the packet from its IPv6 header on, as far as it fits    |
//! +---------------------------------------------------------------+
//! ```

use std::net::IpAddr;

use lb_common::wire::{IPV4_FRAGMENT_MASK, Icmp, Ipv4, Ipv6, Ports, protocol};
use zerocopy::{FromBytes as _, transmute};

/// "Packet of this tunnel is too big: so much would fit".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where the packet came from.
    pub source: IpAddr,
    /// Where it was going.
    pub destination: IpAddr,
    /// What it was.
    pub carrier: Carrier,
    /// Bytes, from the IP header on, that fit the link where it was dropped. Less than the packet had.
    pub mtu: u32,
}

/// What carries packets to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    /// UDP to this port.
    Udp(u16),
    /// IP itself: protocol 4 or 41.
    Ip,
}

/// Most that a packet may have had where a router does not say what fits (RFC 1191, section 7.1).
const PLATEAUS: [u32; 10] = [
    32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296, 68,
];
/// Every link of IPv6 takes so much (RFC 8200, section 5); who says less lies.
const IPV6_MIN: u32 = 1280;

impl Report {
    /// From a message over IPv4, from its IP header on. The kernel has looked at that header, not at the checksum behind it.
    pub fn v4(packet: &[u8]) -> Option<Self> {
        let message = packet.get(header_length(packet)?..)?;
        let (icmp, quote) = Icmp::ref_from_prefix(message).ok()?;
        if (icmp.kind, icmp.code) != (3, 4) || checksum(message) != 0xffff {
            return None;
        }
        let (ip, _) = Ipv4::ref_from_prefix(quote).ok()?;
        // A later fragment is none of ours, which are not to be fragmented, and has no ports.
        if ip.version_ihl >> 4 != 4 || ip.fragment.value() & IPV4_FRAGMENT_MASK != 0 {
            return None;
        }
        let length = u32::from(ip.total_length.value());
        let mtu = match icmp.rest.value() & 0xffff {
            0 => PLATEAUS.into_iter().find(|&plateau| plateau < length)?,
            mtu => mtu,
        };
        let carried = quote.get(header_length(quote)?..)?;
        Self {
            source: IpAddr::V4(ip.source.to_ne_bytes().into()),
            destination: IpAddr::V4(ip.destination.to_ne_bytes().into()),
            carrier: Carrier::of(ip.protocol, carried)?,
            mtu,
        }
        .about_less_than(length)
    }

    /// From a message over IPv6, from its ICMP header on. The kernel has compared its checksum.
    pub fn v6(message: &[u8]) -> Option<Self> {
        let (icmp, quote) = Icmp::ref_from_prefix(message).ok()?;
        let (ip, carried) = Ipv6::ref_from_prefix(quote).ok()?;
        let mtu = icmp.rest.value();
        if icmp.kind != 2 || ip.version_class_label.value() >> 28 != 6 || mtu < IPV6_MIN {
            return None;
        }
        let octets = |address: [u64; 2]| -> [u8; 16] { transmute!(address) };
        Self {
            source: IpAddr::V6(octets(ip.source).into()),
            destination: IpAddr::V6(octets(ip.destination).into()),
            // Ours have no extension headers.
            carrier: Carrier::of(ip.next_header, carried)?,
            mtu,
        }
        .about_less_than(size_of::<Ipv6>() as u32 + u32::from(ip.payload_length.value()))
    }

    /// A router that drops what would have fit is none (RFC 1191, section 5).
    fn about_less_than(self, length: u32) -> Option<Self> {
        (self.mtu < length).then_some(self)
    }
}

impl Carrier {
    fn of(number: u8, carried: &[u8]) -> Option<Self> {
        match number {
            protocol::UDP => {
                let (ports, _) = Ports::ref_from_prefix(carried).ok()?;
                Some(Self::Udp(ports.destination.value()))
            }
            protocol::IPV4 | protocol::IPV6 => Some(Self::Ip),
            _ => None,
        }
    }
}

/// Of an IPv4 packet, with its options.
fn header_length(packet: &[u8]) -> Option<usize> {
    let length = usize::from(packet.first()? & 0x0f) * 4;
    (length >= 20).then_some(length)
}

/// One's complement sum of everything: all ones where the checksum in it is right.
fn checksum(message: &[u8]) -> u16 {
    let sum: u32 = message
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    /// IPv4 header of a packet from 10.0.0.11 to 10.1.0.1, and four bytes of what it carries.
    fn quoted_v4(number: u8, length: u16, port: u16) -> Vec<u8> {
        let mut quote = vec![0x45, 0];
        quote.extend(length.to_be_bytes());
        quote.extend([0, 0, 0x40, 0, 63, number, 0, 0, 10, 0, 0, 11, 10, 1, 0, 1]);
        quote.extend([0xc0, 0]);
        quote.extend(port.to_be_bytes());
        quote.extend([0; 4]);
        quote
    }

    fn message_v4(kind: u8, code: u8, mtu: u16, quote: &[u8]) -> Vec<u8> {
        let mut message = vec![kind, code, 0, 0, 0, 0];
        message.extend(mtu.to_be_bytes());
        message.extend(quote);
        let sum = !checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 11]);
        packet.extend(message);
        packet
    }

    fn quoted_v6(next: u8, payload: u16, port: u16) -> Vec<u8> {
        let mut quote = vec![0x60, 0, 0, 0];
        quote.extend(payload.to_be_bytes());
        quote.extend([next, 63]);
        quote.extend("fd00::b".parse::<Ipv6Addr>().unwrap().octets());
        quote.extend("fd00:1::1".parse::<Ipv6Addr>().unwrap().octets());
        quote.extend([0xc0, 0]);
        quote.extend(port.to_be_bytes());
        quote.extend([0; 4]);
        quote
    }

    fn message_v6(kind: u8, mtu: u32, quote: &[u8]) -> Vec<u8> {
        let mut message = vec![kind, 0, 0, 0];
        message.extend(mtu.to_be_bytes());
        message.extend(quote);
        message
    }

    fn about_v4(carrier: Carrier, mtu: u32) -> Option<Report> {
        Some(Report {
            source: [10, 0, 0, 11].into(),
            destination: [10, 1, 0, 1].into(),
            carrier,
            mtu,
        })
    }

    fn about_v6(carrier: Carrier, mtu: u32) -> Option<Report> {
        Some(Report {
            source: "fd00::b".parse().unwrap(),
            destination: "fd00:1::1".parse().unwrap(),
            carrier,
            mtu,
        })
    }

    #[test]
    fn messages_over_ipv4() {
        const UDP: Option<Carrier> = Some(Carrier::Udp(6080));
        const IP: Option<Carrier> = Some(Carrier::Ip);
        let udp = |length| quoted_v4(17, length, 6080);
        let with = |at: usize, byte: u8| {
            let mut quote = udp(1556);
            quote[at] = byte;
            quote
        };
        let mut options = udp(1560);
        options[0] = 0x46;
        options.splice(20..20, [1; 4]);
        for (about, kind, code, mtu, quote, carrier, expected) in [
            ("a tunnel by UDP", 3, 4, 1400, udp(1556), UDP, 1400),
            ("by IPv4", 3, 4, 1400, quoted_v4(4, 1520, 0), IP, 1400),
            ("by IPv6", 3, 4, 1400, quoted_v4(41, 1520, 0), IP, 1400),
            ("options in the quote", 3, 4, 1400, options, UDP, 1400),
            ("one byte too many", 3, 4, 1555, udp(1556), UDP, 1555),
            ("it would have fit", 3, 4, 1556, udp(1556), None, 0),
            ("no MTU: the next plateau", 3, 4, 0, udp(1556), UDP, 1492),
            ("no MTU, at a plateau", 3, 4, 0, udp(1492), UDP, 1006),
            ("no MTU, below all", 3, 4, 0, udp(60), None, 0),
            ("unreachable otherwise", 3, 3, 1400, udp(1556), None, 0),
            ("another kind", 11, 4, 1400, udp(1556), None, 0),
            ("TCP", 3, 4, 1400, quoted_v4(6, 1500, 80), None, 0),
            ("more fragments", 3, 4, 1400, with(6, 0x20), None, 0),
            ("a later fragment", 3, 4, 1400, with(7, 1), None, 0),
            ("another version", 3, 4, 1400, with(0, 0x65), None, 0),
            ("no header that short", 3, 4, 1400, with(0, 0x44), None, 0),
        ] {
            let found = Report::v4(&message_v4(kind, code, mtu, &quote));
            let expected = carrier.and_then(|carrier| about_v4(carrier, expected));
            assert_eq!(found, expected, "{about}");
        }
    }

    #[test]
    fn messages_over_ipv6() {
        let udp = |payload| quoted_v6(17, payload, 6080);
        const UDP: Option<Carrier> = Some(Carrier::Udp(6080));
        for (about, kind, mtu, quote, carrier) in [
            ("a tunnel by UDP", 2, 1400, udp(1500), UDP),
            ("by IPv4", 2, 1400, quoted_v6(4, 1500, 0), Some(Carrier::Ip)),
            (
                "by IPv6",
                2,
                1400,
                quoted_v6(41, 1500, 0),
                Some(Carrier::Ip),
            ),
            ("one byte too many", 2, 1400, udp(1361), UDP),
            ("it would have fit", 2, 1400, udp(1360), None),
            ("the least", 2, 1280, udp(1500), UDP),
            ("less than that", 2, 1279, udp(1500), None),
            ("another kind", 1, 1400, udp(1500), None),
            ("a header between", 2, 1400, quoted_v6(44, 1500, 0), None),
        ] {
            let found = Report::v6(&message_v6(kind, mtu, &quote));
            let expected = carrier.and_then(|carrier| about_v6(carrier, mtu));
            assert_eq!(found, expected, "{about}");
        }
    }

    #[test]
    fn what_is_cut_off_says_nothing() {
        let v4 = message_v4(3, 4, 1400, &quoted_v4(17, 1556, 6080));
        let v6 = message_v6(2, 1400, &quoted_v6(17, 1500, 6080));
        // The ports are the last that is looked at.
        for length in 0..v6.len() - 4 {
            assert_eq!(Report::v6(&v6[..length]), None, "{length} bytes");
        }
        for length in 0..v4.len() {
            let mut cut = v4[..length].to_vec();
            if length > 24 {
                cut[22..24].copy_from_slice(&[0; 2]);
                let sum = !checksum(&cut[20..]);
                cut[22..24].copy_from_slice(&sum.to_be_bytes());
            }
            let found = Report::v4(&cut);
            assert_eq!(found.is_some(), length >= v4.len() - 4, "{length} bytes");
        }
    }

    #[test]
    fn a_wrong_checksum_says_nothing() {
        let mut packet = message_v4(3, 4, 1400, &quoted_v4(17, 1556, 6080));
        for at in 20..packet.len() {
            packet[at] ^= 1;
            assert_eq!(Report::v4(&packet), None, "byte {at}");
            packet[at] ^= 1;
        }
        assert!(Report::v4(&packet).is_some());
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            let _ = (Report::v4(&bytes), Report::v6(&bytes));
        }
    }
}
