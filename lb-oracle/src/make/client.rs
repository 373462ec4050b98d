//! What clients send, or routers about what servers sent.

use std::net::{IpAddr, SocketAddr};

use super::cast::{Cast, Service};
use super::{LONGEST, lie};
use crate::dice::Dice;
use crate::packet::{checksum, mend, octets, pseudo};

const TCP: u8 = 6;
const UDP: u8 = 17;

type Trail = Vec<&'static str>;

/// An IP packet of a client to a VIP, or nearly.
pub(super) fn packet(dice: &mut Dice<'_>, cast: &Cast, trail: &mut Trail) -> Vec<u8> {
    let (client, service) = cast.flow(dice);
    let v4 = service.at.is_ipv4();
    match dice.below(12) {
        0 => {
            trail.push("ping");
            let (kind, body) = (if v4 { 8 } else { 128 }, echo(dice));
            icmp_packet(dice, client.ip(), service.at.ip(), kind, &body, trail)
        }
        1 => {
            let quoted = quoted(dice, cast, client, service, trail);
            trail.push("ICMP error");
            let kinds: &[u8] = if v4 {
                &[3, 11, 12, 4]
            } else {
                &[1, 2, 3, 4, 100]
            };
            let router = cast.client(dice, v4).ip();
            let body = [&[0, 0, 5, 0][..], &quoted].concat();
            let kind = dice.pick(kinds);
            icmp_packet(dice, router, service.at.ip(), kind, &body, trail)
        }
        2 if dice.once_in(3) => {
            trail.push("ICMP of any type");
            let (kind, body) = (dice.byte(), echo(dice));
            icmp_packet(dice, client.ip(), service.at.ip(), kind, &body, trail)
        }
        3 if dice.once_in(3) => {
            trail.push("another protocol");
            let protocol = dice.pick(&[0, 2, 4, 41, 47, 50, 51, 59, 89, 132, 135, 253, 255]);
            let length = dice.below(64);
            let payload = dice.bytes(length);
            ip(
                dice,
                client.ip(),
                service.at.ip(),
                protocol,
                &payload,
                trail,
            )
        }
        _ => {
            let payload = transport(dice, cast, client, service, trail);
            ip(
                dice,
                client.ip(),
                service.at.ip(),
                service.protocol,
                &payload,
                trail,
            )
        }
    }
}

fn transport(
    dice: &mut Dice<'_>,
    cast: &Cast,
    client: SocketAddr,
    service: Service,
    trail: &mut Trail,
) -> Vec<u8> {
    let data = data(dice, cast);
    if service.protocol == TCP {
        trail.push("TCP");
        let flags = dice.pick(&[2, 2, 16, 16, 24, 17, 4, 20, 18, 6, 0, 0xff, 0xc2]);
        tcp(dice, cast, client, service.at, flags, &data)
    } else {
        trail.push("UDP");
        udp(dice, client, service.at, &data)
    }
}

/// Data of a length at which something may change, or of a short one.
fn data(dice: &mut Dice<'_>, cast: &Cast) -> Vec<u8> {
    let length = match dice.below(10) {
        0..7 => dice.below(40),
        7 => dice.below(LONGEST),
        _ if cast.lengths.is_empty() => 0,
        _ => (dice.pick(&cast.lengths) + dice.below(9)).saturating_sub(64 + dice.below(9)),
    };
    (0..length).map(|i| i as u8).collect()
}

fn tcp(
    dice: &mut Dice<'_>,
    cast: &Cast,
    from: SocketAddr,
    to: SocketAddr,
    flags: u8,
    data: &[u8],
) -> Vec<u8> {
    let number = |dice: &mut Dice<'_>| match dice.below(2) {
        0 if !cast.numbers.is_empty() => dice.pick(&cast.numbers),
        _ => dice.word(),
    };
    let (sequence, acknowledgment) = (number(dice), number(dice));
    let options = 4 * dice.pick(&[0, 0, 3, 5, 10]);
    let mut tcp = Vec::with_capacity(60 + data.len());
    tcp.extend(from.port().to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(acknowledgment.to_be_bytes());
    tcp.extend([(5 + options as u8 / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(std::iter::repeat_n(1, options));
    tcp.extend(data);
    let sum = checksum(&[&pseudo(from.ip(), to.ip(), TCP, tcp.len()), &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    tcp
}

fn udp(dice: &mut Dice<'_>, from: SocketAddr, to: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut udp = Vec::with_capacity(8 + data.len());
    udp.extend(from.port().to_be_bytes());
    udp.extend(to.port().to_be_bytes());
    udp.extend((8 + data.len() as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(data);
    if !dice.once_in(4) {
        let sum = checksum(&[&pseudo(from.ip(), to.ip(), UDP, udp.len()), &udp]);
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
    }
    udp
}

fn echo(dice: &mut Dice<'_>) -> Vec<u8> {
    let length = 4 + dice.below(60);
    if dice.once_in(8) {
        vec![0; length]
    } else {
        dice.bytes(length)
    }
}

/// As much of the service's answer to the client as a router quotes.
fn quoted(
    dice: &mut Dice<'_>,
    cast: &Cast,
    client: SocketAddr,
    service: Service,
    trail: &mut Trail,
) -> Vec<u8> {
    let back = Service {
        at: client,
        protocol: service.protocol,
    };
    let mut whole = if dice.once_in(12) {
        let (kind, body) = (dice.byte(), echo(dice));
        icmp_packet(dice, service.at.ip(), client.ip(), kind, &body, trail)
    } else {
        let payload = transport(dice, cast, service.at, back, trail);
        ip(
            dice,
            service.at.ip(),
            client.ip(),
            back.protocol,
            &payload,
            trail,
        )
    };
    if dice.once_in(6) {
        lie::about_ip(dice, &mut whole, trail);
    }
    let header = if client.is_ipv4() { 20 } else { 40 };
    let kept = match dice.below(4) {
        0 => whole.len(),
        1 => header + 8,
        2 => 128,
        _ => dice.below(whole.len() + 1),
    };
    whole.truncate(kept);
    whole
}

fn icmp_packet(
    dice: &mut Dice<'_>,
    from: IpAddr,
    to: IpAddr,
    kind: u8,
    body: &[u8],
    trail: &mut Trail,
) -> Vec<u8> {
    let code = if dice.once_in(8) { dice.byte() } else { 0 };
    let mut icmp = vec![kind, code, 0, 0];
    icmp.extend(body);
    let protocol = if to.is_ipv4() { 1 } else { 58 };
    let sum = if to.is_ipv4() {
        checksum(&[&icmp])
    } else {
        checksum(&[&pseudo(from, to, protocol, icmp.len()), &icmp])
    };
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(dice, from, to, protocol, &icmp, trail)
}

/// An IP packet around `payload`.
fn ip(
    dice: &mut Dice<'_>,
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    payload: &[u8],
    trail: &mut Trail,
) -> Vec<u8> {
    let tos = if dice.once_in(3) { dice.byte() } else { 0 };
    let ttl = match dice.below(24) {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 255,
        _ => 64,
    };
    if to.is_ipv4() {
        ipv4(dice, [from, to], protocol, [tos, ttl], payload, trail)
    } else {
        ipv6(dice, [from, to], protocol, [tos, ttl], payload, trail)
    }
}

fn ipv4(
    dice: &mut Dice<'_>,
    [from, to]: [IpAddr; 2],
    protocol: u8,
    [tos, ttl]: [u8; 2],
    payload: &[u8],
    trail: &mut Trail,
) -> Vec<u8> {
    trail.push("IPv4");
    let options = if dice.once_in(5) {
        trail.push("options");
        4 * (1 + dice.below(10))
    } else {
        0
    };
    let fragment: u16 = if dice.once_in(16) {
        trail.push("fragment");
        dice.pick(&[0x2000, 0x2001, 0x1fff, 0x00b9, 0x6000, 0x3fff])
    } else {
        dice.pick(&[0x4000, 0x4000, 0, 0x8000])
    };
    let header = 20 + options;
    let mut packet = Vec::with_capacity(header + payload.len());
    packet.extend([0x40 | (header / 4) as u8, tos]);
    packet.extend(((header + payload.len()) as u16).to_be_bytes());
    // Few numbers, so that parts of one packet meet.
    packet.extend((dice.below(4) as u16).to_be_bytes());
    packet.extend(fragment.to_be_bytes());
    packet.extend([ttl, protocol, 0, 0]);
    packet.extend(octets(from));
    packet.extend(octets(to));
    packet.extend(dice.bytes(options));
    mend(&mut packet);
    packet.extend(payload);
    packet
}

/// IPv6 extension headers: hop by hop, routing, fragment, authentication, destination options; and what is none to us.
const EXTENSIONS: [u8; 9] = [0, 43, 44, 51, 60, 60, 135, 139, 50];

fn ipv6(
    dice: &mut Dice<'_>,
    [from, to]: [IpAddr; 2],
    protocol: u8,
    [tos, hop_limit]: [u8; 2],
    payload: &[u8],
    trail: &mut Trail,
) -> Vec<u8> {
    trail.push("IPv6");
    let (mut next, mut chain) = (protocol, Vec::new());
    if dice.once_in(3) {
        trail.push("extension headers");
        for _ in 0..1 + dice.below(5) {
            let kind = if dice.once_in(3) {
                dice.pick(&EXTENSIONS)
            } else {
                dice.pick(&[0, 43, 51, 60])
            };
            let unit = if kind == 51 { 4 } else { 8 };
            let length = match dice.below(8) {
                0 => dice.below(20),
                1..3 => 1,
                _ => 0,
            };
            let mut header = vec![next, length as u8];
            header.extend(dice.bytes(6 + unit * length));
            if kind == 44 {
                let offset: u16 = dice.pick(&[0, 1, 8, 9, 0xb9, 0xfff8]);
                header = [&[next, 0][..], &offset.to_be_bytes(), &[0, 0, 0, 7]].concat();
            }
            chain = [header, chain].concat();
            next = kind;
        }
    }
    let mut packet = Vec::with_capacity(40 + chain.len() + payload.len());
    let label = if dice.once_in(2) {
        dice.word() >> 12
    } else {
        0
    };
    packet.extend((6 << 28 | u32::from(tos) << 20 | label).to_be_bytes());
    packet.extend(((chain.len() + payload.len()) as u16).to_be_bytes());
    packet.extend([next, hop_limit]);
    packet.extend(octets(from));
    packet.extend(octets(to));
    packet.extend(chain);
    packet.extend(payload);
    packet
}
