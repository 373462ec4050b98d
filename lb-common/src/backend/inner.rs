//! What the tunnel carries: whose flow, and what the segment says.

use super::Exit;
use super::outer::Outer;
use crate::ipv6::upper_layer;
use crate::packet::Packet;
use crate::quote::{Quote, is_error_v4, is_error_v6, quoted_v4, quoted_v6};
use crate::wire::{
    Be16, FragmentHeader, IPV4_FRAGMENT_MASK, Icmp, Ipv4, Ipv6, Ports, Tcp, Udp, protocol,
    tcp_flags, v4_mapped,
};

/// A flow as the kernel looks it up; ports as a packet from the client has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Over IPv4, addresses as they lie on the wire.
    V4 {
        /// The client.
        client: u32,
        /// The VIP.
        vip: u32,
        /// Client's, then VIP's, as they lie on the wire.
        ports: u32,
    },
    /// Over IPv6.
    V6 {
        /// The client.
        client: [u64; 2],
        /// The VIP.
        vip: [u64; 2],
        /// Client's, then VIP's, as they lie on the wire.
        ports: u32,
    },
}

/// What a segment, or the ICMP error about one, says to the decision table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Opens a connection: SYN and not ACK.
    pub syn: bool,
    /// Resets it.
    pub rst: bool,
    /// Sequence number of the SYN-ACK that this would be the answer to.
    pub answers: Option<u32>,
}

/// How the packet is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judged {
    Segment,
    SegmentError,
    Datagram,
    DatagramError,
    /// An error about a fragment that is not the first: its flow cannot be told.
    FragmentError,
}

/// An inner packet that is sound.
#[derive(Clone, Copy)]
pub(super) struct Inner {
    pub flow: Flow,
    pub segment: Segment,
    /// The destination.
    pub vip: [u64; 2],
    /// The service's port.
    pub port: u16,
    /// ECN.
    pub ecn: u8,
    /// Offset where it ends.
    pub end: usize,
    judged: Judged,
    /// Offsets of the IP header and of the transport header.
    headers: (usize, usize),
}

impl Inner {
    /// Whether the flow is UDP, not TCP.
    #[inline(always)]
    pub fn is_udp(&self) -> bool {
        matches!(self.judged, Judged::Datagram | Judged::DatagramError)
    }

    /// Whether this is an ICMP error about the flow.
    #[inline(always)]
    pub fn is_error(&self) -> bool {
        matches!(self.judged, Judged::SegmentError | Judged::DatagramError)
    }

    /// Whether the flow cannot be told.
    #[inline(always)]
    pub fn is_unknown(&self) -> bool {
        matches!(self.judged, Judged::FragmentError)
    }

    /// Where the headers are that a SYN cookie is checked against.
    #[inline(always)]
    pub fn cookie_headers(&self) -> Option<(usize, usize)> {
        match self.judged {
            Judged::Segment => Some(self.headers),
            Judged::SegmentError
            | Judged::Datagram
            | Judged::DatagramError
            | Judged::FragmentError => None,
        }
    }
}

/// What [`read`] does about fragments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    /// Leaves at [`Exit::AcceptedFragment`], for [`super::fragment`] to look again.
    Leave,
    /// Reads a first one, which has all headers, as if it were the whole packet.
    First,
}

/// Reads the inner packet.
#[inline(always)]
pub(super) fn read<P: Packet>(packet: &P, outer: &Outer, parts: Parts) -> Result<Inner, Exit> {
    if outer.kind == protocol::IPV4 {
        ipv4(packet, outer, parts)
    } else {
        ipv6(packet, outer, parts)
    }
}

#[inline(always)]
fn ipv4<P: Packet>(packet: &P, outer: &Outer, parts: Parts) -> Result<Inner, Exit> {
    let ip = packet.get_at::<Ipv4>(outer.inner).ok_or(Exit::Malformed)?;
    let (mut client, vip, tos, next) = (ip.source, ip.destination, ip.tos, ip.protocol);
    let header = usize::from(ip.version_ihl & 15) * 4;
    let end = outer.inner + usize::from(ip.total_length.value());
    if ip.version_ihl >> 4 != 4 || header < size_of::<Ipv4>() || end > outer.end {
        return Err(Exit::Malformed);
    }
    if parts == Parts::Leave && ip.fragment.value() & IPV4_FRAGMENT_MASK != 0 {
        return Err(Exit::AcceptedFragment);
    }
    let at = outer.inner + header;
    let (judged, ports, segment) = match next {
        protocol::TCP => tcp(packet, at, end)?,
        protocol::UDP => udp(packet, at, end)?,
        protocol::ICMP => {
            icmp(packet, at, is_error_v4)?;
            let quote = quoted_v4(packet, at, end).ok_or(Exit::Malformed)?;
            if quote.source != vip {
                return Err(Exit::Malformed);
            }
            client = quote.destination;
            quoted(packet, &quote)?
        }
        _ => return Err(Exit::UnsupportedProtocol),
    };
    Ok(Inner {
        flow: Flow::V4 { client, vip, ports },
        segment,
        vip: v4_mapped(vip),
        port: second_port(ports),
        ecn: tos & 3,
        end,
        judged,
        headers: (outer.inner, at),
    })
}

#[inline(always)]
fn ipv6<P: Packet>(packet: &P, outer: &Outer, parts: Parts) -> Result<Inner, Exit> {
    let ip = packet.get_at::<Ipv6>(outer.inner).ok_or(Exit::Malformed)?;
    let (mut client, vip, first) = (ip.source, ip.destination, ip.next_header);
    let label = ip.version_class_label.value();
    let behind = outer.inner + size_of::<Ipv6>();
    let end = behind + usize::from(ip.payload_length.value());
    if label >> 28 != 6 || end > outer.end {
        return Err(Exit::Malformed);
    }
    let (mut next, mut at) = upper_layer(packet, first, behind).ok_or(Exit::Malformed)?;
    if next == protocol::FRAGMENT {
        if parts == Parts::Leave {
            return Err(Exit::AcceptedFragment);
        }
        let header = packet.get_at::<FragmentHeader>(at).ok_or(Exit::Malformed)?;
        (next, at) = (header.next_header, at + size_of::<FragmentHeader>());
    }
    let (judged, ports, segment) = match next {
        protocol::TCP => tcp(packet, at, end)?,
        protocol::UDP => udp(packet, at, end)?,
        protocol::ICMPV6 => {
            icmp(packet, at, is_error_v6)?;
            let quote = quoted_v6(packet, at, end).ok_or(Exit::Malformed)?;
            if quote.source[0] != vip[0] || quote.source[1] != vip[1] {
                return Err(Exit::Malformed);
            }
            client = quote.destination;
            quoted(packet, &quote)?
        }
        _ => return Err(Exit::UnsupportedProtocol),
    };
    Ok(Inner {
        flow: Flow::V6 { client, vip, ports },
        segment,
        vip,
        port: second_port(ports),
        ecn: (label >> 20) as u8 & 3,
        end,
        judged,
        headers: (outer.inner, at),
    })
}

/// How it is judged, both ports as they lie on the wire, and the segment.
type Transport = (Judged, u32, Segment);

/// Both ports as one word: a packed pair on the BPF stack may lie where the verifier does not let it be written.
#[inline(always)]
const fn word(ports: Ports) -> u32 {
    let (first, second) = (ports.source.raw() as u32, ports.destination.raw() as u32);
    if cfg!(target_endian = "little") {
        first | second << 16
    } else {
        first << 16 | second
    }
}

/// The second port of a [`word`].
#[inline(always)]
const fn second_port(word: u32) -> u16 {
    let raw = if cfg!(target_endian = "little") {
        word >> 16
    } else {
        word
    };
    Be16::from_raw(raw as u16).value()
}

const NO_SEGMENT: Segment = Segment {
    syn: false,
    rst: false,
    answers: None,
};

#[inline(always)]
fn tcp<P: Packet>(packet: &P, at: usize, end: usize) -> Result<Transport, Exit> {
    if at + size_of::<Tcp>() > end {
        return Err(Exit::Malformed);
    }
    let tcp = packet.get_at::<Tcp>(at).ok_or(Exit::Malformed)?;
    let flags = tcp.flags;
    let segment = Segment {
        syn: flags & (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST) == tcp_flags::SYN,
        rst: flags & tcp_flags::RST != 0,
        answers: if flags & tcp_flags::ACK != 0 {
            Some(tcp.acknowledgment.value().wrapping_sub(1))
        } else {
            None
        },
    };
    Ok((Judged::Segment, word(tcp.ports), segment))
}

#[inline(always)]
fn udp<P: Packet>(packet: &P, at: usize, end: usize) -> Result<Transport, Exit> {
    if at + size_of::<Udp>() > end {
        return Err(Exit::Malformed);
    }
    let udp = packet.get_at::<Udp>(at).ok_or(Exit::Malformed)?;
    Ok((Judged::Datagram, word(udp.ports), NO_SEGMENT))
}

/// Goes on where the ICMP message is an error.
#[inline(always)]
fn icmp<P: Packet>(packet: &P, at: usize, is_error: impl Fn(u8) -> bool) -> Result<(), Exit> {
    let icmp = packet.get_at::<Icmp>(at).ok_or(Exit::Malformed)?;
    if !is_error(icmp.kind) {
        return Err(Exit::UnsupportedProtocol);
    }
    Ok(())
}

/// How the flow of a packet that a VIP sent is judged; its ports are those of the client's packets.
#[inline(always)]
fn quoted<P: Packet, A>(packet: &P, quote: &Quote<A>) -> Result<Transport, Exit> {
    if quote.protocol != protocol::TCP && quote.protocol != protocol::UDP {
        return Err(Exit::UnsupportedProtocol);
    }
    if quote.is_later_fragment() {
        return Ok((Judged::FragmentError, 0, NO_SEGMENT));
    }
    let quoted = quote.transport(packet).ok_or(Exit::Malformed)?;
    let ports = word(quoted.ports).rotate_left(16);
    if quote.protocol == protocol::UDP {
        return Ok((Judged::DatagramError, ports, NO_SEGMENT));
    }
    let segment = Segment {
        answers: Some(quoted.sequence.value()),
        ..NO_SEGMENT
    };
    Ok((Judged::SegmentError, ports, segment))
}
