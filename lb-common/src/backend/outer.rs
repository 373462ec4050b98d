//! The headers before the inner packet: ours, trusted and sound, or a named way out.

use super::Exit;
use crate::backend_abi::Config;
use crate::packet::Packet;
use crate::tunnel::{self, HOPS_MAX, Header, PlainHeader, flags};
use crate::wire::{
    Be16, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, IPV4_FRAGMENT_MASK, Ipv4, Ipv6, Udp, protocol,
};

pub(super) const L3: usize = size_of::<Ethernet>();
pub(super) const UDP_V4: usize = L3 + size_of::<Ipv4>();
pub(super) const UDP_V6: usize = L3 + size_of::<Ipv6>();
/// What tells a packet of the tunnel from others lies before this offset.
pub const FIRST_HEADERS: usize = UDP_V6 + size_of::<Udp>();
pub(super) const GUE_V4: usize = UDP_V4 + size_of::<Udp>();
pub(super) const GUE_V6: usize = UDP_V6 + size_of::<Udp>();

/// A trusted tunnel packet for this host.
#[derive(Clone, Copy)]
pub(super) struct Outer {
    /// There is no list of hops: GUE without private data, or IP in IP.
    pub plain: bool,
    /// The outer family, and that of the hops.
    pub v6: bool,
    /// ECN of the outer header.
    pub ecn: u8,
    /// See [`tunnel::flags`].
    pub flags: u8,
    /// 4 or 41: what is inside.
    pub kind: u8,
    /// The hop that this host is.
    pub index: u8,
    /// Hops in the list.
    pub count: u8,
    /// Offset of the inner packet.
    pub inner: usize,
    /// Offset where the outer packet ends.
    pub end: usize,
}

impl Outer {
    /// Whether the list goes on.
    #[inline(always)]
    pub const fn hops_left(&self) -> bool {
        self.index + 1 < self.count
    }
}

/// Reads the outer headers of a packet that is there as a whole.
#[inline(always)]
pub(super) fn read<P: Packet>(packet: &P, config: &Config) -> Result<Outer, Exit> {
    let outer = headers(packet, config)?;
    if !packet.holds(outer.end) {
        return Err(Exit::Malformed);
    }
    Ok(outer)
}

/// Reads the outer headers. The cheapest questions come first: most packets of a server are not ours.
#[inline(always)]
pub(super) fn headers<P: Packet>(packet: &P, config: &Config) -> Result<Outer, Exit> {
    let ethertype = packet.get::<Ethernet>(0).ok_or(Exit::NotTunnel)?.ethertype;
    if ethertype == ETHERTYPE_IPV4 {
        over_ipv4(packet, config)
    } else if ethertype == ETHERTYPE_IPV6 {
        over_ipv6(packet, config)
    } else {
        Err(Exit::NotTunnel)
    }
}

/// Whether [`read`] would look at more than addresses, protocol and port: the packet may be one of the tunnel.
#[inline(always)]
pub(super) fn concerns<P: Packet>(packet: &P, config: &Config) -> Option<bool> {
    let ethertype = packet.get::<Ethernet>(0)?.ethertype;
    let (next, udp, own) = if ethertype == ETHERTYPE_IPV4 {
        let ip = packet.get::<Ipv4>(L3)?;
        (ip.protocol, UDP_V4, own_v4(config, ip.destination))
    } else if ethertype == ETHERTYPE_IPV6 {
        let ip = packet.get::<Ipv6>(L3)?;
        (ip.next_header, UDP_V6, own_v6(config, ip.destination))
    } else {
        return Some(false);
    };
    if !own || next != protocol::UDP {
        return Some(own && is_ip(next));
    }
    let udp = match udp {
        UDP_V4 => packet.get::<Udp>(UDP_V4)?,
        _ => packet.get::<Udp>(UDP_V6)?,
    };
    Some(udp.ports.destination == Be16::from_raw(config.tunnel_port))
}

#[inline(always)]
fn over_ipv4<P: Packet>(packet: &P, config: &Config) -> Result<Outer, Exit> {
    let ip = packet.get::<Ipv4>(L3).ok_or(Exit::NotTunnel)?;
    if ip.version_ihl != 0x45 || ip.fragment.value() & IPV4_FRAGMENT_MASK != 0 {
        return Err(Exit::NotTunnel);
    }
    if ip.protocol != protocol::UDP {
        let trusted = || config.sources_v4.iter().any(|from| from.holds(ip.source));
        if !is_ip(ip.protocol) || !own_v4(config, ip.destination) || !trusted() {
            return Err(Exit::NotTunnel);
        }
        let end = L3 + usize::from(ip.total_length.value());
        return Ok(without_hops(UDP_V4, ip.protocol, end, ip.tos));
    }
    let udp = packet.get::<Udp>(UDP_V4).ok_or(Exit::NotTunnel)?;
    if udp.ports.destination != Be16::from_raw(config.tunnel_port)
        || !own_v4(config, ip.destination)
    {
        return Err(Exit::NotTunnel);
    }
    if !config.sources_v4.iter().any(|from| from.holds(ip.source)) {
        return Err(Exit::UntrustedSource);
    }
    let end = L3 + usize::from(ip.total_length.value());
    if UDP_V4 + usize::from(udp.length.value()) != end {
        return Err(Exit::Malformed);
    }
    if let Some(plain) = plain(packet, GUE_V4, end, ip.tos)? {
        return Ok(plain);
    }
    let header = packet.get::<Header>(GUE_V4).ok_or(Exit::Malformed)?;
    check(header, false)?;
    Ok(outer(header, GUE_V4, 4, end, ip.tos))
}

#[inline(always)]
fn over_ipv6<P: Packet>(packet: &P, config: &Config) -> Result<Outer, Exit> {
    let ip = packet.get::<Ipv6>(L3).ok_or(Exit::NotTunnel)?;
    let label = ip.version_class_label.value();
    if label >> 28 != 6 {
        return Err(Exit::NotTunnel);
    }
    if ip.next_header != protocol::UDP {
        let trusted = || config.sources_v6.iter().any(|from| from.holds(ip.source));
        if !is_ip(ip.next_header) || !own_v6(config, ip.destination) || !trusted() {
            return Err(Exit::NotTunnel);
        }
        let end = UDP_V6 + usize::from(ip.payload_length.value());
        let tos = (label >> 20) as u8;
        return Ok(without_hops(UDP_V6, ip.next_header, end, tos));
    }
    let udp = packet.get::<Udp>(UDP_V6).ok_or(Exit::NotTunnel)?;
    if udp.ports.destination != Be16::from_raw(config.tunnel_port)
        || !own_v6(config, ip.destination)
    {
        return Err(Exit::NotTunnel);
    }
    if !config.sources_v6.iter().any(|from| from.holds(ip.source)) {
        return Err(Exit::UntrustedSource);
    }
    let end = UDP_V6 + usize::from(ip.payload_length.value());
    if UDP_V6 + usize::from(udp.length.value()) != end {
        return Err(Exit::Malformed);
    }
    if let Some(plain) = plain(packet, GUE_V6, end, (label >> 20) as u8)? {
        return Ok(plain);
    }
    let header = packet.get::<Header>(GUE_V6).ok_or(Exit::Malformed)?;
    check(header, true)?;
    Ok(outer(header, GUE_V6, 16, end, (label >> 20) as u8))
}

#[inline(always)]
fn own_v4(config: &Config, address: u32) -> bool {
    address != 0 && config.own_v4.contains(&address)
}

#[inline(always)]
fn own_v6(config: &Config, [high, low]: [u64; 2]) -> bool {
    high != 0
        && config
            .own_v6
            .iter()
            .any(|own| own[1] == low && own[0] == high)
}

/// 4 or 41: IP in IP (RFC 2003, RFC 2473). From strangers it is none of ours, the host may have tunnels of its own.
#[inline(always)]
const fn is_ip(protocol: u8) -> bool {
    protocol == protocol::IPV4 || protocol == protocol::IPV6
}

/// GUE without private data; `None`: there is more in the header.
#[inline(always)]
fn plain<P: Packet>(packet: &P, gue: usize, end: usize, tos: u8) -> Result<Option<Outer>, Exit> {
    let header = packet.get::<PlainHeader>(gue).ok_or(Exit::Malformed)?;
    if header.variant_length != 0 {
        return Ok(None);
    }
    if header.flags.raw() != 0 || !is_ip(header.protocol) {
        return Err(Exit::Malformed);
    }
    let inner = gue + size_of::<PlainHeader>();
    Ok(Some(without_hops(inner, header.protocol, end, tos)))
}

#[inline(always)]
const fn without_hops(inner: usize, kind: u8, end: usize, tos: u8) -> Outer {
    Outer {
        plain: true,
        v6: false,
        ecn: tos & 3,
        flags: 0,
        kind,
        index: 0,
        count: 1,
        inner,
        end,
    }
}

/// Whether the tunnel header says what this version understands, and agrees with itself.
#[inline(always)]
fn check(header: &Header, v6: bool) -> Result<(), Exit> {
    if header.version != tunnel::VERSION {
        return Err(Exit::UnknownVersion);
    }
    let count = header.count();
    let sound = header.gue_flags.raw() == 0
        && count >= 1
        && count <= HOPS_MAX as u8
        && header.index() < count
        && header.variant_length == Header::length_words(count, if v6 { 4 } else { 1 })
        && (header.flags & flags::V6 != 0) == v6
        && is_ip(header.protocol);
    if sound { Ok(()) } else { Err(Exit::Malformed) }
}

#[inline(always)]
fn outer(header: &Header, gue: usize, address: usize, end: usize, tos: u8) -> Outer {
    let count = header.count();
    Outer {
        plain: false,
        v6: address == 16,
        ecn: tos & 3,
        flags: header.flags,
        kind: header.protocol,
        index: header.index(),
        count,
        inner: gue + Header::LENGTH + usize::from(count) * address,
        end,
    }
}
