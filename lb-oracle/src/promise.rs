//! What holds for every packet, whatever the decision: found by looking at the bytes alone, not by the code that made them.

use lb_common::exit::Action;
use lb_common::tunnel::PORT;
use lb_common::{backend, lb};

use crate::packet::{checksum, destination_of, pseudo, source_of};

/// What does not hold.
pub type Broken = &'static str;

const ETHERNET: usize = 14;
const UDP: u8 = 17;

/// What an LB node made of `before`.
pub fn of_node(before: &[u8], exit: lb::Exit, after: &[u8]) -> Result<(), Broken> {
    let foreign = is_to_special(before);
    ensure(
        !foreign || exit.action() == Action::Pass,
        "an address that no VIP has, and not passed",
    )?;
    match exit.action() {
        Action::Pass => ensure(before == after, "passed and changed"),
        Action::Drop => Ok(()),
        Action::Transmit if exit == lb::Exit::EchoReply => answered(before, after),
        Action::Transmit if exit == lb::Exit::TooBigAnswered => told_what_fits(before, after),
        Action::Transmit | Action::Redirect | Action::Local => encapsulated(before, after),
    }
}

/// To `::/64`, where IPv4 addresses have their IPv6 form, which no packet has.
fn is_to_special(frame: &[u8]) -> bool {
    let at = l3(frame);
    let v6 = at >= 2 && u16_at(frame, at - 2) == Some(0x86dd);
    v6 && frame.get(at + 24..at + 32) == Some(&[0; 8])
}

/// What a backend made of `before`.
pub fn of_host(before: &[u8], exit: backend::Exit, after: &[u8]) -> Result<(), Broken> {
    if exit.accepted().is_some() {
        decapsulated(before, after)
    } else if exit.forwarded().is_some() {
        passed_on(before, after)
    } else {
        ensure(
            before == after,
            "neither accepted nor passed on, and changed",
        )
    }
}

/// The packet as it came, one hop older, behind headers that are true; without a tunnel, in a frame to another address.
fn encapsulated(before: &[u8], after: &[u8]) -> Result<(), Broken> {
    let came = &before[l3(before)..];
    let front = after.len().checked_sub(came.len());
    let (headers, went) = after.split_at(front.ok_or("shorter than it came")?);
    let length = ip_length(came).ok_or("sent without an IP header")?;
    ensure(length <= came.len(), "sent, and longer than its frame")?;
    aged(came, went)?;
    if headers.len() == l3(after) {
        return ensure(before[..12] != after[..12], "the same MAC addresses");
    }
    let outer = &headers[headers.len().min(l3(headers))..];
    let family = u16_at(headers, l3(headers) - 2).ok_or("no outer EtherType")?;
    let (ip, next, tos, says) = match (family, outer.first()) {
        (0x0800, Some(0x45)) => {
            ensure(
                checksum(&[outer.get(..20).ok_or("no outer IPv4")?]) == 0,
                "outer checksum",
            )?;
            ensure(outer[6..9] == [0x40, 0, 64], "DF and TTL 64")?;
            (20, outer[9], outer[1], u16_at(outer, 2))
        }
        (0x86dd, Some(0x60..=0x6f)) if outer.len() >= 40 => {
            let says = u16_at(outer, 4).and_then(|payload| payload.checked_add(40));
            ensure(outer[7] == 64, "hop limit 64")?;
            (40, outer[6], outer[0] << 4 | outer[1] >> 4, says)
        }
        _ => return Err("no outer IP header"),
    };
    ensure(says == Some((outer.len() + length) as u16), "outer length")?;
    ensure(tos == traffic_class(came), "DSCP and ECN copied")?;
    let kind = if came[0] >> 4 == 4 { 4 } else { 41 };
    if next == kind {
        return ensure(outer.len() == ip, "IP in IP has nothing between");
    }
    ensure(next == UDP, "GUE is UDP")?;
    let says = u16_at(outer, ip + 4).map(usize::from);
    ensure(says == Some(outer.len() - ip + length), "UDP length")?;
    ensure(u16_at(outer, ip + 2) == Some(PORT), "the tunnel's port")?;
    ensure(u16_at(outer, ip + 6) == Some(0), "no UDP checksum")?;
    gue(&outer[ip + 8..], ip == 40, kind, destination(outer, ip))
}

fn destination(outer: &[u8], ip: usize) -> &[u8] {
    if ip == 20 {
        &outer[16..20]
    } else {
        &outer[24..40]
    }
}

fn gue(gue: &[u8], v6: bool, kind: u8, to: &[u8]) -> Result<(), Broken> {
    let width = if v6 { 16 } else { 4 };
    match *gue {
        [0, inner, 0, 0] => ensure(inner == kind, "what GUE carries"),
        [
            words,
            inner,
            0,
            0,
            1,
            index_count,
            flags,
            _,
            _,
            _,
            0,
            0,
            ref hops @ ..,
        ] => {
            ensure(inner == kind, "what GUE carries")?;
            ensure(4 + usize::from(words) * 4 == gue.len(), "GUE length")?;
            ensure(
                (1..=4).contains(&index_count),
                "index 0 of one to four hops",
            )?;
            ensure(hops.len() == width * usize::from(index_count), "hops")?;
            ensure(
                hops.get(..width) == Some(to),
                "the first hop is where it goes",
            )?;
            ensure(flags & 1 == u8::from(v6), "the family of the hops")
        }
        _ => Err("GUE header"),
    }
}

/// Older by one, and the same for the rest; a checksum that held holds.
fn aged(came: &[u8], went: &[u8]) -> Result<(), Broken> {
    let v4 = came[0] >> 4 == 4;
    let (ttl, changed): (usize, &[usize]) = if v4 { (8, &[8, 10, 11]) } else { (7, &[7]) };
    ensure(same_but(came, went, changed), "the inner packet stays")?;
    ensure(
        went[ttl] + 1 == came[ttl] && went[ttl] > 0,
        "one hop older, and not dead",
    )?;
    ensure(
        !v4 || !header_holds(came) || header_holds(went),
        "inner checksum",
    )
}

/// A ping's answer.
fn answered(before: &[u8], after: &[u8]) -> Result<(), Broken> {
    ensure(
        before.len() == after.len(),
        "an answer has the ping's length",
    )?;
    ensure(
        before[..6] == after[6..12]
            && before[6..12] == after[..6]
            && before[12..l3(before)] == after[12..l3(before)],
        "back to where it came from, tags and all",
    )?;
    let (came, went) = (&before[l3(before)..], &after[l3(before)..]);
    ensure(
        source_of(came) == destination_of(went) && destination_of(came) == source_of(went),
        "addresses exchanged",
    )?;
    let v4 = came[0] >> 4 == 4;
    if v4 {
        let icmp = usize::from(came[0] & 15) * 4;
        let end = ip_length(came).ok_or("no IP length")?;
        ensure(
            went[8] == 64 && came[icmp] == 8 && went[icmp] == 0,
            "TTL and type",
        )?;
        ensure(
            !header_holds(came) || header_holds(went),
            "checksum of IPv4",
        )?;
        let holds = |ip: &[u8]| checksum(&[&ip[icmp..end]]) == 0;
        return ensure(!holds(came) || holds(went), "checksum of ICMP");
    }
    ensure(went[7] == 64, "hop limit")?;
    if came[6] != 58 {
        return Ok(());
    }
    let end = ip_length(came).ok_or("no IP length")?;
    let holds = |ip: &[u8]| {
        let sum = pseudo(source_of(ip), destination_of(ip), 58, end - 40);
        checksum(&[&sum, &ip[40..end]]) == 0
    };
    ensure(came[40] == 128 && went[40] == 129, "type of the answer")?;
    ensure(!holds(came) || holds(went), "checksum of ICMPv6")
}

/// The sender of a packet that is too big hears of it, and of no other.
fn told_what_fits(before: &[u8], after: &[u8]) -> Result<(), Broken> {
    let start = l3(before);
    ensure(
        before[..6] == after[6..12]
            && before[6..12] == after[..6]
            && before[12..start] == after[12..start],
        "back to where it came from, tags and all",
    )?;
    let (came, went) = (&before[start..], &after[start..]);
    ensure(
        source_of(came) == destination_of(went) && destination_of(came) == source_of(went),
        "addresses exchanged",
    )?;
    let v4 = came[0] >> 4 == 4;
    let (icmp, most) = if v4 { (20, 576) } else { (40, 1280) };
    let length = ip_length(came).ok_or("no IP length")?;
    let quoted = length.min(most - icmp - 8);
    ensure(
        went.len() == icmp + 8 + quoted && ip_length(went) == Some(went.len()),
        "as much as may be quoted",
    )?;
    let message = &went[icmp..];
    if v4 {
        ensure(came[6] & 0x40 != 0, "about a packet that may be fragmented")?;
        ensure(header_holds(went) && went[9] == 1, "IPv4 header")?;
        ensure(checksum(&[message]) == 0 && message[..2] == [3, 4], "ICMP")?;
    } else {
        let sum = pseudo(source_of(went), destination_of(went), 58, message.len());
        ensure(went[0] == 0x60 && went[6] == 58, "IPv6 header")?;
        ensure(checksum(&[&sum, message]) == 0, "checksum of ICMPv6")?;
        ensure(message[..2] == [2, 0], "ICMPv6")?;
    }
    let fits = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
    ensure((fits as usize) < length, "less fits than came")?;
    // Of the two forms of zero, a checksum taken back by one TTL has the one that is of use.
    let either = v4 && came[10..12] == [0xff, 0xff];
    let places: &[usize] = if either { &[10, 11] } else { &[] };
    ensure(
        same_but(&came[..quoted], &message[8..], places),
        "the packet as it came",
    )
}

/// What was in the tunnel, with the frame's own addresses and perhaps a congestion mark.
fn decapsulated(before: &[u8], after: &[u8]) -> Result<(), Broken> {
    let (came, went) = (before, after);
    let taken = came
        .len()
        .checked_sub(went.len())
        .ok_or("longer than it came")?;
    ensure(
        tunnel_headers(came) == Some(taken),
        "all headers of the tunnel, and no more",
    )?;
    ensure(came[..12] == went[..12], "the frame's addresses stay")?;
    let inner = &came[ETHERNET + taken..];
    let out = &went[ETHERNET..];
    let v4 = out[0] >> 4 == 4;
    let family = if v4 { 0x0800 } else { 0x86dd };
    ensure(u16_at(went, 12) == Some(family), "the family that came out")?;
    ensure(
        same_but(inner, out, if v4 { &[1, 10, 11] } else { &[1] }),
        "the inner packet stays",
    )?;
    let (was, is) = (traffic_class(inner), traffic_class(out));
    ensure(
        was & !3 == is & !3 && inner[0] == out[0] && (v4 || inner[1] & 0xf == out[1] & 0xf),
        "only ECN changes",
    )?;
    let mark = congestion(was & 3, traffic_class(&came[ETHERNET..]) & 3);
    ensure(Some(is & 3) == mark, "the mark of RFC 6040")?;
    ensure(
        !v4 || !header_holds(inner) || header_holds(out),
        "inner checksum",
    )
}

/// The mark behind the tunnel (RFC 6040, section 4.2); none: such a packet is dropped.
fn congestion(inner: u8, outer: u8) -> Option<u8> {
    const NOT_ECT: u8 = 0;
    const CONGESTED: u8 = 3;
    match (inner, outer) {
        (NOT_ECT, CONGESTED) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CONGESTED) => Some(CONGESTED),
        (2, 1) => Some(1),
        _ => Some(inner),
    }
}

/// Bytes of a tunnel's headers behind the Ethernet header.
fn tunnel_headers(frame: &[u8]) -> Option<usize> {
    let ip = if u16_at(frame, 12)? == 0x0800 { 20 } else { 40 };
    let next = *frame.get(ETHERNET + if ip == 20 { 9 } else { 6 })?;
    if next != UDP {
        return Some(ip);
    }
    let words = *frame.get(ETHERNET + ip + 8)?;
    Some(ip + 8 + 4 + usize::from(words) * 4)
}

/// The same packet to another hop of its list.
fn passed_on(before: &[u8], after: &[u8]) -> Result<(), Broken> {
    ensure(before.len() == after.len(), "passed on at another length")?;
    let (came, went) = (&before[ETHERNET..], &after[ETHERNET..]);
    let v4 = came[0] >> 4 == 4;
    let (ip, ttl) = if v4 { (20, 8) } else { (40, 7) };
    ensure(
        went[ttl] + 1 == came[ttl] && went[ttl] > 0,
        "one hop older, and not dead",
    )?;
    ensure(source_of(went) == destination_of(came), "from this host")?;
    ensure(
        !v4 || !header_holds(came) || header_holds(went),
        "outer checksum",
    )?;
    let header = ip + 8;
    let headers = tunnel_headers(before).ok_or("no tunnel")?;
    let width = if v4 { 4 } else { 16 };
    let (was, is) = (came[header + 5], went[header + 5]);
    let place = usize::from(is >> 4);
    ensure(
        is & 15 == was & 15 && place < usize::from(is & 15),
        "a place in the list",
    )?;
    let further = is >> 4 == (was >> 4) + 1 && came[header + 6] == went[header + 6];
    let returned = is >> 4 == 0 && went[header + 6] == came[header + 6] | 2;
    ensure(further || returned, "the next hop, or the first and FINAL")?;
    let hop = header + 12 + place * width;
    ensure(
        went.get(hop..hop + width) == Some(destination(went, ip)),
        "to the hop it names",
    )?;
    ensure(went[ip + 6..ip + 8] == [0, 0], "no UDP checksum")?;
    ensure(
        came[ip..ip + 6] == went[ip..ip + 6],
        "ports and length stay",
    )?;
    ensure(came[headers..] == went[headers..], "the inner packet stays")?;
    ensure(after[12..14] == before[12..14], "the family stays")
}

fn ensure(holds: bool, what: Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(what) }
}

/// Offset behind the Ethernet header and at most two tags.
fn l3(frame: &[u8]) -> usize {
    match (u16_at(frame, 12), u16_at(frame, 16)) {
        (Some(0x8100 | 0x88a8), Some(0x8100)) => ETHERNET + 8,
        (Some(0x8100 | 0x88a8), _) => ETHERNET + 4,
        _ => ETHERNET,
    }
    .min(frame.len())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([word[0], word[1]]))
}

/// What an IP header says of its packet's length.
fn ip_length(ip: &[u8]) -> Option<usize> {
    match ip.first()? >> 4 {
        4 => u16_at(ip, 2).map(usize::from),
        6 => u16_at(ip, 4).map(|payload| 40 + usize::from(payload)),
        _ => None,
    }
}

fn traffic_class(ip: &[u8]) -> u8 {
    match ip[0] >> 4 {
        4 => ip[1],
        _ => ip[0] << 4 | ip[1] >> 4,
    }
}

fn header_holds(ip: &[u8]) -> bool {
    let header = usize::from(ip[0] & 15) * 4;
    ip.get(..header)
        .is_some_and(|header| checksum(&[header]) == 0)
}

fn same_but(one: &[u8], other: &[u8], places: &[usize]) -> bool {
    let differ = |(at, (a, b)): (usize, (&u8, &u8))| a != b && !places.contains(&at);
    one.len() == other.len() && !one.iter().zip(other).enumerate().any(differ)
}
