//! Our codec beside another: NetGauze reads what we write as it was meant, we read what it writes as it was meant, and both think
//! the same of messages that are wrong, but for the known differences.

mod differences;
mod heard;
mod notifications;
mod spoken;

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use lb_oracle::dice::Dice;
use lb_oracle::hostile;
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::nlri::{Ipv4Unicast, Ipv6Unicast};
use netgauze_bgp_pkt::wire::deserializer::{BgpMessageParsingError, BgpParsingContext};
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;

use self::differences::{Case, Difference};
use super::bgp::{any_open, any_update};
use super::corpus_tests::{corpus, mutate};
use super::update::Said;
use crate::bgp::codec::{self, DecodeError, HEADER_LEN, MESSAGE_MAX, Message, Update};
use crate::bgp::notification::Notification;

/// Strict: what it could pass over is an error.
fn theirs(message: &[u8], four_octet_as: bool) -> Result<BgpMessage, BgpMessageParsingError> {
    let (labels, paths) = (HashMap::new(), HashMap::new());
    let mut context = BgpParsingContext::new(four_octet_as, labels, paths, true, true, true, true);
    BgpMessage::parse(&mut SliceReader::new(message), &mut context)
}

fn written(message: &BgpMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write(&mut bytes).expect("memory holds it");
    bytes
}

/// Multicast prefixes and 255.255.255.255 are none that NetGauze takes, nor are they VIPs.
fn is_unicast(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => Ipv4Unicast::from_net(*net).is_ok(),
        IpNet::V6(net) => Ipv6Unicast::from_net(*net).is_ok(),
    }
}

#[test]
fn it_reads_the_opens_that_we_write() {
    for number in 0..5000 {
        let mut open = any_open(&mut Dice::of(1, number));
        // What only the state machine refuses here.
        open.hold_time_secs |= 4;
        open.identifier = (u32::from(open.identifier) >> 1).max(1).into();
        let heard = theirs(&codec::encode_open(&open), true);
        let heard = heard.as_ref().map(heard::message);
        assert_eq!(heard, Ok(Message::Open(open)), "open {number}");
    }
}

#[test]
fn it_reads_the_updates_that_we_write() {
    let mut written = 0;
    for number in 0..3000 {
        let mut dice = Dice::of(2, number);
        let (mut update, four_octet_as) = (any_update(&mut dice), dice.once_in(2));
        if let Update::Announce { prefixes, .. } | Update::Withdraw { prefixes, .. } = &mut update {
            prefixes.retain(is_unicast);
        }
        let Ok(bytes) = codec::encode_update(&update, four_octet_as) else {
            continue;
        };
        written += 1;
        let heard = theirs(&bytes, four_octet_as);
        let Ok(BgpMessage::Update(heard)) = heard else {
            panic!("update {number}: {update:?}: {heard:?}");
        };
        let meant = Said::meant(&update, four_octet_as);
        assert_eq!(heard::said(&heard), Some(meant), "update {number}");
    }
    assert!(written > 1000, "{written} fit a message");
}

#[test]
fn it_reads_what_else_we_write() {
    assert_eq!(
        theirs(&codec::encode_keepalive(), true),
        Ok(BgpMessage::KeepAlive)
    );
    for (number, (code, subcode, _)) in notifications::ALL.into_iter().enumerate() {
        for length in [0, 1, 2, 200, MESSAGE_MAX - 21] {
            let data = Dice::of(3, number as u64).bytes(length);
            let meant = Notification::with_data(code, subcode, &data);
            let heard = theirs(&codec::encode_notification(&meant), true);
            let heard = heard.as_ref().map(heard::message);
            assert_eq!(heard, Ok(Message::Notification(meant)));
        }
    }
}

#[test]
fn we_read_what_it_writes() {
    let mut said = 0;
    for number in 0..10_000 {
        let mut dice = Dice::of(4, number);
        let four_octet_as = dice.once_in(2);
        let meant = spoken::any(&mut dice, four_octet_as);
        let bytes = written(&meant);
        assert!(bytes.len() <= MESSAGE_MAX, "{} octets", bytes.len());
        let heard = codec::decode(&bytes);
        assert_eq!(
            heard,
            Ok(heard::message(&meant)),
            "message {number}: {meant:?}"
        );
        // Our codec keeps nothing of an UPDATE; the reader that its tests trust does.
        if let BgpMessage::Update(update) = &meant
            && let Some(meant) = heard::said(update)
        {
            said += 1;
            let heard = Said::read(&bytes[HEADER_LEN..], four_octet_as);
            assert_eq!(heard, Some(meant), "message {number}");
        }
    }
    assert!(said > 100, "{said} UPDATEs like ours");
}

/// What came of many messages.
#[derive(Default)]
struct Tally {
    /// Both take them, and read the same.
    accepted: usize,
    /// Both refuse them, with the same code and subcode.
    refused: usize,
    /// By line of the table.
    differing: BTreeMap<&'static str, usize>,
}

impl Tally {
    /// # Panics
    /// They differ as the table does not know.
    fn judge(&mut self, message: &[u8]) {
        let message = &whole(message);
        let case = Case {
            message,
            ours: ours(message),
            theirs: theirs(message, true),
        };
        if !case.agreed() {
            let known = differences::TABLE.iter().find(|one| (one.is)(&case));
            let known = known.unwrap_or_else(|| panic!("{case:02x?}"));
            *self.differing.entry(known.what).or_default() += 1;
        } else if case.ours.is_ok() {
            self.accepted += 1;
        } else {
            self.refused += 1;
        }
    }
}

/// As long as it says.
fn whole(message: &[u8]) -> Vec<u8> {
    let mut whole = message.to_vec();
    whole.resize(whole.len().max(HEADER_LEN), 0);
    let length = usize::from(u16::from_be_bytes([whole[16], whole[17]]));
    whole.resize(length.max(HEADER_LEN), 0);
    whole
}

fn ours(message: &[u8]) -> Result<Message, (u8, u8)> {
    let decoded = codec::decode(message);
    decoded.map_err(|error| match error {
        DecodeError::Header(n) | DecodeError::Open(n) | DecodeError::Update(n) => {
            (n.code, n.subcode)
        }
    })
}

/// Ours, NetGauze's, those that have broken others, and what a fuzzer has found worth keeping.
fn messages() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for number in 0..300 {
        let mut dice = Dice::of(5, number);
        messages.push(codec::encode_open(&any_open(&mut dice)));
        messages.push(written(&spoken::any(&mut dice, true)));
        messages.extend(codec::encode_update(&any_update(&mut dice), true));
    }
    #[rustfmt::skip]
    let two_as_numbers = [
        4, 0xfd, 0xe8, 0, 90, 192, 0, 2, 2, 14, 2, 12, 65, 4, 0, 0, 0xfd, 0xe8, 65, 4, 0, 0, 0xfd, 0xe9,
    ];
    messages.push(hostile::message(1, &two_as_numbers));
    let vectors = hostile::opening().into_iter().chain(hostile::established());
    messages.extend(vectors.map(|vector| vector.bytes));
    for input in corpus("bgp_codec") {
        if let [how @ 0..=5, body @ ..] = &input[..] {
            messages.push(hostile::message(*how, &body[..body.len().min(MESSAGE_MAX)]));
        }
    }
    messages
}

#[test]
fn it_refuses_what_we_refuse() {
    let messages = messages();
    let mut tally = Tally::default();
    for message in &messages {
        tally.judge(message);
    }
    for number in 0..60_000 {
        let mut dice = Dice::of(6, number);
        let mut message = messages[dice.below(messages.len())].clone();
        if dice.once_in(8) || message.len() < HEADER_LEN {
            mutate(&mut message, &mut dice);
        } else {
            let mut body = message.split_off(HEADER_LEN);
            mutate(&mut body, &mut dice);
            message = hostile::message(message[HEADER_LEN - 1], &body);
        }
        tally.judge(&message);
    }
    let Tally {
        accepted,
        refused,
        differing,
    } = tally;
    println!("{accepted} taken and {refused} refused by both");
    assert!(accepted > 5000 && refused > 5000, "{accepted} {refused}");
    for Difference { what, because, .. } in differences::TABLE {
        let count = differing.get(what).copied().unwrap_or_default();
        println!("{count:6} of {what} ({because})");
        assert!(count > 0, "no more: {what}");
    }
}
