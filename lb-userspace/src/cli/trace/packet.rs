//! What a packet is, in the words of a line: addresses, ports, flags.

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::wire::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, Ethernet, Ipv4, Ipv6, Ports,
    protocol,
};
use serde::Serialize;
use zerocopy::FromBytes as _;

/// As far as the bytes that were told go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    /// Sender, with its port where there is one.
    pub source: Option<String>,
    /// Receiver, likewise.
    pub destination: Option<String>,
    /// `tcp`, `udp`, `icmp`, `protocol 47`, `ethertype 0x0806`.
    pub protocol: String,
    /// Flags of TCP, `fragment`; empty: nothing to say.
    pub detail: String,
}

impl Summary {
    /// Of the first bytes of a frame.
    pub(super) fn of(frame: &[u8]) -> Self {
        Self::read(frame).unwrap_or_else(|| Self {
            protocol: "too short".into(),
            ..Self::default()
        })
    }

    fn read(frame: &[u8]) -> Option<Self> {
        let (ethernet, mut rest) = Ethernet::read_from_prefix(frame).ok()?;
        let mut ethertype = ethernet.ethertype;
        for _ in 0..2 {
            if ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ {
                let tag: [u8; 4] = rest.get(..4)?.try_into().ok()?;
                ethertype = lb_common::wire::Be16::new(u16::from_be_bytes([tag[2], tag[3]]));
                rest = &rest[4..];
            }
        }
        if ethertype == ETHERTYPE_IPV4 {
            ipv4(rest)
        } else if ethertype == ETHERTYPE_IPV6 {
            ipv6(rest)
        } else {
            Some(Self {
                protocol: format!("ethertype {:#06x}", ethertype.value()),
                ..Self::default()
            })
        }
    }
}

fn ipv4(packet: &[u8]) -> Option<Summary> {
    let (ip, _) = Ipv4::read_from_prefix(packet).ok()?;
    let header = usize::from(ip.version_ihl & 0x0f) * 4;
    let from = IpAddr::from(Ipv4Addr::from(ip.source.to_ne_bytes()));
    let to = IpAddr::from(Ipv4Addr::from(ip.destination.to_ne_bytes()));
    let place = u16::from_be_bytes(packet.get(6..8)?.try_into().ok()?);
    let later = place & 0x1fff != 0;
    let rest = packet.get(header..).filter(|_| !later);
    let summary = transport(from, to, ip.protocol, rest.unwrap_or_default());
    Some(match place & 0x3fff {
        0 => summary,
        _ => fragment(summary),
    })
}

fn ipv6(packet: &[u8]) -> Option<Summary> {
    let (ip, rest) = Ipv6::read_from_prefix(packet).ok()?;
    let address = |words: [u64; 2]| {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&words[0].to_ne_bytes());
        octets[8..].copy_from_slice(&words[1].to_ne_bytes());
        IpAddr::from(Ipv6Addr::from(octets))
    };
    let (from, to) = (address(ip.source), address(ip.destination));
    let (mut next, mut rest) = (ip.next_header, rest);
    // Hop-by-hop, routing, destination options (RFC 8200), as many as are told.
    while matches!(next, 0 | 43 | 60) {
        let [following, length] = rest.get(..2)?.try_into().ok()?;
        rest = rest.get(usize::from(length) * 8 + 8..)?;
        next = following;
    }
    const FRAGMENT: u8 = 44;
    if next != FRAGMENT {
        return Some(transport(from, to, next, rest));
    }
    let following = *rest.first()?;
    let place = u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?);
    let first = rest.get(8..).filter(|_| place & 0xfff8 == 0);
    Some(fragment(transport(
        from,
        to,
        following,
        first.unwrap_or_default(),
    )))
}

fn fragment(summary: Summary) -> Summary {
    let detail = match summary.detail.is_empty() {
        true => "fragment".into(),
        false => format!("{}, fragment", summary.detail),
    };
    Summary { detail, ..summary }
}

fn transport(from: IpAddr, to: IpAddr, number: u8, rest: &[u8]) -> Summary {
    let ports = Ports::read_from_prefix(rest).ok().map(|(ports, _)| ports);
    let has_ports = matches!(number, protocol::TCP | protocol::UDP);
    let with = |address: IpAddr, port: Option<u16>| match port {
        Some(port) => SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    };
    let ports = ports.filter(|_| has_ports);
    Summary {
        source: Some(with(from, ports.map(|ports| ports.source.value()))),
        destination: Some(with(to, ports.map(|ports| ports.destination.value()))),
        protocol: match number {
            protocol::TCP => "tcp".into(),
            protocol::UDP => "udp".into(),
            protocol::ICMP => "icmp".into(),
            protocol::ICMPV6 => "icmpv6".into(),
            other => format!("protocol {other}"),
        },
        detail: match (number, rest) {
            (protocol::TCP, [_, _, _, _, _, _, _, _, _, _, _, _, _, flags, ..]) => {
                tcp_flags(*flags)
            }
            (protocol::ICMP | protocol::ICMPV6, [kind, code, ..]) => {
                format!("type {kind} code {code}")
            }
            _ => String::new(),
        },
    }
}

/// `SYN`, `ACK,PSH`.
fn tcp_flags(flags: u8) -> String {
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set = (0..8).filter(|bit| flags >> bit & 1 == 1);
    set.map(|bit| NAMES[bit]).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fake;

    fn text(frame: &[u8]) -> String {
        let summary = Summary::of(frame);
        let end = |end: &Option<String>| end.clone().unwrap_or_else(|| "-".into());
        let (source, destination) = (end(&summary.source), end(&summary.destination));
        format!(
            "{source} {destination} {} {}",
            summary.protocol, summary.detail
        )
    }

    fn tagged(frame: &[u8], tags: usize) -> Vec<u8> {
        let mut out = frame[..12].to_vec();
        for _ in 0..tags {
            out.extend([0x81, 0, 0, 5]);
        }
        out.extend(&frame[12..]);
        out
    }

    #[test]
    fn packets_of_every_kind() {
        let syn = fake::traced_v4().bytes;
        let line = "192.0.2.7:4001 198.51.100.10:80 tcp SYN";
        assert_eq!(text(&syn), line);
        for tags in [1, 2] {
            assert_eq!(text(&tagged(&syn, tags)), line, "{tags} tags");
        }
        let with = |at: usize, value: &[u8]| {
            let mut changed = syn.clone();
            changed[at..at + value.len()].copy_from_slice(value);
            changed
        };
        for (frame, expected) in [
            (
                with(47, &[0x18]),
                "192.0.2.7:4001 198.51.100.10:80 tcp PSH,ACK",
            ),
            (
                with(20, &[0x20, 0]),
                "192.0.2.7:4001 198.51.100.10:80 tcp SYN, fragment",
            ),
            (with(20, &[0, 9]), "192.0.2.7 198.51.100.10 tcp fragment"),
            (
                with(23, &[1]),
                "192.0.2.7 198.51.100.10 icmp type 15 code 161",
            ),
            (with(23, &[47]), "192.0.2.7 198.51.100.10 protocol 47 "),
            (with(12, &[0x08, 0x06]), "- - ethertype 0x0806 "),
            (syn[..36].to_vec(), "192.0.2.7 198.51.100.10 tcp "),
            (syn[..30].to_vec(), "- - too short "),
            (Vec::new(), "- - too short "),
        ] {
            assert_eq!(text(&frame), expected);
        }
    }

    #[test]
    fn extension_headers() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 60, 64]);
        frame.extend(
            "2001:db8::7"
                .parse::<Ipv6Addr>()
                .expect("an address")
                .octets(),
        );
        frame.extend(
            "2001:db8::1"
                .parse::<Ipv6Addr>()
                .expect("an address")
                .octets(),
        );
        frame.extend([17, 0, 1, 4, 0, 0, 0, 0]);
        frame.extend([0x0f, 0xa1, 0, 53, 0, 8, 0, 0]);
        assert_eq!(text(&frame), "[2001:db8::7]:4001 [2001:db8::1]:53 udp ");
        frame[54] = 44;
        frame.splice(62..62, [17, 0, 0, 9, 0, 0, 0, 1]);
        assert_eq!(text(&frame), "2001:db8::7 2001:db8::1 udp fragment");
        frame[65] = 1;
        assert_eq!(
            text(&frame),
            "[2001:db8::7]:4001 [2001:db8::1]:53 udp fragment"
        );
    }

    /// Whatever the bytes are.
    #[test]
    fn nothing_makes_it_fail() {
        let syn = fake::traced_v4().bytes;
        for length in 0..syn.len() {
            for value in [0, 0x45, 0x4f, 0x60, 0x81, 0xdd, 0xff] {
                for at in 0..length {
                    let mut frame = syn[..length].to_vec();
                    frame[at] = value;
                    assert!(!Summary::of(&frame).protocol.is_empty());
                }
            }
        }
    }
}
