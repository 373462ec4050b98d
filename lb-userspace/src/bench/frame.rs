//! The packets: what is the same in all of them, with the sums that the program begins with.

#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use lb_common::frame::Frame;
use lb_common::generator::{self, Order};
use lb_common::wire::{
    Be16, Be32, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, IPV4_DF, Ipv4, Ipv6, Ports, Udp,
    address_words, halves, protocol,
};
use zerocopy::IntoBytes as _;

/// Ethernet header and frame checksum: what a frame has and the MTU does not count.
pub const LINK_BYTES: u32 = 18;
/// Preamble, start of frame and gap between frames: what a frame costs on the wire beside its bytes.
pub const WIRE_BYTES: u32 = 20;
/// Largest frame: what fits a page beside what the kernel keeps there.
pub const LARGEST: u32 = 3072;
/// A frame's checksum, which programs do not see.
pub(super) const CHECKSUM_BYTES: u32 = 4;

const MARK_BYTES: u32 = 8;
/// Smallest frame of Ethernet (IEEE 802.3).
const ETHERNET_MIN: u32 = 64;
const HOPS: u8 = 64;

/// The smallest frame that has room for headers and mark.
pub fn smallest(v6: bool) -> u32 {
    let ip = if v6 {
        size_of::<Ipv6>()
    } else {
        size_of::<Ipv4>()
    };
    let headers = (size_of::<Ethernet>() + ip + size_of::<Udp>()) as u32;
    (headers + MARK_BYTES + CHECKSUM_BYTES).max(ETHERNET_MIN)
}

/// From whom to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// MAC address of the interface.
    pub source_mac: [u8; 6],
    /// MAC address of who takes the packets to the VIP.
    pub destination_mac: [u8; 6],
    /// VIP and port.
    pub vip: SocketAddr,
}

/// Fills in the packets' part of `order`, whose mark is set, and returns the first packet: `frame_bytes` less its checksum.
///
/// # Panics
///
/// Where `frame_bytes` is not between [`smallest`] and [`LARGEST`]: the command line refuses it.
pub fn compose(order: &mut Order, ends: &Ends, frame_bytes: u32) -> Vec<u8> {
    let v6 = ends.vip.is_ipv6();
    assert!(
        (smallest(v6)..=LARGEST).contains(&frame_bytes),
        "{frame_bytes} bytes"
    );
    let mut bytes = vec![0; (frame_bytes - CHECKSUM_BYTES) as usize];
    let at = bytes.len() - MARK_BYTES as usize;
    bytes[at..].copy_from_slice(order.mark.as_bytes());
    let ip = if v6 {
        size_of::<Ipv6>()
    } else {
        size_of::<Ipv4>()
    };
    let payload = bytes.split_off(size_of::<Ethernet>() + ip + size_of::<Udp>());

    order.ethernet = ethernet(ends);
    order.udp = Udp {
        ports: Ports {
            source: Be16::new(0),
            destination: Be16::new(ends.vip.port()),
        },
        length: Be16::new((size_of::<Udp>() + payload.len()) as u16),
        checksum: 0,
    };
    let udp = order.udp;
    let address_sum = match ends.vip.ip() {
        IpAddr::V4(vip) => {
            let vip = u32::from_ne_bytes(vip.octets());
            order.ipv4 = ipv4(vip, udp.length);
            order.header_sum = sum(order.ipv4.as_bytes());
            halves(vip)
        }
        IpAddr::V6(vip) => {
            order.ipv6 = ipv6(address_words(vip.octets()), udp.length);
            sum(&vip.octets())
        }
    };
    let pseudo = [0, protocol::UDP];
    order.datagram_sum = address_sum
        + sum(&pseudo)
        + sum(udp.length.as_bytes())
        + sum(udp.as_bytes())
        + sum(&payload);

    bytes.extend(payload);
    let mut first = Frame::new(&bytes).expect("a frame of at most LARGEST bytes fits");
    generator::write(&mut first, order, 0).expect("the frame has room for its headers");
    first.bytes().to_vec()
}

fn ethernet(ends: &Ends) -> Ethernet {
    let [a, b, c, d, e, f] = ends.destination_mac;
    let [g, h, rest @ ..] = ends.source_mac;
    Ethernet {
        macs_low: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        macs_high: u32::from_ne_bytes(rest),
        ethertype: if ends.vip.is_ipv6() {
            ETHERTYPE_IPV6
        } else {
            ETHERTYPE_IPV4
        },
    }
}

fn ipv4(destination: u32, payload: Be16) -> Ipv4 {
    Ipv4 {
        version_ihl: 0x45,
        total_length: Be16::new(size_of::<Ipv4>() as u16 + payload.value()),
        fragment: Be16::new(IPV4_DF),
        ttl: HOPS,
        protocol: protocol::UDP,
        destination,
        ..Ipv4::default()
    }
}

fn ipv6(destination: [u64; 2], payload: Be16) -> Ipv6 {
    Ipv6 {
        version_class_label: Be32::new(6 << 28),
        payload_length: payload,
        next_header: protocol::UDP,
        hop_limit: HOPS,
        destination,
        ..Ipv6::default()
    }
}

/// One's complement sum of words as they lie, unfolded; an odd byte at the end is followed by a zero.
fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map(|byte| [*byte, 0]);
    let words = words.iter().copied().chain(last);
    words.map(|word| u32::from(u16::from_ne_bytes(word))).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lb_common::wire::fold;

    use super::*;

    const MARK: u64 = 0x0123_4567_89ab_cdef;

    fn ends(vip: &str) -> Ends {
        Ends {
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            vip: vip.parse().unwrap(),
        }
    }

    fn order() -> Order {
        Order {
            mark: MARK,
            flows: 1 << 20,
            ..Order::default()
        }
    }

    /// Sum of the datagram with its pseudo-header: all ones where the checksum is right.
    fn datagram(frame: &[u8], v6: bool) -> u16 {
        let addresses = if v6 { 22..54 } else { 26..34 };
        let udp = &frame[addresses.end..];
        let length = (udp.len() as u16).to_be_bytes();
        fold(sum(&frame[addresses]) + sum(&[0, 17]) + sum(&length) + sum(udp))
    }

    #[test]
    fn every_packet_has_right_checksums_whatever_was_in_its_page() {
        for vip in ["198.51.100.1:53", "[2001:db8::1]:53"] {
            let v6 = ends(vip).vip.is_ipv6();
            for size in [smallest(v6), 512, 1001, 1518, LARGEST] {
                let mut order = order();
                let first = compose(&mut order, &ends(vip), size);
                assert_eq!(first.len() as u32, size - 4);
                let headers = if v6 { 62 } else { 42 };
                for flow in [0, 1, 77, 131_071, 131_072, 1_000_000] {
                    let mut page = first.clone();
                    page[..headers].fill(0xee);
                    let mut frame = Frame::new(&page).unwrap();
                    generator::write(&mut frame, &order, flow).unwrap();
                    let frame = frame.bytes();
                    let why = format!("{vip}, {size} bytes, flow {flow}");
                    assert_eq!(datagram(frame, v6), 0xffff, "{why}");
                    if !v6 {
                        assert_eq!(fold(sum(&frame[14..34])), 0xffff, "{why}");
                    }
                    assert!(frame.ends_with(MARK.as_bytes()), "{why}");
                }
            }
        }
    }

    /// RSS spreads by both.
    #[test]
    fn flows_are_written_into_addresses_and_ports() {
        for (vip, source, prefix) in [
            ("198.51.100.1:53", 26..30, &[198, 18][..]),
            ("[2001:db8::1]:53", 22..38, &[0x20, 1, 0, 2, 0, 0, 0, 0]),
        ] {
            let mut order = order();
            let first = compose(&mut order, &ends(vip), 128);
            let port = source.end + source.len();
            let written = (0..1000).map(|flow| {
                let mut frame = Frame::new(&first).unwrap();
                generator::write(&mut frame, &order, flow).unwrap();
                let bytes = frame.bytes();
                (
                    bytes[source.clone()].to_vec(),
                    bytes[port..port + 2].to_vec(),
                )
            });
            let (addresses, ports): (BTreeSet<_>, BTreeSet<_>) = written.unzip();
            assert_eq!(addresses.len(), 1000, "{vip}");
            // Of 1000 that are drawn from 32,768, some 985 differ.
            assert!(ports.len() > 950, "{vip}: {} ports", ports.len());
            assert!(first[source].starts_with(prefix), "{vip}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn the_smallest_packets_to_the_byte() {
        let v4 = compose(&mut order(), &ends("198.51.100.1:53"), 64);
        let mut expected = vec![
            2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0,
            0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0x4a, 0x78, 198, 18, 0, 0, 198, 51, 100, 1,
            0x80, 0, 0, 53, 0, 26,
        ];
        assert_eq!(v4[..expected.len()], expected);
        assert_eq!(v4.len(), 60);
        assert_eq!(v4[42..52], [0; 10]);

        let v6 = compose(&mut order(), &ends("[2001:db8::1]:53"), 74);
        expected = vec![
            2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd,
            0x60, 0, 0, 0, 0, 16, 17, 64,
            0x20, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
            0x80, 0, 0, 53, 0, 16,
        ];
        assert_eq!(v6[..expected.len()], expected);
        assert_eq!(v6.len(), 70);
    }
}
