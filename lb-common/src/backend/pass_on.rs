//! Sending an encapsulated packet to another of the flow's hops.

use super::outer::{GUE_V4, GUE_V6, L3, Outer, UDP_V4, UDP_V6};
use super::{Exit, Tables};
use crate::backend_abi::{Config, Macs};
use crate::packet::Packet;
use crate::tunnel::{Header, flags};
use crate::wire::{Address6, Be32, Ethernet, Ipv4, Ipv6, Udp, fold, halves, v4_mapped};

/// Which address of its list a packet goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// The one after this host's.
    Next,
    /// The first, which is told to accept it.
    First,
}

impl To {
    /// Its place in the list.
    #[inline(always)]
    fn place(self, outer: &Outer) -> usize {
        match self {
            To::Next => usize::from(outer.index) + 1,
            To::First => 0,
        }
    }

    /// What the header's sum has gained.
    #[inline(always)]
    fn enter(self, header: &mut Header) -> u32 {
        let word = |header: &Header| {
            u32::from_ne_bytes([
                header.version,
                header.index_count,
                header.flags,
                header.site,
            ])
        };
        let before = word(header);
        match self {
            To::Next => header.index_count += 0x10,
            To::First => {
                header.index_count &= 0x0f;
                header.flags |= flags::FINAL;
            }
        }
        halves(!before) + halves(word(header))
    }
}

/// Turns the packet to another address of its list: index, TTL, addresses, frame. The source port stays: it is the flow's
/// entropy.
#[inline(always)]
pub(super) fn send<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    config: &Config,
    outer: &Outer,
    to: To,
) -> Result<Exit, Exit> {
    let (next, exit) = if outer.v6 {
        (over_ipv6(packet, config, outer, to)?, Exit::ForwardedV6)
    } else {
        (over_ipv4(packet, config, outer, to)?, Exit::ForwardedV4)
    };
    let ethernet = packet.get_mut::<Ethernet>(0).ok_or(Exit::Malformed)?;
    let macs = match tables.next_hop(next) {
        Some(macs) => macs,
        // The router that sent the frame knows a way to wherever it sends frames.
        None => {
            let (low, high) = ethernet.swapped();
            Macs {
                low,
                high,
                padding: 0,
            }
        }
    };
    ethernet.macs_low = macs.low;
    ethernet.macs_high = macs.high;
    Ok(exit)
}

#[inline(always)]
fn over_ipv4<P: Packet>(
    packet: &mut P,
    config: &Config,
    outer: &Outer,
    to: To,
) -> Result<[u64; 2], Exit> {
    const FIRST: usize = GUE_V4 + Header::LENGTH;
    let at = FIRST + 4 * to.place(outer);
    let next = packet.get_at::<Be32>(at).ok_or(Exit::Malformed)?.raw();
    if !config.backends_v4.iter().any(|to| to.holds(next)) {
        return Err(Exit::UntrustedHop);
    }
    let ip = packet.get_mut::<Ipv4>(L3).ok_or(Exit::Malformed)?;
    if ip.ttl <= 1 {
        return Err(Exit::TtlExceeded);
    }
    // The old destination becomes the source: of the addresses, only the old source leaves the sum and the next one enters it
    // (RFC 1624, equation 3). One less in the TTL is the complement of 0x0100.
    let sum = u32::from(!ip.checksum)
        + halves(!ip.source)
        + halves(next)
        + u32::from(!0x0100_u16.to_be());
    ip.checksum = !fold(sum);
    ip.ttl -= 1;
    ip.source = ip.destination;
    ip.destination = next;
    let mut gained = no_checksum(packet.get_mut::<Udp>(UDP_V4).ok_or(Exit::Malformed)?);
    gained += to.enter(packet.get_mut::<Header>(GUE_V4).ok_or(Exit::Malformed)?);
    packet.resum(gained);
    Ok(v4_mapped(next))
}

#[inline(always)]
fn over_ipv6<P: Packet>(
    packet: &mut P,
    config: &Config,
    outer: &Outer,
    to: To,
) -> Result<[u64; 2], Exit> {
    const FIRST: usize = GUE_V6 + Header::LENGTH;
    let at = FIRST + 16 * to.place(outer);
    let next = packet.get_at::<Address6>(at).ok_or(Exit::Malformed)?;
    let next = [next.high, next.low];
    if !config.backends_v6.iter().any(|to| to.holds(next)) {
        return Err(Exit::UntrustedHop);
    }
    let ip = packet.get_mut::<Ipv6>(L3).ok_or(Exit::Malformed)?;
    if ip.hop_limit <= 1 {
        return Err(Exit::TtlExceeded);
    }
    // As over IPv4, only that no sum in the header makes up for it.
    let mut gained = u32::from(!0x0001_u16.to_be());
    for (before, after) in ip.source.into_iter().zip(next) {
        gained += halves(!before as u32) + halves((!before >> 32) as u32);
        gained += halves(after as u32) + halves((after >> 32) as u32);
    }
    ip.hop_limit -= 1;
    ip.set_addresses(ip.destination, next);
    gained += no_checksum(packet.get_mut::<Udp>(UDP_V6).ok_or(Exit::Malformed)?);
    gained += to.enter(packet.get_mut::<Header>(GUE_V6).ok_or(Exit::Malformed)?);
    packet.resum(gained);
    Ok(next)
}

/// Tunnels do without; what the sum of the packet has gained.
#[inline(always)]
fn no_checksum(udp: &mut Udp) -> u32 {
    let before = udp.checksum;
    udp.checksum = 0;
    u32::from(!before)
}
