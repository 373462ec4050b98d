//! Received UPDATE and ROUTE-REFRESH, looked at without keeping anything.
//!
//! RFC 7606 ends a session only where the routes of an UPDATE cannot be found; any other error concerns routes, and
//! routes are dropped here anyway. What is left is little: the lengths of the three parts, the syntax of prefixes,
//! and the two attributes that contain prefixes.

use crate::bgp::notification::{Notification, code, subcode};
use crate::bgp::route::Family;

const FLAG_EXTENDED_LENGTH: u8 = 0x10;
const MP_REACH_NLRI: u8 = 14;
const MP_UNREACH_NLRI: u8 = 15;

/// Checks the body of an UPDATE for what ends a session.
///
/// # Errors
/// 3/1 for lengths that contradict each other and for a repeated multiprotocol attribute, 3/9 for a multiprotocol
/// attribute whose prefixes cannot be found, 3/10 for prefixes that are none.
pub(super) fn check_update(body: &[u8]) -> Result<(), Notification> {
    let malformed = || Notification::new(code::UPDATE, subcode::MALFORMED_ATTRIBUTES);
    let (withdrawn, rest) = take_counted(body).ok_or_else(malformed)?;
    let (attributes, nlri) = take_counted(rest).ok_or_else(malformed)?;
    let invalid = || Notification::new(code::UPDATE, subcode::INVALID_NETWORK);
    check_prefixes(withdrawn, Family::Ipv4).ok_or_else(invalid)?;
    check_attributes(attributes)?;
    check_prefixes(nlri, Family::Ipv4).ok_or_else(invalid)
}

/// A part with its length in two octets before it, and what follows.
fn take_counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// `None` where a prefix is too long for its family or longer than what is left.
fn check_prefixes(mut bytes: &[u8], family: Family) -> Option<()> {
    let bits_max = match family {
        Family::Ipv4 => 32,
        Family::Ipv6 => 128,
    };
    while let Some((&bits, rest)) = bytes.split_first() {
        if bits > bits_max {
            return None;
        }
        bytes = rest.get(usize::from(bits).div_ceil(8)..)?;
    }
    Some(())
}

fn check_attributes(mut bytes: &[u8]) -> Result<(), Notification> {
    let mut seen = [false; 2];
    // An attribute that runs over the end of the list makes the routes of the message withdrawn ones (RFC 7606
    // section 4), which are dropped like the others: the walk just ends.
    while let Some((kind, value, rest)) = take_attribute(bytes) {
        let found = match kind {
            MP_REACH_NLRI => check_mp_reach(value),
            MP_UNREACH_NLRI => check_mp_unreach(value),
            _ => Some(()),
        };
        if matches!(kind, MP_REACH_NLRI | MP_UNREACH_NLRI) {
            let twice = &mut seen[usize::from(kind - MP_REACH_NLRI)];
            if std::mem::replace(twice, true) {
                return Err(Notification::new(
                    code::UPDATE,
                    subcode::MALFORMED_ATTRIBUTES,
                ));
            }
        }
        if found.is_none() {
            let attribute = &bytes[..bytes.len() - rest.len()];
            return Err(Notification::with_data(
                code::UPDATE,
                subcode::OPTIONAL_ATTRIBUTE,
                attribute,
            ));
        }
        bytes = rest;
    }
    Ok(())
}

/// Type, value and what follows.
fn take_attribute(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[flags, kind], rest) = bytes.split_first_chunk::<2>()?;
    if flags & FLAG_EXTENDED_LENGTH != 0 {
        let (value, rest) = take_counted(rest)?;
        return Some((kind, value, rest));
    }
    let (&length, rest) = rest.split_first()?;
    let (value, rest) = rest.split_at_checked(usize::from(length))?;
    Some((kind, value, rest))
}

/// `None` where the prefixes cannot be found (RFC 7606 section 7.11); a family that was not negotiated is not read.
fn check_mp_reach(value: &[u8]) -> Option<()> {
    let (family, rest) = take_family(value)?;
    let (&length, rest) = rest.split_first()?;
    let (_next_hop, rest) = rest.split_at_checked(usize::from(length))?;
    let (_reserved, prefixes) = rest.split_first()?;
    let Some(family) = family else {
        return Some(());
    };
    let expected = match family {
        // 16 and 32 with the capability of RFC 8950, which is not offered but does no harm.
        Family::Ipv4 => matches!(length, 4 | 16 | 32),
        Family::Ipv6 => matches!(length, 16 | 32),
    };
    if expected {
        check_prefixes(prefixes, family)
    } else {
        None
    }
}

/// See [`check_mp_reach`].
fn check_mp_unreach(value: &[u8]) -> Option<()> {
    match take_family(value)? {
        (Some(family), prefixes) => check_prefixes(prefixes, family),
        (None, _) => Some(()),
    }
}

/// AFI and SAFI as a family of ours, and what follows.
fn take_family(value: &[u8]) -> Option<(Option<Family>, &[u8])> {
    let (head, rest) = value.split_first_chunk::<3>()?;
    let family = match head {
        [0, 1, 1] => Some(Family::Ipv4),
        [0, 2, 1] => Some(Family::Ipv6),
        _ => None,
    };
    Some((family, rest))
}

/// The family a ROUTE-REFRESH asks for; none where it is not ours or the message is a marker of enhanced refresh.
pub(super) fn refresh_family(body: &[u8]) -> Option<Family> {
    match body {
        [0, 1, 0, 1, ..] => Some(Family::Ipv4),
        [0, 2, 0, 1, ..] => Some(Family::Ipv6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
        let counted = |part: &[u8]| [&(part.len() as u16).to_be_bytes()[..], part].concat();
        [counted(withdrawn), counted(attributes), nlri.to_vec()].concat()
    }

    const GOOD: [u8; 18] = [
        0x40, 1, 1, 0, 0x40, 2, 4, 2, 1, 0xfd, 0xe8, 0x40, 3, 4, 192, 0, 2, 1,
    ];

    #[test]
    fn rfc7606_2_no_reset_where_the_routes_can_be_found() {
        let reach6 = [
            &[0x80, 14, 26, 0, 2, 1, 16][..],
            &[0x20; 16],
            &[0, 32, 0x20, 1, 0x0d, 0xb8],
        ]
        .concat();
        let table: [(&str, Vec<u8>); 12] = [
            ("End-of-RIB", update(&[], &[], &[])),
            ("announcement", update(&[], &GOOD, &[24, 198, 51, 100])),
            (
                "withdrawal, default route included",
                update(&[0, 24, 198, 51, 100], &[], &[]),
            ),
            ("IPv6", update(&[], &reach6, &[])),
            (
                "mandatory attributes missing",
                update(&[], &GOOD[..4], &[24, 198, 51, 100]),
            ),
            (
                "NEXT_HOP shorter than four",
                update(&[], &[0x40, 3, 1, 9], &[24, 198, 51, 100]),
            ),
            (
                "ORIGIN twice",
                update(&[], &[0x40, 1, 1, 0, 0x40, 1, 1, 0], &[]),
            ),
            (
                "corrupt optional transitive attributes",
                update(&[], &[0xc0, 23, 1, 0, 0xc0, 35, 0, 0x40, 199, 0], &[]),
            ),
            (
                "attribute longer than the list",
                update(&[], &[0x40, 1, 200, 0], &[24, 198, 51, 100]),
            ),
            ("list that ends within a header", update(&[], &[0x40], &[])),
            (
                "family that was not negotiated",
                update(&[], &[0x80, 14, 7, 0x40, 4, 71, 0, 0, 0xff, 0xff], &[]),
            ),
            ("host bits set", update(&[], &GOOD, &[12, 198, 0xff])),
        ];
        for (what, body) in table {
            assert_eq!(check_update(&body), Ok(()), "{what}");
        }
    }

    #[test]
    fn rfc7606_3_reset_where_they_cannot() {
        let unreach = [0x80, 15, 3, 0, 2, 1];
        let table: [(&str, Vec<u8>, u8); 12] = [
            ("withdrawn longer than the message", vec![0, 9, 0, 0], 1),
            ("attributes longer than the message", vec![0, 0, 0, 9], 1),
            ("no room for the length of attributes", vec![0, 1, 0, 0], 1),
            (
                "MP_UNREACH_NLRI twice",
                update(&[], &[unreach, unreach].concat(), &[]),
                1,
            ),
            (
                "MP_REACH_NLRI of two octets",
                update(&[], &[0x80, 14, 2, 0, 2], &[]),
                9,
            ),
            (
                "MP_REACH_NLRI with a next hop beyond it",
                update(&[], &[0x80, 14, 5, 0, 2, 1, 16, 0], &[]),
                9,
            ),
            (
                "IPv6 with a next hop of four",
                update(&[], &[0x80, 14, 9, 0, 2, 1, 4, 1, 2, 3, 4, 0], &[]),
                9,
            ),
            (
                "MP_UNREACH_NLRI, prefix of 129 bits",
                update(&[], &[0x80, 15, 4, 0, 2, 1, 129], &[]),
                9,
            ),
            (
                "MP_UNREACH_NLRI, prefix cut",
                update(&[], &[0x80, 15, 5, 0, 2, 1, 64, 1], &[]),
                9,
            ),
            (
                "prefix of 33 bits",
                update(&[], &GOOD, &[33, 1, 2, 3, 4, 5]),
                10,
            ),
            ("prefix cut", update(&[], &GOOD, &[24, 198, 51]), 10),
            ("withdrawn prefix of 255 bits", update(&[255], &[], &[]), 10),
        ];
        for (what, body, subcode) in table {
            let error = check_update(&body).expect_err(what);
            assert_eq!((error.code, error.subcode), (3, subcode), "{what}");
        }
    }

    /// However long it is: a length that a peer has made up must not decide how much comes back.
    #[test]
    fn rfc4271_4_5_a_long_wrong_attribute_comes_back_as_far_as_it_fits() {
        let wrong = [&[0x90, 14, 0x0f, 0xd0, 0, 2, 1, 4][..], &[0; 4044]].concat();
        let error = check_update(&update(&[], &wrong, &[])).expect_err("a next hop of four");
        assert_eq!((error.code, error.subcode), (3, 9));
        assert_eq!(error.data, wrong[..error.data.len()]);
        assert!(crate::bgp::codec::encode_notification(&error).len() <= 4096);
        let lying = [0x90, 14, 0xff, 0xff, 0, 2];
        assert_eq!(
            check_update(&update(&[], &lying, &[])),
            Ok(()),
            "longer than the list: its routes are withdrawn ones (RFC 7606 section 4)"
        );
    }

    #[test]
    fn rfc4271_6_3_the_wrong_attribute_comes_back() {
        let wrong = [0x80, 14, 2, 0, 2];
        let body = update(&[], &[&GOOD[..], &wrong].concat(), &[]);
        assert_eq!(
            check_update(&body),
            Err(Notification::with_data(3, 9, &wrong))
        );
    }
}
