//! Messages of which NetGauze thinks otherwise, and who is right.

use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpMessageParsingError as Refused;
use netgauze_bgp_pkt::wire::deserializer::nlri::{
    Ipv4UnicastAddressParsingError as Ipv4Error, Ipv6UnicastAddressParsingError as Ipv6Error,
};
use netgauze_bgp_pkt::wire::deserializer::open::{
    BgpOpenMessageParsingError as OpenError, BgpParameterParsingError as ParameterError,
};
use netgauze_bgp_pkt::wire::deserializer::path_attribute::{
    MpReachParsingError as ReachError, MpUnreachParsingError as UnreachError,
    PathAttributeParsingError as AttributeError,
};
use netgauze_bgp_pkt::wire::deserializer::update::BgpUpdateMessageParsingError as UpdateError;

use super::{heard, notifications};
use crate::bgp::Open;
use crate::bgp::codec::{HEADER_LEN, MESSAGE_MAX, Message};

const MP_REACH_NLRI: u8 = 14;
const MP_UNREACH_NLRI: u8 = 15;

/// One message, and what both make of it.
#[derive(Debug)]
pub struct Case<'a> {
    /// Code and subcode where it is refused.
    pub ours: Result<Message, (u8, u8)>,
    /// Of their own.
    pub theirs: Result<BgpMessage, Refused>,
    /// Whole.
    pub message: &'a [u8],
}

impl Case<'_> {
    /// The same in both eyes.
    pub fn agreed(&self) -> bool {
        match (&self.ours, &self.theirs) {
            (Ok(ours), Ok(theirs)) => *ours == heard::message(theirs),
            (Err(ours), Err(theirs)) => *ours == answer(theirs),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        }
    }
}

/// Messages of one kind.
pub struct Difference {
    /// Which, and what NetGauze makes of them.
    pub what: &'static str,
    /// Why ours is right, or may be so.
    pub because: &'static str,
    /// Whether it is such a one.
    pub is: fn(&Case<'_>) -> bool,
}

/// The first that fits.
pub const TABLE: &[Difference] = &[
    Difference {
        what: "shorter than its type can be: the body is short for it",
        because: "RFC 4271 section 6.1: 1/2",
        is: |case| case.ours == Err((1, 2)) && case.theirs.is_err() && case.message.len() < 29,
    },
    Difference {
        what: "longer than 4096 octets: taken",
        because: "RFC 8654 section 4: by who has offered it, which we do not",
        is: |case| case.ours == Err((1, 2)) && case.message.len() > MESSAGE_MAX,
    },
    Difference {
        what: "a NOTIFICATION of a code or subcode that it does not know: refused",
        because: "RFC 4271 section 6.4: there is no answer to a NOTIFICATION; RFC 9687 has added a code",
        is: |case| {
            let refused = matches!(
                case.theirs,
                Err(Refused::BgpNotificationMessageParsingError(_))
            );
            matches!(case.ours, Ok(Message::Notification(_))) && refused
        },
    },
    Difference {
        what: "a ROUTE-REFRESH of a family or subtype that it does not know: refused",
        because: "RFC 2918 section 4, RFC 7313 section 5: ignored",
        is: |case| {
            let refused = matches!(
                case.theirs,
                Err(Refused::BgpRouteRefreshMessageParsingError(_))
            );
            case.ours == Ok(Message::RouteRefresh(None)) && refused
        },
    },
    Difference {
        what: "a ROUTE-REFRESH with more behind its family: refused",
        because: "RFC 5291 section 5: outbound route filters, which are ignored",
        is: |case| {
            let refused = matches!(case.theirs, Err(Refused::UnparseableBytes { .. }));
            matches!(case.ours, Ok(Message::RouteRefresh(_))) && refused
        },
    },
    Difference {
        what: "an OPEN with a hold time of 1 or 2, or no unicast address as identifier: refused",
        because: "the state machine refuses the hold time and 0.0.0.0; RFC 6286 section 2.1: any other identifier will do",
        is: |case| {
            let refused = matches!(
                open_error(case),
                Some(OpenError::UnacceptableHoldTime { .. } | OpenError::InvalidBgpId { .. })
            );
            matches!(case.ours, Ok(Message::Open(_)) | Err((2, _))) && refused
        },
    },
    Difference {
        what: "an OPEN with parameters of extended length: refused",
        because: "RFC 9072 section 2",
        is: |case| {
            matches!(case.message.get(HEADER_LEN + 9..), Some([1..=255, 255, ..]))
                && open_error(case).is_some()
        },
    },
    Difference {
        what: "an OPEN with a capability that it does not find well formed: refused",
        because: "RFC 5492 section 3: who does not understand it ignores it",
        is: |case| {
            let refused = matches!(
                open_error(case),
                Some(OpenError::ParameterError(ParameterError::CapabilityError(
                    _
                )))
            );
            matches!(case.ours, Ok(Message::Open(_)) | Err((2, 4))) && refused
        },
    },
    Difference {
        what: "an OPEN with two AS numbers: of the last one",
        because: "RFC 5492 section 4 leaves it to RFC 6793, which does not say; ours is the first",
        is: |case| opened(case).is_some_and(|(ours, theirs)| ours.asn != theirs.asn),
    },
    Difference {
        what: "an OPEN that goes on behind its parameters: 1/2",
        because: "RFC 4271 section 6.2 does not say; it is the list of parameters that is wrong",
        is: |case| {
            case.ours == Err((2, 0)) && matches!(case.theirs, Err(Refused::UnparseableBytes { .. }))
        },
    },
    Difference {
        what: "an OPEN with an unknown parameter whose length is wrong: 2/4",
        because: "RFC 4271 section 6.2 has both; its length is looked at before its type",
        is: |case| {
            case.ours == Err((2, 0))
                && matches!(
                    open_error(case),
                    Some(OpenError::ParameterError(
                        ParameterError::UndefinedParameterType { .. }
                    ))
                )
        },
    },
    Difference {
        what: "IPv4 over IPv6 next hops, with a subsequent family above 255: of its low octet",
        because: "RFC 8950 section 4: the field has two octets",
        is: |case| {
            opened(case).is_some_and(|(ours, theirs)| {
                theirs.capabilities.extended_next_hop && !ours.capabilities.extended_next_hop
            })
        },
    },
    Difference {
        what: "an attribute that runs over the end of the list: refused",
        because: "RFC 7606 section 4: its routes are withdrawn ones",
        is: |case| {
            case.ours == Ok(Message::Update) && case.theirs.is_err() && overruns(case.message)
        },
    },
    Difference {
        what: "an attribute in error: refused",
        because: "RFC 7606 sections 3 and 7: its routes are withdrawn ones",
        is: |case| {
            case.ours == Ok(Message::Update)
                && matches!(attribute_error(case), Some(error) if !multiprotocol(error))
        },
    },
    Difference {
        what: "a multiprotocol attribute of a family that it does not know, or does not find well formed",
        because: "RFC 4760 section 8: of a family that we have not offered, and therefore do not read",
        is: |case| {
            case.ours == Ok(Message::Update)
                && attribute_error(case)
                    .is_some_and(|error| multiprotocol(error) && !of_our_family(error))
        },
    },
    Difference {
        what: "a prefix of multicast",
        because: "RFC 4271 section 6.3: the prefix is ignored",
        is: |case| case.ours == Ok(Message::Update) && not_unicast(case),
    },
    Difference {
        what: "a multiprotocol attribute twice",
        because: "RFC 7606 section 3 (g): 3/1",
        is: |case| {
            case.ours == Err((3, 1))
                && [MP_REACH_NLRI, MP_UNREACH_NLRI]
                    .into_iter()
                    .any(|one| times(one, case.message) > 1)
        },
    },
    Difference {
        what: "parts longer than the message, and in them prefixes that are none",
        because: "RFC 4271 section 6.3: 3/1 comes first",
        is: |case| {
            case.ours == Err((3, 1))
                && matches!(case.theirs, Err(Refused::BgpUpdateMessageParsingError(_)))
                && !parts_fit(case.message)
        },
    },
    Difference {
        what: "a next hop of a length that its family has not, or beyond its attribute: as if it had",
        because: "RFC 7606 section 7.11: 3/9",
        is: |case| {
            case.ours == Err((3, 9)) && (case.theirs.is_ok() || has_odd_next_hop(case.message))
        },
    },
    Difference {
        what: "a prefix that is cut: 3/1",
        because: "RFC 4271 section 6.3: 3/10",
        is: |case| {
            case.ours == Err((3, 10))
                && case
                    .theirs
                    .as_ref()
                    .is_err_and(|error| answer(error) == (3, 1))
        },
    },
    Difference {
        what: "routes that cannot be found behind what it has refused already",
        because: "RFC 7606 section 3: ours goes on, and the worst error decides",
        is: |case| {
            matches!(case.ours, Err((3, 9 | 10)))
                && (attribute_error(case).is_some() || not_unicast(case))
        },
    },
];

/// Code and subcode of NetGauze's.
fn answer(refused: &Refused) -> (u8, u8) {
    let notification = notifications::heard(&refused.clone().into());
    (notification.code, notification.subcode)
}

/// The attributes of an UPDATE, as far as they go.
fn attributes(message: &[u8]) -> Vec<(u8, &[u8])> {
    walk(message).0
}

fn times(kind: u8, message: &[u8]) -> usize {
    let attributes = attributes(message).into_iter();
    attributes.filter(|one| one.0 == kind).count()
}

fn overruns(message: &[u8]) -> bool {
    !walk(message).1.is_empty()
}

/// And what is left behind the last whole one.
fn walk(message: &[u8]) -> (Vec<(u8, &[u8])>, &[u8]) {
    let parts = counted(&message[HEADER_LEN..], 2).and_then(|(_, rest)| counted(rest, 2));
    let (mut rest, _) = parts.unwrap_or_default();
    let mut list = Vec::new();
    while let [flags, kind, behind @ ..] = rest
        && let Some((value, next)) = counted(behind, if flags & 0x10 == 0 { 1 } else { 2 })
    {
        list.push((*kind, value));
        rest = next;
    }
    (list, rest)
}

/// What has its length in so many octets before it, and what follows.
fn counted(bytes: &[u8], octets: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(octets)?;
    let length = length
        .iter()
        .fold(0, |sum, octet| sum << 8 | usize::from(*octet));
    rest.split_at_checked(length)
}

/// An OPEN that both take, as we and as they read it.
fn opened<'a>(case: &'a Case<'_>) -> Option<(&'a Open, Open)> {
    let theirs = heard::message(case.theirs.as_ref().ok()?);
    match (&case.ours, theirs) {
        (Ok(Message::Open(ours)), Message::Open(theirs)) => Some((ours, theirs)),
        _ => None,
    }
}

fn open_error<'a>(case: &'a Case<'_>) -> Option<&'a OpenError> {
    match &case.theirs {
        Err(Refused::BgpOpenMessageParsingError(error)) => Some(error),
        _ => None,
    }
}

fn parts_fit(message: &[u8]) -> bool {
    counted(&message[HEADER_LEN..], 2).is_some_and(|(_, rest)| counted(rest, 2).is_some())
}

fn attribute_error<'a>(case: &'a Case<'_>) -> Option<&'a AttributeError> {
    match &case.theirs {
        Err(Refused::BgpUpdateMessageParsingError(UpdateError::PathAttributeError(error))) => {
            Some(error)
        }
        _ => None,
    }
}

/// It has found a prefix that is not one of unicast.
fn not_unicast(case: &Case<'_>) -> bool {
    let ipv4 = |error: &Ipv4Error| {
        use netgauze_bgp_pkt::wire::deserializer::nlri::Ipv4UnicastParsingError as Error;
        let invalid = |error: &Error| matches!(error, Error::InvalidUnicastNetwork { .. });
        matches!(error, Ipv4Error::Ipv4UnicastError(error) if invalid(error))
    };
    let ipv6 = |error: &Ipv6Error| {
        use netgauze_bgp_pkt::wire::deserializer::nlri::Ipv6UnicastParsingError as Error;
        let invalid = |error: &Error| matches!(error, Error::InvalidUnicastNetwork { .. });
        matches!(error, Ipv6Error::Ipv6UnicastError(error) if invalid(error))
    };
    let Err(Refused::BgpUpdateMessageParsingError(error)) = &case.theirs else {
        return false;
    };
    match error {
        UpdateError::InvalidIpv4UnicastNetwork { .. } => true,
        UpdateError::PathAttributeError(AttributeError::MpReachErrorError(error)) => match error {
            ReachError::Ipv4UnicastAddressError(error) => ipv4(error),
            ReachError::Ipv6UnicastAddressError(error) => ipv6(error),
            _ => false,
        },
        UpdateError::PathAttributeError(AttributeError::MpUnreachErrorError(error)) => {
            match error {
                UnreachError::Ipv4UnicastAddressError(error) => ipv4(error),
                UnreachError::Ipv6UnicastAddressError(error) => ipv6(error),
                _ => false,
            }
        }
        _ => false,
    }
}

/// It concerns unicast prefixes.
fn of_our_family(error: &AttributeError) -> bool {
    matches!(
        error,
        AttributeError::MpReachErrorError(
            ReachError::Ipv4UnicastAddressError(_) | ReachError::Ipv6UnicastAddressError(_)
        ) | AttributeError::MpUnreachErrorError(
            UnreachError::Ipv4UnicastAddressError(_) | UnreachError::Ipv6UnicastAddressError(_)
        )
    )
}

fn has_odd_next_hop(message: &[u8]) -> bool {
    let mut attributes = attributes(message).into_iter();
    attributes.any(|(kind, value)| {
        kind == MP_REACH_NLRI
            && match value {
                [0, 1, 1, length, ..] => !matches!(length, 4 | 16 | 32),
                [0, 2, 1, length, ..] => !matches!(length, 16 | 32),
                [_, _, _, length, rest @ ..] => usize::from(*length) >= rest.len(),
                _ => true,
            }
    })
}

fn multiprotocol(error: &AttributeError) -> bool {
    matches!(
        error,
        AttributeError::MpReachErrorError(_) | AttributeError::MpUnreachErrorError(_)
    )
}
