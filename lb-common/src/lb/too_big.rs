//! What does not fit the tunnel, answered from the VIP (RFC 1191, RFC 8201): the sender learns what fits.

use super::aside::task;
use super::inner::Inner;
use super::{Exit, L3, L4_V4, L4_V6, TAG, Tables};
use crate::abi::Bank;
use crate::exit::{OrLeave as _, leave};
use crate::packet::Transit;
use crate::wire::{
    Address6, Be16, Be32, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, Ethernet,
    IPV4_DF, Icmp, Ipv4, Ipv6, fold, halves, protocol, with_high_octet,
};

/// Headers before the quote.
const HEADERS_V4: usize = size_of::<Ipv4>() + size_of::<Icmp>();
const HEADERS_V6: usize = size_of::<Ipv6>() + size_of::<Icmp>();
/// All that may be quoted (RFC 1812, section 4.3.2.3; RFC 4443, section 2.4 (c)).
const QUOTE_V4: usize = 576 - HEADERS_V4;
const QUOTE_V6: usize = 1280 - HEADERS_V6;

/// Turns the packet, whose TTL was lowered already, into the answer about it.
#[inline(always)]
pub(super) fn answer<P: Transit, T: Tables>(
    packet: &mut P,
    tables: &T,
    bank: &Bank,
    inner: &Inner,
    fits: u16,
) -> Result<Exit, Exit> {
    // Never about an error (RFC 1122, section 3.2.2; RFC 4443, section 2.4 (e)).
    if inner.is(protocol::ICMP) || inner.is(protocol::ICMPV6) {
        return leave(Exit::TooBig);
    }
    let v4 = inner.kind == protocol::IPV4;
    if v4 {
        let ip = packet.get::<Ipv4>(L3).or_leave(Exit::Malformed)?;
        if ip.fragment.value() & IPV4_DF == 0 {
            return leave(Exit::TooBigNoDf);
        }
    }
    if !tables.may_answer(bank) {
        return leave(Exit::TooBigLimited);
    }
    let task = if v4 {
        task::TOO_BIG_V4
    } else {
        task::TOO_BIG_V6
    };
    if packet.aside(task, inner.length, u32::from(fits)) & 1 == 0 {
        return leave(Exit::NoHeadroom);
    }
    Ok(Exit::TooBigAnswered)
}

/// Turns an IPv4 packet of `length` bytes; zero where the driver does not let it change its size.
#[inline(always)]
pub(super) fn turn_v4<P: Transit>(packet: &mut P, length: usize, fits: u32) -> u64 {
    let quote = if length < QUOTE_V4 { length } else { QUOTE_V4 };
    let turned = before_v4(packet, quote, fits)
        .and_then(|sum| seal(packet, L4_V4, size_of::<Icmp>() + quote, sum));
    u64::from(turned.is_some())
}

/// Like [`turn_v4`].
#[inline(always)]
pub(super) fn turn_v6<P: Transit>(packet: &mut P, length: usize, fits: u32) -> u64 {
    let quote = if length < QUOTE_V6 { length } else { QUOTE_V6 };
    let turned = before_v6(packet, quote, fits)
        .and_then(|sum| seal(packet, L4_V6, size_of::<Icmp>() + quote, sum));
    u64::from(turned.is_some())
}

/// The checksum of the ICMP message at `at`, of what it covers besides the message and the message.
#[inline(always)]
fn seal<P: Transit>(packet: &mut P, at: usize, length: usize, besides: u64) -> Option<()> {
    let sum = besides + sum_of(packet, at, length)?;
    packet.get_mut::<Icmp>(at)?.checksum = !fold_all(sum);
    packet.unskip();
    Some(())
}

/// IPv4 and ICMP headers before `quote` bytes of the packet. What the checksum of the ICMP message holds besides the message.
#[inline(always)]
fn before_v4<P: Transit>(packet: &mut P, quote: usize, fits: u32) -> Option<u64> {
    let ip = packet.get_mut::<Ipv4>(L3)?;
    ip.checksum = with_high_octet(ip.checksum, ip.ttl, ip.ttl.wrapping_add(1));
    ip.ttl = ip.ttl.wrapping_add(1);
    let (from, to) = (ip.source, ip.destination);
    make_room(packet, HEADERS_V4, quote)?;
    let frame = packet.get_mut::<Ethernet>(0)?;
    frame.ethertype = ETHERTYPE_IPV4;
    // Precedence of internetwork control (RFC 1812, section 4.3.2.5).
    let first = Be16::new(0x45c0);
    let length = Be16::new((HEADERS_V4 + quote) as u16);
    let ttl = Be16::new(0x4000 | protocol::ICMP as u16);
    let sum = u32::from(first.raw())
        + u32::from(length.raw())
        + u32::from(Be16::new(IPV4_DF).raw())
        + u32::from(ttl.raw())
        + halves(from)
        + halves(to);
    *packet.get_mut::<Ipv4>(L3)? = Ipv4 {
        version_ihl: 0x45,
        tos: 0xc0,
        total_length: length,
        identification: Be16::new(0),
        fragment: Be16::new(IPV4_DF),
        ttl: 64,
        protocol: protocol::ICMP,
        checksum: !fold(sum),
        source: to,
        destination: from,
    };
    *packet.get_mut::<Icmp>(L4_V4)? = Icmp {
        kind: 3,
        code: 4,
        checksum: 0,
        rest: Be32::new(fits),
    };
    Some(0)
}

/// Like [`before_v4`].
#[inline(always)]
fn before_v6<P: Transit>(packet: &mut P, quote: usize, fits: u32) -> Option<u64> {
    let ip = packet.get_mut::<Ipv6>(L3)?;
    ip.hop_limit = ip.hop_limit.wrapping_add(1);
    let (from, to) = (ip.source, ip.destination);
    make_room(packet, HEADERS_V6, quote)?;
    let frame = packet.get_mut::<Ethernet>(0)?;
    frame.ethertype = ETHERTYPE_IPV6;
    let length = (size_of::<Icmp>() + quote) as u16;
    let ip = packet.get_mut::<Ipv6>(L3)?;
    ip.version_class_label = Be32::new(6 << 28);
    ip.payload_length = Be16::new(length);
    ip.next_header = protocol::ICMPV6;
    ip.hop_limit = 64;
    ip.set_addresses(to, from);
    *packet.get_mut::<Icmp>(L4_V6)? = Icmp {
        kind: 2,
        code: 0,
        checksum: 0,
        rest: Be32::new(fits),
    };
    let numbers = Be16::new(length).raw() as u64 + Be16::new(protocol::ICMPV6 as u16).raw() as u64;
    let words = [from[0], from[1], to[0], to[1]];
    Some(
        words
            .into_iter()
            .fold(numbers, |sum, word| sum + split(word)),
    )
}

/// Cuts the packet to `quote` bytes from its IP header on and makes room for `headers` before it. The frame's addresses change
/// places, its tags stay: the answer leaves by the link that the packet came by. Offsets count from behind the tags.
#[inline(always)]
fn make_room<P: Transit>(packet: &mut P, headers: usize, quote: usize) -> Option<()> {
    if !packet.cut(L3 + quote) || !packet.grow(headers as i32) {
        return None;
    }
    let frame = packet.get::<Ethernet>(headers)?;
    let (low, high) = frame.swapped();
    let frame = packet.get_mut::<Ethernet>(0)?;
    (frame.macs_low, frame.macs_high) = (low, high);
    let mut tags = 0;
    for _ in 0..2 {
        const MACS: usize = 12;
        let tag = *packet.get::<Be32>(headers + MACS + tags)?;
        let ethertype = Be16::new((tag.value() >> 16) as u16);
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        *packet.get_mut::<Be32>(MACS + tags)? = tag;
        tags += TAG;
    }
    packet.skip(tags);
    Some(())
}

/// One's complement sum of `length` bytes from `at` on, unfolded, from the end to the start.
///
/// What is left is hidden again and again: the verifier would otherwise look at what follows once for every number of bytes.
#[inline(always)]
fn sum_of<P: Transit>(packet: &P, at: usize, length: usize) -> Option<u64> {
    const CHUNK: usize = size_of::<[Address6; 4]>();
    const CHUNKS: usize = (size_of::<Icmp>() + QUOTE_V6) / CHUNK;
    let (mut sum, mut left) = (0, hidden::<P>(length));
    if left & 1 != 0 {
        left -= 1;
        let last = *packet.get_at::<u8>(at + left)?;
        sum += u64::from(u16::from_ne_bytes([last, 0]));
    }
    left = hidden::<P>(left);
    if left & 2 != 0 {
        left -= 2;
        sum += u64::from(packet.get_at::<Be16>(at + left)?.raw());
    }
    for _ in 0..CHUNK / 4 {
        left = hidden::<P>(left);
        if left % CHUNK == 0 {
            break;
        }
        left -= 4;
        sum += u64::from(packet.get_at::<Be32>(at + left)?.raw());
    }
    for _ in 0..CHUNKS {
        left = hidden::<P>(left);
        if left == 0 {
            break;
        }
        left -= CHUNK;
        let [a, b, c, d] = packet.get_at::<[Address6; 4]>(at + left)?;
        sum += of(a) + of(b) + of(c) + of(d);
    }
    Some(sum)
}

#[inline(always)]
fn hidden<P: Transit>(number: usize) -> usize {
    P::settle(number as u64) as usize & 0x7ff
}

#[inline(always)]
const fn of(words: &Address6) -> u64 {
    split(words.high) + split(words.low)
}

/// One's complement sum of the two halves of a word.
#[inline(always)]
const fn split(word: u64) -> u64 {
    (word & 0xffff_ffff) + (word >> 32)
}

#[inline(always)]
const fn fold_all(sum: u64) -> u16 {
    let sum = split(split(sum)) as u32;
    fold(sum)
}
