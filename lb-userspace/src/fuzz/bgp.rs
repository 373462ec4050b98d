//! BGP: framing, messages, a peer's machine.

use std::net::Ipv4Addr;
use std::time::Instant;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lb_oracle::dice::Dice;

use super::update::Said;
use crate::bgp::codec::{
    self, Capabilities, DecodeError, GracefulRestartCapability, HEADER_LEN, MESSAGE_MAX, Message,
    MessageType, Update, frame,
};
use crate::bgp::fsm::Input;
use crate::bgp::fsm::driver::Driver;
use crate::bgp::notification::Notification;
use crate::bgp::{
    AnyCommunity, Attributes, Communities, Community, Family, LargeCommunity, LinkBandwidth, Open,
};

/// Operations of one run of a machine.
const STEPS_MAX: usize = 500;

/// A stream of messages. How it is cut into segments changes nothing, and no message that was framed is refused for its header.
///
/// # Panics
/// Where a promise is broken.
pub fn bgp_frame(data: &[u8]) {
    let mut rest = data;
    loop {
        let whole = frame(rest);
        match &whole {
            Ok(None) => return in_pieces(rest, &whole),
            Err(error) => {
                fits(error);
                assert!(matches!(error, DecodeError::Header(_)));
                return in_pieces(rest, &whole);
            }
            Ok(Some((length, kind))) => {
                assert!((HEADER_LEN..=MESSAGE_MAX).contains(length));
                let (message, behind) = rest.split_at(*length);
                assert_eq!(frame(message), Ok(Some((*length, *kind))));
                in_pieces(message, &whole);
                let decoded = codec::decode(message);
                assert!(!matches!(decoded, Err(DecodeError::Header(_))));
                assert!(decoded.is_err() || kind_of(&decoded) == Some(*kind));
                rest = behind;
            }
        }
    }
}

/// Nothing is known before the header is there; then what is known stays.
fn in_pieces(bytes: &[u8], whole: &Result<Option<(usize, MessageType)>, DecodeError>) {
    for end in 0..bytes.len() {
        let part = frame(&bytes[..end]);
        if end < HEADER_LEN || whole.is_ok() {
            assert_eq!(part, Ok(None));
        } else {
            assert_eq!(&part, whole);
        }
    }
}

fn kind_of(decoded: &Result<Message, DecodeError>) -> Option<MessageType> {
    Some(match decoded.as_ref().ok()? {
        Message::Open(_) => MessageType::Open,
        Message::Update => MessageType::Update,
        Message::Notification(_) => MessageType::Notification,
        Message::Keepalive => MessageType::Keepalive,
        Message::RouteRefresh(_) => MessageType::RouteRefresh,
    })
}

/// The NOTIFICATION of an error is one that RFC 4271 has for it, and comes through.
fn fits(error: &DecodeError) {
    let (notification, code, subcodes) = match error {
        DecodeError::Header(n) => (n, 1, &[1, 2, 3][..]),
        DecodeError::Open(n) => (n, 2, &[0, 1, 4][..]),
        DecodeError::Update(n) => (n, 3, &[1, 9, 10][..]),
    };
    assert_eq!(notification.code, code);
    assert!(subcodes.contains(&notification.subcode), "{notification:?}");
    comes_through(notification);
}

fn comes_through(notification: &Notification) {
    let bytes = codec::encode_notification(notification);
    assert!(bytes.len() <= MESSAGE_MAX);
    let back = codec::decode(&bytes);
    assert_eq!(back, Ok(Message::Notification(notification.clone())));
    assert!(!notification.to_string().chars().any(char::is_control));
}

/// One message. The first byte says of which type the rest is a body, or that it is choices of which a message is made: what is
/// encoded is understood as it was meant.
///
/// # Panics
/// Where a promise is broken.
pub fn bgp_codec(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else {
        return;
    };
    let mut dice = Dice::Script(rest);
    match how % 9 {
        kind @ 0..=5 => received(kind, rest),
        6 => open_comes_through(&any_open(&mut dice)),
        7 => update_comes_through(&any_update(&mut dice), dice.once_in(2)),
        _ => {
            let (code, subcode, length) = (dice.byte(), dice.byte(), dice.below(5000));
            comes_through(&Notification::with_data(code, subcode, &dice.bytes(length)));
        }
    }
}

fn received(kind: u8, body: &[u8]) {
    let body = &body[..body.len().min(MESSAGE_MAX - HEADER_LEN)];
    let length = (HEADER_LEN + body.len()) as u16;
    let message = [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat();
    match codec::decode(&message) {
        Err(error) => fits(&error),
        Ok(Message::Open(open)) => open_comes_through(&ours(open)),
        Ok(Message::Notification(notification)) => comes_through(&notification),
        Ok(Message::Update) => {}
        Ok(Message::Keepalive) => assert_eq!(message, codec::encode_keepalive()),
        Ok(Message::RouteRefresh(family)) => {
            let unicast = matches!(body, [0, 1 | 2, 0, 1, ..]);
            assert_eq!(family.is_some(), unicast);
        }
    }
}

/// What a speaker like ours could have sent of it.
fn ours(mut open: Open) -> Open {
    let capabilities = &mut open.capabilities;
    capabilities.other_families = false;
    capabilities.others.clear();
    if let Some(restart) = &mut capabilities.graceful_restart {
        restart.families.truncate(Family::ALL.len());
    }
    capabilities.four_octet_as |= open.asn > u32::from(u16::MAX);
    open
}

fn open_comes_through(open: &Open) {
    let back = codec::decode(&codec::encode_open(open));
    assert_eq!(back, Ok(Message::Open(open.clone())));
}

/// An OPEN with such capabilities as we send.
pub fn any_open(dice: &mut Dice<'_>) -> Open {
    let four_octet_as = dice.once_in(2);
    Open {
        asn: match four_octet_as {
            true => dice.word(),
            false => dice.word() >> 16,
        },
        hold_time_secs: dice.word() as u16,
        identifier: Ipv4Addr::from(dice.word()),
        capabilities: Capabilities {
            families: some_families(dice).into_iter().collect(),
            other_families: false,
            route_refresh: dice.once_in(2),
            four_octet_as,
            extended_next_hop: dice.once_in(2),
            graceful_restart: dice.once_in(2).then(|| GracefulRestartCapability {
                restarting: dice.once_in(2),
                restart_time_secs: dice.below(4096) as u16,
                families: some_families(dice)
                    .into_iter()
                    .map(|family| (family, dice.once_in(2)))
                    .collect(),
            }),
            others: Default::default(),
        },
    }
}

fn some_families(dice: &mut Dice<'_>) -> Vec<Family> {
    let mut families = Family::ALL.to_vec();
    families.retain(|_| dice.once_in(2));
    families
}

/// Where it fits a message it says what was meant, and no more octets than were counted for it beforehand.
fn update_comes_through(update: &Update, four_octet_as: bool) {
    let (family, prefixes, attributes) = match update {
        Update::Announce {
            attributes,
            prefixes,
        } => (attributes.family, &prefixes[..], Some(attributes)),
        Update::Withdraw { family, prefixes } => (*family, &prefixes[..], None),
        Update::EndOfRib(family) => (*family, &[][..], None),
    };
    let octets: usize = prefixes.iter().map(codec::prefix_len).sum();
    let room = codec::nlri_room(attributes, family, four_octet_as);
    let Ok(bytes) = codec::encode_update(update, four_octet_as) else {
        assert!(room.is_err() || room.is_ok_and(|room| octets > room));
        return;
    };
    assert!(bytes.len() <= MESSAGE_MAX);
    assert_eq!(codec::decode(&bytes), Ok(Message::Update));
    let heard = Said::read(&bytes[HEADER_LEN..], four_octet_as);
    assert_eq!(heard, Some(Said::meant(update, four_octet_as)));
}

/// An UPDATE of any shape that we send.
pub fn any_update(dice: &mut Dice<'_>) -> Update {
    let family = dice.pick(&Family::ALL);
    match dice.below(4) {
        0 => Update::EndOfRib(family),
        1 => Update::Withdraw {
            family,
            prefixes: some_prefixes(dice, family),
        },
        _ => Update::Announce {
            attributes: any_attributes(dice, family),
            prefixes: some_prefixes(dice, family),
        },
    }
}

fn any_attributes(dice: &mut Dice<'_>, family: Family) -> Attributes {
    let over_v6 = family == Family::Ipv6 || dice.once_in(4);
    let path_len = dice.pick(&[0, 1, 2, 11, 255]);
    let standard = dice.pick(&[0, 1, 64, Communities::STANDARD_MAX]);
    let large = dice.pick(&[0, 1, 22, Communities::LARGE_MAX]);
    let standard = (0..standard).map(|_| AnyCommunity::Standard(Community(dice.word())));
    let standard: Vec<_> = standard.collect();
    let large = (0..large)
        .map(|_| AnyCommunity::Large(LargeCommunity(dice.word(), dice.word(), dice.word())));
    Attributes {
        family,
        communities: large.chain(standard).collect(),
        as_path: (0..path_len).map(|_| dice.word()).collect(),
        next_hop: match over_v6 {
            true => {
                std::net::Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(dice.word())).into()
            }
            false => Ipv4Addr::from(dice.word()).into(),
        },
        link_local: (over_v6 && dice.once_in(4))
            .then(|| std::net::Ipv6Addr::from((0xfe80_u128 << 112) | u128::from(dice.word()))),
        med: dice.once_in(2).then(|| dice.word()),
        local_pref: dice.once_in(2).then(|| dice.word()),
        bandwidth: dice.once_in(2).then(|| any_bandwidth(dice)),
    }
}

fn any_bandwidth(dice: &mut Dice<'_>) -> (LinkBandwidth, u32) {
    let bits = u64::from(dice.word()) << dice.below(20);
    (LinkBandwidth { bits }, dice.word())
}

/// At least one.
fn some_prefixes(dice: &mut Dice<'_>, family: Family) -> Vec<IpNet> {
    let count = 1 + dice.below(1000);
    (0..count).map(|_| any_prefix(dice, family)).collect()
}

/// Any prefix, without host bits.
pub fn any_prefix(dice: &mut Dice<'_>, family: Family) -> IpNet {
    match family {
        Family::Ipv4 => {
            let bits = dice.below(33) as u8;
            let net = Ipv4Net::new_assert(dice.word().into(), bits);
            net.trunc().into()
        }
        Family::Ipv6 => {
            let bits = dice.below(129) as u8;
            let words = [dice.word(), dice.word(), dice.word(), dice.word()];
            let address = words
                .iter()
                .fold(0, |address, word| (address << 32) | u128::from(*word));
            Ipv6Net::new_assert(address.into(), bits).trunc().into()
        }
    }
}

/// What a driver can report to the machine of one peer, as the bytes choose, from its start on.
///
/// # Panics
/// Where a promise is broken.
pub fn bgp_machine(data: &[u8]) {
    let mut dice = Dice::Script(data);
    let mut driver = Driver::new(&mut dice, Instant::now());
    driver.step(Input::Start);
    for _ in 0..STEPS_MAX {
        if matches!(dice, Dice::Script([])) {
            return;
        }
        let input = driver.draw(&mut dice);
        driver.step(input);
    }
}
