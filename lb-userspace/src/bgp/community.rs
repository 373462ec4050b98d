//! Communities: labels that routes carry (RFC 1997, RFC 8092).

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt;

/// A community of 32 bits (RFC 1997). `Display` gives its name where it is well known, else both halves, `65001:100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// Prefer any other route (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Community = Community(0xffff_0000);

    /// Those with a name: RFC 8326, RFC 7999, RFC 1997, RFC 3765.
    pub const WELL_KNOWN: [(&'static str, Community); 6] = [
        ("graceful-shutdown", Community::GRACEFUL_SHUTDOWN),
        ("blackhole", Community(0xffff_029a)),
        ("no-export", Community(0xffff_ff01)),
        ("no-advertise", Community(0xffff_ff02)),
        ("no-export-subconfed", Community(0xffff_ff03)),
        ("no-peer", Community(0xffff_ff04)),
    ];
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::WELL_KNOWN.iter().find(|(_, known)| known == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

/// A large community (RFC 8092): the AS that defines it, and two values of its own. Written `65001:1:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity(pub u32, pub u32, pub u32);

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.0, self.1, self.2)
    }
}

/// One of either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnyCommunity {
    /// RFC 1997.
    Standard(Community),
    /// RFC 8092.
    Large(LargeCommunity),
}

impl AnyCommunity {
    /// From two or three numbers with colons between, or from a well-known name; `None`: it is neither.
    pub fn parse(written: &str) -> Option<AnyCommunity> {
        let named = Community::WELL_KNOWN
            .iter()
            .find(|(name, _)| *name == written);
        if let Some((_, community)) = named {
            return Some(AnyCommunity::Standard(*community));
        }
        let numbers: Option<Vec<u32>> = written.split(':').map(decimal).collect();
        match *numbers?.as_slice() {
            [high @ 0..=0xffff, low @ 0..=0xffff] => {
                Some(AnyCommunity::Standard(Community(high << 16 | low)))
            }
            [global, first, second] => {
                Some(AnyCommunity::Large(LargeCommunity(global, first, second)))
            }
            _ => None,
        }
    }
}

/// Digits and nothing else: no sign.
fn decimal(written: &str) -> Option<u32> {
    let digits = written.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| written.parse().ok()).flatten()
}

/// How much traffic is wanted by a route, so that routers share it out unevenly (draft-ietf-idr-link-bandwidth). `Display`: as the
/// configuration writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkBandwidth {
    /// Bits per second.
    pub bits: u64,
}

impl LinkBandwidth {
    /// So many tenths of it.
    pub fn tenths(self, tenths: u8) -> LinkBandwidth {
        LinkBandwidth {
            bits: self.bits / 10 * u64::from(tenths),
        }
    }

    /// The extended community, as a speaker of this AS writes it: not transitive, of a two-octet AS, sub-type 4, then bytes per second
    /// as an IEEE 754 number.
    pub fn extended_community(self, asn: u32) -> u64 {
        const KIND: u64 = 0x4004 << 48;
        let asn = u16::try_from(asn).unwrap_or(AS_TRANS);
        #[expect(
            clippy::cast_precision_loss,
            reason = "24 bits of precision is what the format has"
        )]
        let bytes = self.bits as f32 / 8.0;
        KIND | u64::from(asn) << 32 | u64::from(bytes.to_bits())
    }
}

/// Stands for an AS number that does not fit two octets (RFC 6793).
const AS_TRANS: u16 = 23456;

impl fmt::Display for LinkBandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (1_000_000_000_000, "T"),
            (1_000_000_000, "G"),
            (1_000_000, "M"),
        ];
        let fits = |(size, _): &(u64, &str)| self.bits >= *size && self.bits.is_multiple_of(*size);
        match units.into_iter().find(fits) {
            Some((size, unit)) => write!(f, "{}{unit}", self.bits / size),
            None => write!(f, "{}K", self.bits / 1000),
        }
    }
}

/// The communities of one route, each once, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Communities {
    /// COMMUNITIES (attribute 8).
    pub standard: BTreeSet<Community>,
    /// LARGE_COMMUNITY (attribute 32).
    pub large: BTreeSet<LargeCommunity>,
}

impl Communities {
    /// The most of each kind that a message holds beside all else and some prefixes.
    pub const STANDARD_MAX: usize = 256;
    /// See [`Communities::STANDARD_MAX`].
    pub const LARGE_MAX: usize = 192;

    /// How many there are.
    pub fn len(&self) -> usize {
        self.standard.len() + self.large.len()
    }

    /// None of either kind.
    pub fn is_empty(&self) -> bool {
        self.standard.is_empty() && self.large.is_empty()
    }

    /// Those of both.
    pub fn and(&self, other: &Communities) -> Communities {
        Communities {
            standard: &self.standard | &other.standard,
            large: &self.large | &other.large,
        }
    }

    /// As many as one message may hold. The largest numbers stay, among them all well-known ones.
    pub(crate) fn bounded(mut self) -> Communities {
        while self.standard.len() > Self::STANDARD_MAX {
            self.standard.pop_first();
        }
        while self.large.len() > Self::LARGE_MAX {
            self.large.pop_first();
        }
        self
    }
}

impl FromIterator<AnyCommunity> for Communities {
    fn from_iter<I: IntoIterator<Item = AnyCommunity>>(all: I) -> Communities {
        let mut communities = Communities::default();
        for community in all {
            match community {
                AnyCommunity::Standard(one) => drop(communities.standard.insert(one)),
                AnyCommunity::Large(one) => drop(communities.large.insert(one)),
            }
        }
        communities
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_shown() {
        for (written, expected) in [
            (
                "65001:100",
                AnyCommunity::Standard(Community(65001 << 16 | 100)),
            ),
            ("0:65535", AnyCommunity::Standard(Community(65535))),
            (
                "4200000001:1:4294967295",
                AnyCommunity::Large(LargeCommunity(4_200_000_001, 1, u32::MAX)),
            ),
            ("no-export", AnyCommunity::Standard(Community(0xffff_ff01))),
        ] {
            assert_eq!(AnyCommunity::parse(written), Some(expected), "{written}");
            let shown = match expected {
                AnyCommunity::Standard(one) => one.to_string(),
                AnyCommunity::Large(one) => one.to_string(),
            };
            assert_eq!(shown, written);
        }
        assert_eq!(Community(0xffff_ff01).to_string(), "no-export");
        assert_eq!(
            AnyCommunity::parse("65535:666"),
            AnyCommunity::parse("blackhole"),
            "by number or by name"
        );
    }

    #[test]
    fn a_link_bandwidth_has_these_bytes() {
        let ten_gigabits = LinkBandwidth {
            bits: 10_000_000_000,
        };
        // 1.25e9 as a 32-bit number is 0x4e9502f9.
        assert_eq!(
            ten_gigabits.extended_community(65001),
            0x4004_fde9_4e95_02f9
        );
        assert_eq!(
            ten_gigabits.tenths(10).extended_community(4_200_000_001),
            0x4004_5ba0_4e95_02f9,
            "AS_TRANS stands for ours"
        );
        let shown = [10, 7, 1].map(|tenths| ten_gigabits.tenths(tenths).to_string());
        assert_eq!(shown, ["10G", "7G", "1G"]);
        assert_eq!(LinkBandwidth { bits: 2_500_000 }.to_string(), "2500K");
    }

    #[test]
    fn what_is_none() {
        for written in [
            "",
            ":",
            "1",
            "1:",
            ":1",
            "65536:1",
            "1:65536",
            "+1:1",
            "1:-1",
            " 1:1",
            "1:2:3:4",
            "4294967296:1:1",
            "No-Export",
            "export",
        ] {
            assert_eq!(AnyCommunity::parse(written), None, "{written:?}");
        }
    }

    #[test]
    fn too_many_keep_the_well_known() {
        let all: Communities = (0..300)
            .map(|n| AnyCommunity::Standard(Community(n)))
            .chain((0..300).map(|n| AnyCommunity::Large(LargeCommunity(n, 0, 0))))
            .chain([AnyCommunity::Standard(Community::GRACEFUL_SHUTDOWN)])
            .collect();
        let bounded = all.bounded();
        assert!(bounded.standard.contains(&Community::GRACEFUL_SHUTDOWN));
        assert_eq!(
            (bounded.standard.len(), bounded.large.len()),
            (Communities::STANDARD_MAX, Communities::LARGE_MAX)
        );
    }
}
