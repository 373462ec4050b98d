//! The client's packet: IP and transport headers that are sound, or a named way out.

use super::extra::about;
use super::{Exit, L3, L4_V6};
use crate::exit::{OrLeave as _, leave};
use crate::ipv6::upper_layer;
use crate::packet::{Packet, View};
use crate::wire::{Be16, IPV4_FRAGMENT_MASK, Ipv4, Ipv6, Ports, Tcp, Udp, protocol, tcp_flags};

/// A packet for a VIP, as far as the parser has come.
#[derive(Clone, Copy)]
pub(super) struct Inner {
    /// Of an IPv6 fragment [`protocol::FRAGMENT`], of one of IPv4 [`FRAGMENT_V4`] or more: so one comparison tells that a packet is
    /// none, and of which protocol.
    pub protocol: u32,
    /// DSCP and ECN.
    pub tos: u8,
    /// Offset of the transport header; of an IPv6 fragment, of the fragment header.
    pub transport: usize,
    /// IP header and payload, bytes.
    pub length: u32,
    /// 4 or 41, as the tunnel header names it.
    pub kind: u8,
}

/// From here on, [`Inner::protocol`] is that of an IPv4 fragment.
const FRAGMENT_V4: u32 = 1 << 8;

impl Inner {
    /// Whether the packet is a whole one of this protocol.
    #[inline(always)]
    pub const fn is(&self, protocol: u8) -> bool {
        self.protocol == protocol as u32
    }

    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        self.is(protocol::FRAGMENT) || self.protocol >= FRAGMENT_V4
    }
}

#[inline(always)]
pub(super) fn ipv4<P: Packet>(packet: &P, ip: &Ipv4) -> Result<Inner, Exit> {
    // The least is also the usual.
    const LEAST: usize = 0x45;
    let version_ihl = usize::from(ip.version_ihl);
    if version_ihl.wrapping_sub(LEAST) > 10 {
        return leave(Exit::Malformed);
    }
    let header = size_of::<Ipv4>() + 4 * (version_ihl - LEAST);
    let length = usize::from(ip.total_length.value());
    if !packet.holds(L3 + length) {
        return leave(Exit::Malformed);
    }
    let fragment = ip.fragment.raw() & Be16::new(IPV4_FRAGMENT_MASK).raw();
    Ok(Inner {
        protocol: u32::from(ip.protocol) | u32::from(fragment) << 8,
        tos: ip.tos,
        transport: L3 + header,
        length: length as u32,
        kind: protocol::IPV4,
    })
}

/// What [`transport`] sees by itself: the IP packet holds its own header.
#[inline(always)]
pub(super) fn check_length(inner: &Inner) -> Result<(), Exit> {
    if inner.transport > L3 + inner.length as usize {
        return leave(Exit::Malformed);
    }
    Ok(())
}

#[inline(always)]
pub(super) fn ipv6<P: Packet>(packet: &P, ip: &Ipv6) -> Result<Inner, Exit> {
    let label = ip.version_class_label.value();
    if label >> 28 != 6 {
        return leave(Exit::Malformed);
    }
    let length = size_of::<Ipv6>() + usize::from(ip.payload_length.value());
    if !packet.holds(L3 + length) {
        return leave(Exit::Malformed);
    }
    let (protocol, transport) =
        upper_layer(packet, ip.next_header, L4_V6).or_leave(Exit::Malformed)?;
    Ok(Inner {
        protocol: protocol.into(),
        tos: (label >> 20) as u8,
        transport,
        length: length as u32,
        kind: protocol::IPV6,
    })
}

/// A transport header with ports. Each has code of its own to the end: joined behind the header, a packet cost 4 ns more.
pub(super) trait Transport: View {
    const PROTOCOL: u8;
    fn ports(&self) -> Ports;
    /// TCP's flags.
    fn flags<P: Packet>(&self) -> u64;
}

impl Transport for Tcp {
    const PROTOCOL: u8 = protocol::TCP;

    #[inline(always)]
    fn ports(&self) -> Ports {
        self.ports
    }

    #[inline(always)]
    fn flags<P: Packet>(&self) -> u64 {
        P::settle(u64::from(self.flags))
    }
}

impl Transport for Udp {
    const PROTOCOL: u8 = protocol::UDP;

    #[inline(always)]
    fn ports(&self) -> Ports {
        self.ports
    }

    #[inline(always)]
    fn flags<P: Packet>(&self) -> u64 {
        0
    }
}

/// 1 where these flags open a flow: a number, for which the verifier need not go two ways.
#[inline(always)]
pub(super) const fn opens(flags: u64) -> u64 {
    const { assert!(tcp_flags::SYN == 1 << 1 && tcp_flags::ACK == 1 << 4) };
    (flags >> 1) & !(flags >> 4) & 1
}

/// The same, to go two ways.
#[inline(always)]
pub(super) const fn is_opening(flags: u64) -> bool {
    flags & (tcp_flags::SYN | tcp_flags::ACK) as u64 == tcp_flags::SYN as u64
}

/// Whether they open or close it, of [`about`].
#[inline(always)]
pub(super) const fn about(flags: u64) -> u8 {
    const { assert!(tcp_flags::FIN == 1 && tcp_flags::RST == 1 << 2) };
    let closes = (flags | (flags >> 2)) & 1;
    (opens(flags) as u8 * about::OPENS) | (closes as u8 * about::CLOSES)
}

/// Ports and TCP flags of a packet whose IP header is sound. The transport header lies inside the IP packet,
/// at the constant offset `usual` where there are no options.
#[inline(always)]
pub(super) fn transport<H: Transport, P: Packet>(
    packet: &P,
    inner: &Inner,
    usual: usize,
) -> Result<(Ports, u64), Exit> {
    if inner.transport + size_of::<H>() > L3 + inner.length as usize {
        return leave(Exit::Malformed);
    }
    let header = if inner.transport == usual {
        packet.get::<H>(usual)
    } else {
        packet.get_at::<H>(inner.transport)
    };
    let header = header.or_leave(Exit::Malformed)?;
    Ok((header.ports(), header.flags::<P>()))
}
