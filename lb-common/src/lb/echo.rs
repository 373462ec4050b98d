//! Pings of a VIP, answered on the spot (RFC 792, RFC 4443).

use super::inner::Inner;
use super::{Exit, L3, Tables};
use crate::abi::Bank;
use crate::exit::{OrLeave as _, leave};
use crate::packet::Transit;
use crate::wire::{Ethernet, Icmp, Ipv4, Ipv6, protocol, with_high_octet};

const TTL: u8 = 64;

/// Turns the packet into its answer.
#[inline(always)]
pub(super) fn reply<P: Transit, T: Tables>(
    packet: &mut P,
    tables: &T,
    bank: &Bank,
    inner: &Inner,
) -> Result<Exit, Exit> {
    // A copy, so that the hot path's packet stays in registers; so do the numbers.
    let mut apart = *packet;
    asks(&apart, inner.kind, inner.transport, inner.length)?;
    if !tables.may_answer(bank) {
        return leave(Exit::EchoLimited);
    }
    turn(&mut apart, inner.kind, inner.transport)?;
    *packet = apart;
    Ok(Exit::EchoReply)
}

/// Types of request and reply.
#[inline(always)]
const fn types(kind: u8) -> (u8, u8) {
    if kind == protocol::IPV4 {
        (8, 0)
    } else {
        (128, 129)
    }
}

/// Whether it is a ping.
#[inline(never)]
fn asks<P: Transit>(packet: &P, kind: u8, at: usize, length: u32) -> Result<(), Exit> {
    if at + size_of::<Icmp>() > L3 + length as usize {
        return leave(Exit::Malformed);
    }
    let icmp = packet.get_at::<Icmp>(at).or_leave(Exit::Malformed)?;
    if icmp.kind != types(kind).0 || icmp.code != 0 {
        return leave(Exit::Icmp);
    }
    Ok(())
}

/// Addresses change places, and their part of the checksums stays.
#[inline(never)]
fn turn<P: Transit>(packet: &mut P, kind: u8, at: usize) -> Result<(), Exit> {
    if kind == protocol::IPV4 {
        let ip = packet.get_mut::<Ipv4>(L3).or_leave(Exit::Malformed)?;
        (ip.source, ip.destination) = (ip.destination, ip.source);
        ip.checksum = with_high_octet(ip.checksum, ip.ttl, TTL);
        ip.ttl = TTL;
    } else {
        let ip = packet.get_mut::<Ipv6>(L3).or_leave(Exit::Malformed)?;
        ip.set_addresses(ip.destination, ip.source);
        ip.hop_limit = TTL;
    }
    let icmp = packet.get_at_mut::<Icmp>(at).or_leave(Exit::Malformed)?;
    let (request, reply) = types(kind);
    let sum = with_high_octet(icmp.checksum, request, reply);
    // A reply of nothing but zeroes does not hold with zero; where zero would hold, so does its other form (RFC 1624, section 3).
    icmp.checksum = if sum == 0 { 0xffff } else { sum };
    icmp.kind = reply;
    // Tags stay, and the answer leaves by the link that the question came by.
    packet.unskip();
    let ethernet = packet.get_mut::<Ethernet>(0).or_leave(Exit::Malformed)?;
    (ethernet.macs_low, ethernet.macs_high) = ethernet.swapped();
    Ok(())
}
