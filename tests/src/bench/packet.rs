//! Packets of the cases, from the Ethernet header on.

use std::net::{IpAddr, SocketAddr};

use lb_common::wire::{protocol, tcp_flags};

use super::wrapper::{Frame, Vary};

/// Kinds of TCP segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The first of a connection.
    Syn,
    /// Data of a connection that exists.
    Data,
}

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TCP: usize = 20;
/// Bytes in a segment with data.
const PAYLOAD: usize = 10;

/// A TCP segment. The restored part is all up to the TCP header, which no program writes to.
///
/// # Panics
///
/// Where the addresses are of two families.
pub fn tcp(source: SocketAddr, destination: SocketAddr, segment: Segment) -> Frame {
    let payload = if segment == Segment::Data { PAYLOAD } else { 0 };
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    bytes.extend(ip_header(
        source.ip(),
        destination.ip(),
        protocol::TCP,
        TCP + payload,
    ));
    let restore = bytes.len();
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    let flags = match segment {
        Segment::Syn => tcp_flags::SYN,
        Segment::Data => tcp_flags::ACK,
    };
    bytes.extend([
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        1,
        (TCP as u8 / 4) << 4,
        flags,
        0xff,
        0xff,
        0,
        0,
        0,
        0,
    ]);
    bytes.extend(vec![b'x'; payload]);
    Frame {
        bytes,
        restore,
        vary: None,
    }
}

/// The last bytes of the source address take `flows` values.
pub fn vary_source(frame: Frame, flows: u32) -> Frame {
    let offset = match is_ipv4(&frame) {
        true => ETHERNET + 12,
        false => ETHERNET + 8 + 12,
    };
    Frame {
        vary: Some(Vary { offset, flows }),
        ..frame
    }
}

/// EtherType and IP header for `length` bytes of payload.
///
/// # Panics
///
/// Where the addresses are of two families.
pub fn ip_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let [high, low] = ((IPV4 + length) as u16).to_be_bytes();
            let mut header = vec![
                0x08, 0x00, 0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0,
            ];
            header.extend(source.octets());
            header.extend(destination.octets());
            header
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let [high, low] = (length as u16).to_be_bytes();
            let mut header = vec![0x86, 0xdd, 0x60, 0, 0, 0, high, low, protocol, 64];
            header.extend(source.octets());
            header.extend(destination.octets());
            header
        }
        _ => panic!("{source} and {destination} are of two families"),
    }
}

fn is_ipv4(frame: &Frame) -> bool {
    frame.bytes[12..14] == [0x08, 0x00]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets() {
        for (source, destination, length, source_tail) in [
            (
                "10.0.0.1:4000",
                "198.51.100.1:80",
                ETHERNET + IPV4 + TCP + PAYLOAD,
                [10, 0, 0, 1],
            ),
            (
                "[2001:db8::1]:4000",
                "[2001:db8:100::1]:80",
                ETHERNET + 40 + TCP + PAYLOAD,
                [0, 0, 0, 1],
            ),
        ] {
            let [source, destination] =
                [source, destination].map(|text| text.parse().expect("an address"));
            let frame = vary_source(tcp(source, destination, Segment::Data), 64);
            assert_eq!(frame.bytes.len(), length, "{source}");
            assert_eq!(
                frame.bytes[frame.restore..frame.restore + 4],
                [0x0f, 0xa0, 0, 80],
                "{source}: ports"
            );
            let at = frame.vary.expect("it varies").offset;
            assert_eq!(frame.bytes[at..at + 4], source_tail, "{source}");
        }
    }
}
