//! Router advertisements and solicitations (RFC 4861 sections 4.1, 4.2).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Type (134)   |   Code (0)    |          Checksum             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Cur Hop Limit |M|O|  Reserved |       Router Lifetime         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                         Reachable Time                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                          Retrans Timer                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   Options ...
//! ```
//!
//! A solicitation has type 133, and four reserved octets between checksum and options. The checksum is the kernel's, both ways.

#![forbid(unsafe_code)]

use std::net::Ipv6Addr;

/// What either side says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Routers are asked to advertise themselves.
    Solicitation,
    /// The sender is a router.
    Advertisement,
}

impl Message {
    const ALL: [Message; 2] = [Message::Solicitation, Message::Advertisement];

    /// ICMPv6 type.
    pub const fn kind(self) -> u8 {
        match self {
            Message::Solicitation => 133,
            Message::Advertisement => 134,
        }
    }

    /// Octets before the options.
    const fn header(self) -> usize {
        match self {
            Message::Solicitation => 8,
            Message::Advertisement => 16,
        }
    }

    /// As it is sent by the interface with this MAC, where it has one. Of an advertisement everything is unspecified (zero), the router
    /// lifetime too: we are no default router.
    pub fn encode(self, mac: Option<[u8; 6]>) -> Vec<u8> {
        let mut octets = vec![0; self.header()];
        octets[0] = self.kind();
        if let Some(mac) = mac {
            octets.extend([SOURCE_LINK_LAYER_ADDRESS, 1]);
            octets.extend(mac);
        }
        octets
    }
}

/// Option type (RFC 4861 section 4.6.1).
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;

/// Why a message does not count (RFC 4861 sections 6.1.1, 6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invalid {
    /// Neither of both.
    Type,
    /// A router has forwarded it: its hop limit is not 255.
    HopLimit,
    /// An advertisement from an address that is not link-local.
    Source,
    /// Not 0.
    Code,
    /// Shorter than its header.
    Length,
    /// An option of length 0, or longer than the message; or one that says where "nobody" is.
    Option,
}

impl Invalid {
    /// A short constant name, to count by.
    pub fn label(self) -> &'static str {
        match self {
            Invalid::Type => "type",
            Invalid::HopLimit => "hop_limit",
            Invalid::Source => "source",
            Invalid::Code => "code",
            Invalid::Length => "length",
            Invalid::Option => "option",
        }
    }
}

/// What somebody says, from the ICMPv6 header on.
pub fn decode(source: Ipv6Addr, hop_limit: u8, octets: &[u8]) -> Result<Message, Invalid> {
    let kind = octets.first().ok_or(Invalid::Length)?;
    let mut all = Message::ALL.into_iter();
    let message = all
        .find(|message| message.kind() == *kind)
        .ok_or(Invalid::Type)?;
    if hop_limit != 255 {
        return Err(Invalid::HopLimit);
    }
    if message == Message::Advertisement && !source.is_unicast_link_local() {
        return Err(Invalid::Source);
    }
    let options = octets.get(message.header()..).ok_or(Invalid::Length)?;
    if octets.get(1) != Some(&0) {
        return Err(Invalid::Code);
    }
    let nobody = source.is_unspecified();
    check_options(options, nobody)?;
    Ok(message)
}

/// Lengths are in units of eight octets; what an option says is not looked at.
fn check_options(mut options: &[u8], from_nobody: bool) -> Result<(), Invalid> {
    while let [kind, units, ..] = options {
        if *kind == SOURCE_LINK_LAYER_ADDRESS && from_nobody {
            return Err(Invalid::Option);
        }
        let length = usize::from(*units) * 8;
        if length == 0 {
            return Err(Invalid::Option);
        }
        options = options.get(length..).ok_or(Invalid::Option)?;
    }
    match options {
        [] => Ok(()),
        _ => Err(Invalid::Option),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const ROUTER: &str = "fe80::1";

    /// Source, hop limit, octets.
    fn heard(source: &str, hop_limit: u8, octets: &[u8]) -> Result<Message, Invalid> {
        decode(source.parse().expect("an address"), hop_limit, octets)
    }

    #[test]
    fn rfc4861_4_2_ours_make_nobody_a_default_router() {
        let expected = [
            134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1,
        ];
        assert_eq!(Message::Advertisement.encode(Some(MAC)), expected);
        assert_eq!(Message::Advertisement.encode(None), expected[..16]);
        let expected = [133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1];
        assert_eq!(Message::Solicitation.encode(Some(MAC)), expected);
        for message in Message::ALL {
            for mac in [None, Some(MAC)] {
                assert_eq!(heard(ROUTER, 255, &message.encode(mac)), Ok(message));
            }
        }
    }

    #[test]
    fn rfc4861_6_1_2_what_is_no_valid_advertisement() {
        let plain = || Message::Advertisement.encode(None);
        let with = |options: &[u8]| [&plain(), options].concat();
        let code = {
            let mut octets = plain();
            octets[1] = 1;
            octets
        };
        // As a router with prefixes sends them.
        let full = {
            let mut octets = plain();
            octets[4..8].copy_from_slice(&[64, 0xc0, 0x07, 0x08]);
            octets.extend([1, 1, 2, 0, 0, 0, 0, 9, 5, 1, 0, 0, 0, 0, 5, 0xdc]);
            octets.extend([3, 4, 64, 0xc0]);
            octets.extend([0; 28]);
            octets
        };
        let valid = Ok(Message::Advertisement);
        for (about, source, hop_limit, octets, expected) in [
            ("plain", ROUTER, 255, plain(), valid),
            ("with options", ROUTER, 255, full, valid),
            (
                "an unknown option",
                ROUTER,
                255,
                with(&[200, 1, 0, 0, 0, 0, 0, 0]),
                valid,
            ),
            ("forwarded", ROUTER, 254, plain(), Err(Invalid::HopLimit)),
            (
                "a global source",
                "2001:db8::1",
                255,
                plain(),
                Err(Invalid::Source),
            ),
            ("no source", "::", 255, plain(), Err(Invalid::Source)),
            ("another code", ROUTER, 255, code, Err(Invalid::Code)),
            (
                "short",
                ROUTER,
                255,
                plain()[..15].to_vec(),
                Err(Invalid::Length),
            ),
            ("empty", ROUTER, 255, vec![], Err(Invalid::Length)),
            (
                "an option of no length",
                ROUTER,
                255,
                with(&[1, 0, 0, 0, 0, 0, 0, 0]),
                Err(Invalid::Option),
            ),
            (
                "an option behind the end",
                ROUTER,
                255,
                with(&[1, 2, 0, 0, 0, 0, 0, 0]),
                Err(Invalid::Option),
            ),
            (
                "half an option",
                ROUTER,
                255,
                with(&[1]),
                Err(Invalid::Option),
            ),
            (
                "a neighbor solicitation",
                ROUTER,
                255,
                [&[135; 1], &plain()[1..]].concat(),
                Err(Invalid::Type),
            ),
        ] {
            assert_eq!(heard(source, hop_limit, &octets), expected, "{about}");
        }
    }

    #[test]
    fn rfc4861_6_1_1_what_is_no_valid_solicitation() {
        let ours = Message::Solicitation.encode(Some(MAC));
        let valid = Ok(Message::Solicitation);
        for (about, source, hop_limit, octets, expected) in [
            ("from a host", "fe80::9", 255, &ours[..], valid),
            ("from a global address", "2001:db8::9", 255, &ours, valid),
            ("from nobody", "::", 255, &ours[..8], valid),
            (
                "from nobody with a MAC",
                "::",
                255,
                &ours,
                Err(Invalid::Option),
            ),
            ("forwarded", "fe80::9", 64, &ours, Err(Invalid::HopLimit)),
            ("short", "fe80::9", 255, &ours[..7], Err(Invalid::Length)),
        ] {
            assert_eq!(heard(source, hop_limit, octets), expected, "{about}");
        }
    }

    /// Whatever comes, it is judged.
    #[test]
    fn mutated_messages_end_no_process() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        let mut valid = 0;
        for _ in 0..200_000 {
            let message = Message::ALL[next() % 2];
            let mut octets = message.encode((next() % 2 == 0).then_some(MAC));
            octets.extend((0..next() % 40).map(|_| (next() % 7) as u8));
            for _ in 0..next() % 3 {
                let at = next() % octets.len();
                octets[at] = next() as u8;
            }
            octets.truncate(next() % (octets.len() + 1));
            let heard = heard(ROUTER, 255, &octets);
            if let Ok(message) = heard {
                valid += 1;
                assert_eq!(octets[..2], [message.kind(), 0]);
                assert_eq!(octets.len() % 8, 0, "options are of whole units");
            }
        }
        assert!(valid > 1000, "{valid}");
    }
}
