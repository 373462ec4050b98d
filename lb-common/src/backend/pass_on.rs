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

    #[inline(always)]
    fn enter(self, header: &mut Header) {
        match self {
            To::Next => header.index_count += 0x10,
            To::First => {
                header.index_count &= 0x0f;
                header.flags |= flags::FINAL;
            }
        }
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
    packet
        .get_mut::<Udp>(UDP_V4)
        .ok_or(Exit::Malformed)?
        .checksum = 0;
    to.enter(packet.get_mut::<Header>(GUE_V4).ok_or(Exit::Malformed)?);
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
    ip.hop_limit -= 1;
    ip.set_addresses(ip.destination, next);
    packet
        .get_mut::<Udp>(UDP_V6)
        .ok_or(Exit::Malformed)?
        .checksum = 0;
    to.enter(packet.get_mut::<Header>(GUE_V6).ok_or(Exit::Malformed)?);
    Ok(next)
}
