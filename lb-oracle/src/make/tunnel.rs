//! What LB nodes send to backends, and others who would like to.

use std::net::IpAddr;

use lb_common::tunnel;

use super::cast::Tunnels;
use crate::dice::Dice;
use crate::packet::{mend, octets};

type Trail = Vec<&'static str>;

/// An IP packet around `inner`, which is one too.
pub(super) fn around(
    dice: &mut Dice<'_>,
    tunnels: &Tunnels,
    inner: &[u8],
    trail: &mut Trail,
) -> Vec<u8> {
    let v4 = dice.below(2) == 0;
    let kind = match inner.first().map(|byte| byte >> 4) {
        _ if dice.once_in(60) => dice.byte(),
        Some(4) => 4,
        _ => 41,
    };
    let (protocol, payload) = match dice.below(8) {
        0 => {
            trail.push("IP in IP");
            (kind, inner.to_vec())
        }
        1 => {
            trail.push("GUE without private data");
            let flags = if dice.once_in(8) { dice.byte() } else { 0 };
            (17, udp(dice, &[&[0, kind, flags, 0], inner].concat()))
        }
        _ => {
            trail.push("GUE with hops");
            let gue = gue(dice, tunnels, v4, kind);
            (17, udp(dice, &[&gue, inner].concat()))
        }
    };
    outer(dice, tunnels, v4, protocol, &payload, trail)
}

fn udp(dice: &mut Dice<'_>, gue: &[u8]) -> Vec<u8> {
    let port = if dice.once_in(40) {
        dice.word() as u16
    } else {
        tunnel::PORT
    };
    let sum = if dice.once_in(10) {
        dice.word() as u16
    } else {
        0
    };
    let length = match dice.below(40) {
        0 => dice.word() as u16,
        1 => dice.below(40) as u16,
        _ => 8 + gue.len() as u16,
    };
    let words = [0xc000 | dice.word() as u16, port, length, sum];
    let mut udp = Vec::with_capacity(8 + gue.len());
    udp.extend(words.into_iter().flat_map(u16::to_be_bytes));
    udp.extend(gue);
    udp
}

/// GUE header, private data and hops, before a packet of the protocol `kind`.
fn gue(dice: &mut Dice<'_>, tunnels: &Tunnels, v4: bool, kind: u8) -> Vec<u8> {
    let count = 1 + dice.below(4) as u8;
    let index = dice.below(usize::from(count)) as u8;
    let mut flags = if v4 { 0 } else { tunnel::flags::V6 };
    flags |= match dice.below(9) {
        0 => tunnel::flags::FINAL,
        1 => tunnel::flags::PROBE,
        2 => tunnel::flags::SETTLING,
        3 => dice.byte() & !tunnel::flags::V6,
        4 => tunnel::flags::KNOWN_ONLY,
        _ => 0,
    };
    let words = tunnel::Header::length_words(count, if v4 { 1 } else { 4 });
    let mut gue = vec![
        words,
        kind,
        0,
        0,
        tunnel::VERSION,
        index << 4 | count,
        flags,
        0,
        0,
        7,
        0,
        0,
    ];
    if dice.once_in(12) {
        let at = dice.below(gue.len());
        gue[at] = dice.pick(&[0, 1, 2, 5, 6, 0x10, 0x45, 0x55, 0x80, 0xff]);
    }
    for place in 0..count {
        let hop = if dice.once_in(30) {
            dice.pick(&tunnels.senders)
        } else if place == index {
            dice.pick(&tunnels.ends)
        } else {
            dice.pick(&tunnels.hops)
        };
        let family = |address: &IpAddr| address.is_ipv4() == v4;
        let hop = if family(&hop) {
            hop
        } else {
            dice.pick(&of(&tunnels.hops, v4))
        };
        gue.extend(octets(hop));
    }
    gue
}

fn of(addresses: &[IpAddr], v4: bool) -> Vec<IpAddr> {
    let mut all = addresses.to_vec();
    all.retain(|address| address.is_ipv4() == v4);
    all
}

fn outer(
    dice: &mut Dice<'_>,
    tunnels: &Tunnels,
    v4: bool,
    protocol: u8,
    payload: &[u8],
    trail: &mut Trail,
) -> Vec<u8> {
    let strangers: [IpAddr; 4] = [
        [192, 0, 2, 99].into(),
        [10, 0, 1, 11].into(),
        [0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 1].into(),
        [0xfd00, 0, 0, 1, 0, 0, 0, 0x11].into(),
    ];
    let all = |of_kind: &[IpAddr]| of(of_kind, v4);
    let from = match dice.below(24) {
        0 => dice.pick(&all(&strangers)),
        1 => dice.pick(&all(&tunnels.hops)),
        _ => dice.pick(&all(&tunnels.senders)),
    };
    let to = match dice.below(40) {
        0 => dice.pick(&all(&strangers)),
        _ => dice.pick(&all(&tunnels.ends)),
    };
    let tos = if dice.once_in(3) { dice.byte() } else { 0 };
    let ttl = if dice.once_in(20) {
        dice.below(3) as u8
    } else {
        64
    };
    let mut packet = Vec::with_capacity(40 + payload.len());
    if v4 {
        trail.push("over IPv4");
        let fragment: u16 = if dice.once_in(50) { 0x2000 } else { 0x4000 };
        packet.extend([0x45, tos]);
        packet.extend((20 + payload.len() as u16).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(fragment.to_be_bytes());
        packet.extend([ttl, protocol, 0, 0]);
        packet.extend(octets(from));
        packet.extend(octets(to));
        mend(&mut packet);
    } else {
        trail.push("over IPv6");
        packet.extend((6 << 28 | u32::from(tos) << 20).to_be_bytes());
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([protocol, ttl]);
        packet.extend(octets(from));
        packet.extend(octets(to));
    }
    packet.extend(payload);
    packet
}
