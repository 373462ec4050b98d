//! Packets byte by byte, with true checksums: what clients send and what nodes make of it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Ethernet addresses of every packet made here: destination, source.
pub const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
/// FIN.
pub const FIN: u8 = 1;
/// SYN.
pub const SYN: u8 = 2;
/// RST.
pub const RST: u8 = 4;
/// ACK.
pub const ACK: u8 = 16;

/// A TCP segment in its IP packet.
#[derive(Clone, Debug)]
pub struct Segment {
    /// From.
    pub source: SocketAddr,
    /// To.
    pub destination: SocketAddr,
    /// [`SYN`] and so on.
    pub flags: u8,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// TCP options, padded to words by the caller.
    pub options: Vec<u8>,
    /// Bytes of payload.
    pub payload: usize,
    /// DSCP and ECN.
    pub tos: u8,
    /// IPv4 options, or one IPv6 destination-options header per eight bytes.
    pub ip_options: Vec<u8>,
}

impl Segment {
    /// A segment without data or options.
    pub fn new(source: SocketAddr, destination: SocketAddr, flags: u8) -> Self {
        Self {
            source,
            destination,
            flags,
            sequence: 0x0102_0304,
            acknowledgment: 0,
            options: Vec::new(),
            payload: 0,
            tos: 0,
            ip_options: Vec::new(),
        }
    }

    /// The IP packet.
    pub fn ip(&self) -> Vec<u8> {
        ip(
            self.source.ip(),
            self.destination.ip(),
            6,
            self.tos,
            &self.ip_options,
            &self.tcp(),
        )
    }

    /// The frame.
    pub fn frame(&self) -> Vec<u8> {
        frame(&self.ip())
    }

    /// The TCP segment, with its checksum.
    pub fn tcp(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.source.port().to_be_bytes());
        tcp.extend(self.destination.port().to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgment.to_be_bytes());
        let words = 5 + self.options.len() as u8 / 4;
        tcp.extend([words << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(&self.options);
        tcp.extend((0..self.payload).map(|i| i as u8));
        let sum = checksum(&[
            &pseudo(self.source.ip(), self.destination.ip(), 6, tcp.len()),
            &tcp,
        ]);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        tcp
    }
}

/// A tunnel packet of version 1.
#[derive(Clone, Debug)]
pub struct Tunnel {
    /// Outer source.
    pub source: IpAddr,
    /// Outer destination.
    pub destination: IpAddr,
    /// All hops.
    pub hops: Vec<IpAddr>,
    /// Which hop it is on its way to.
    pub index: u8,
    /// Flags, `V6` set as the outer family demands.
    pub flags: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN of the outer header.
    pub tos: u8,
    /// UDP source and destination port.
    pub ports: (u16, u16),
}

impl Tunnel {
    /// From `source` to the first of `hops`.
    pub fn new(source: IpAddr, hops: &[IpAddr]) -> Self {
        Self {
            source,
            destination: hops[0],
            hops: hops.to_vec(),
            index: 0,
            flags: 0,
            ttl: 64,
            tos: 0,
            ports: (0xc123, 6080),
        }
    }

    /// The frame that carries `inner`, an IP packet.
    pub fn frame(&self, inner: &[u8]) -> Vec<u8> {
        let v6 = self.destination.is_ipv6();
        let mut gue = vec![
            2 + self.hops.len() as u8 * if v6 { 4 } else { 1 },
            if inner[0] >> 4 == 4 { 4 } else { 41 },
            0,
            0,
            1,
            self.index << 4 | self.hops.len() as u8,
            self.flags | u8::from(v6),
            0,
            0,
            7,
            0,
            0,
        ];
        for hop in &self.hops {
            gue.extend(octets(*hop));
        }
        gue.extend(inner);
        let mut udp = Vec::new();
        udp.extend(self.ports.0.to_be_bytes());
        udp.extend(self.ports.1.to_be_bytes());
        udp.extend((gue.len() as u16 + 8).to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(gue);
        let mut outer = ip(self.source, self.destination, 17, self.tos, &[], &udp);
        set_ttl(&mut outer, self.ttl);
        frame(&outer)
    }

    /// Offset of the inner packet in the frame.
    pub fn inner_offset(&self) -> usize {
        let (ip, address) = if self.destination.is_ipv6() {
            (40, 16)
        } else {
            (20, 4)
        };
        14 + ip + 8 + 12 + self.hops.len() * address
    }
}

/// `inner` in a tunnel that any host can end: IP in IP, or GUE without private data to the tunnel's port.
pub fn plain_tunnel(
    source: IpAddr,
    destination: IpAddr,
    gue: bool,
    tos: u8,
    inner: &[u8],
) -> Vec<u8> {
    let kind = if inner[0] >> 4 == 4 { 4 } else { 41 };
    if !gue {
        return ip(source, destination, kind, tos, &[], inner);
    }
    let mut udp = vec![0xc0, 1];
    udp.extend(lb_common::tunnel::PORT.to_be_bytes());
    udp.extend((12 + inner.len() as u16).to_be_bytes());
    udp.extend([0, 0, 0, kind, 0, 0]);
    udp.extend(inner);
    ip(source, destination, 17, tos, &[], &udp)
}

/// An ICMP error of type `kind` from `source` about `quoted`, an IP packet, to whoever sent that.
pub fn icmp_error(source: IpAddr, kind: u8, quoted: &[u8]) -> Vec<u8> {
    let body = [&[0, 0, 5, 0], quoted].concat();
    icmp(source, source_of(quoted), kind, &body)
}

/// An echo request with 32 bytes of data.
pub fn ping(source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let kind = if source.is_ipv4() { 8 } else { 128 };
    let mut body = vec![0x12, 0x34, 0, 1];
    body.extend(0..32);
    icmp(source, destination, kind, &body)
}

fn icmp(source: IpAddr, destination: IpAddr, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut icmp = vec![kind, 0, 0, 0];
    icmp.extend(body);
    let sum = icmp_checksum(source, destination, &icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let protocol = if source.is_ipv4() { 1 } else { 58 };
    ip(source, destination, protocol, 0, &[], &icmp)
}

fn icmp_checksum(source: IpAddr, destination: IpAddr, icmp: &[u8]) -> u16 {
    match destination {
        IpAddr::V4(_) => checksum(&[icmp]),
        IpAddr::V6(_) => checksum(&[&pseudo(source, destination, 58, icmp.len()), icmp]),
    }
}

/// A UDP datagram in its IP packet.
pub fn datagram(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut udp = Vec::new();
    udp.extend(source.port().to_be_bytes());
    udp.extend(destination.port().to_be_bytes());
    udp.extend([0, 8, 0, 0]);
    ip(source.ip(), destination.ip(), 17, 0, &[], &udp)
}

/// A UDP datagram with data, its checksum true, in its IP packet.
pub fn message(source: SocketAddr, destination: SocketAddr, tos: u8, data: &[u8]) -> Vec<u8> {
    let mut udp = Vec::new();
    udp.extend(source.port().to_be_bytes());
    udp.extend(destination.port().to_be_bytes());
    udp.extend((8 + data.len() as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(data);
    let sum = checksum(&[&pseudo(source.ip(), destination.ip(), 17, udp.len()), &udp]);
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    ip(source.ip(), destination.ip(), 17, tos, &[], &udp)
}

/// An Ethernet header before an IP packet.
pub fn frame(ip: &[u8]) -> Vec<u8> {
    let ethertype = if ip[0] >> 4 == 4 {
        [8, 0]
    } else {
        [0x86, 0xdd]
    };
    [&MACS[..], &ethertype, ip].concat()
}

/// An IP packet around `payload`; IPv4 with DF.
pub fn ip(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    tos: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = Vec::new();
    if source.is_ipv4() {
        let header = 20 + options.len();
        packet.extend([0x40 | (header as u8 / 4), tos]);
        packet.extend(((header + payload.len()) as u16).to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
        packet.extend(octets(source));
        packet.extend(octets(destination));
        packet.extend(options);
        mend(&mut packet);
    } else {
        packet.extend((6 << 28 | u32::from(tos) << 20).to_be_bytes());
        packet.extend(((options.len() + payload.len()) as u16).to_be_bytes());
        let extensions = options.len() / 8;
        packet.extend([if extensions > 0 { 60 } else { protocol }, 64]);
        packet.extend(octets(source));
        packet.extend(octets(destination));
        for (i, extension) in options.chunks(8).enumerate() {
            let next = if i + 1 < extensions { 60 } else { protocol };
            packet.extend([next, 0]);
            packet.extend(&extension[2..]);
        }
    }
    packet.extend(payload);
    packet
}

/// Sets TTL or hop limit of an IP packet.
pub fn set_ttl(packet: &mut [u8], ttl: u8) {
    if packet[0] >> 4 == 4 {
        packet[8] = ttl;
        mend(packet);
    } else {
        packet[7] = ttl;
    }
}

/// Makes the IPv4 header's checksum true.
pub fn mend(packet: &mut [u8]) {
    let header = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let sum = checksum(&[&packet[..header]]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Makes the length in the IP header that of the packet.
pub fn set_length(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        mend(packet);
    } else {
        let length = packet.len() as u16 - 40;
        packet[4..6].copy_from_slice(&length.to_be_bytes());
    }
}

/// The packet as one of its fragments; `offset` in eights of bytes.
pub fn fragment(packet: &[u8], offset: u16) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 {
        packet[6..8].copy_from_slice(&(0x2000 | offset).to_be_bytes());
        mend(&mut packet);
    } else {
        let next = std::mem::replace(&mut packet[6], 44);
        let [high, low] = (offset << 3 | 1).to_be_bytes();
        packet.splice(40..40, [next, 0, high, low, 0, 0, 0, 9]);
        set_length(&mut packet);
    }
    packet
}

/// Whether an IPv4 header's checksum is true, and those of TCP and ICMP.
pub fn checksums_hold(packet: &[u8]) -> bool {
    let (header, protocol, source, destination) = if packet[0] >> 4 == 4 {
        let header = usize::from(packet[0] & 15) * 4;
        if checksum(&[&packet[..header]]) != 0 {
            return false;
        }
        (header, packet[9], source_of(packet), destination_of(packet))
    } else {
        (40, packet[6], source_of(packet), destination_of(packet))
    };
    let rest = &packet[header..];
    match protocol {
        6 => checksum(&[&pseudo(source, destination, 6, rest.len()), rest]) == 0,
        1 | 58 => icmp_checksum(source, destination, rest) == 0,
        _ => true,
    }
}

/// Source of an IP packet.
pub fn source_of(packet: &[u8]) -> IpAddr {
    address(packet, 12, 8)
}

/// Destination of an IP packet.
pub fn destination_of(packet: &[u8]) -> IpAddr {
    address(packet, 16, 24)
}

fn address(packet: &[u8], v4: usize, v6: usize) -> IpAddr {
    if packet[0] >> 4 == 4 {
        IpAddr::from(<[u8; 4]>::try_from(&packet[v4..v4 + 4]).expect("four bytes"))
    } else {
        IpAddr::from(<[u8; 16]>::try_from(&packet[v6..v6 + 16]).expect("sixteen bytes"))
    }
}

pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The pseudo-header of a transport checksum. IPv4's words are among those of the v4-mapped form, whose others add up to
/// nothing on both sides.
pub(crate) fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let wide = |address: IpAddr| match address {
        IpAddr::V4(v4) => Ipv6Addr::from(u128::from(u32::from(v4))).octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let mut header = Vec::new();
    header.extend(wide(source));
    header.extend(wide(destination));
    header.extend((length as u32).to_be_bytes());
    header.extend([0, 0, 0, protocol]);
    header
}

/// The Internet checksum (RFC 1071) over parts of even length but for the last.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for word in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([
                word[0],
                word.get(1).copied().unwrap_or(0),
            ]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The parts of an IP packet (RFC 791, RFC 8200) whose payload is cut every `size` bytes, a multiple of eight.
pub fn fragments(packet: &[u8], size: usize, identification: u16) -> Vec<Vec<u8>> {
    let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let parts = packet[header..].chunks(size);
    let last = parts.len() - 1;
    let part = |(n, payload): (usize, &[u8])| {
        let mut part = packet[..header].to_vec();
        let offset = (n * size) as u16;
        if header == 20 {
            part[2..4].copy_from_slice(&((header + payload.len()) as u16).to_be_bytes());
            part[4..6].copy_from_slice(&identification.to_be_bytes());
            let eighths = offset / 8;
            let more = if n < last { 0x2000 } else { 0 };
            part[6..8].copy_from_slice(&(eighths | more).to_be_bytes());
            mend(&mut part);
        } else {
            part[4..6].copy_from_slice(&((8 + payload.len()) as u16).to_be_bytes());
            let next = std::mem::replace(&mut part[6], 44);
            part.extend([next, 0]);
            part.extend((offset | u16::from(n < last)).to_be_bytes());
            part.extend(u32::from(identification).to_be_bytes());
        }
        part.extend(payload);
        part
    };
    parts.enumerate().map(part).collect()
}
