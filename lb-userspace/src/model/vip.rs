//! What clients send to: an address, or a whole prefix.

#![forbid(unsafe_code)]

use std::fmt;
use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A VIP: an address, or a prefix all of whose addresses are one VIP. Displayed as it is written: a prefix with its length, an address
/// without.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Vip(IpNet);

impl Vip {
    /// The prefix of its addresses: what is announced.
    pub const fn net(self) -> IpNet {
        self.0
    }

    /// The address, where it is only one.
    pub fn single(self) -> Option<IpAddr> {
        (!self.is_prefix()).then(|| self.0.addr())
    }

    /// Whether it is a prefix, not an address.
    pub fn is_prefix(self) -> bool {
        self.0.prefix_len() < self.0.max_prefix_len()
    }

    /// Whether an address is one of its.
    pub fn holds(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Its family.
    pub fn is_ipv4(self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// Its family.
    pub fn is_ipv6(self) -> bool {
        matches!(self.0, IpNet::V6(_))
    }

    /// Of `vips`, the one that packets to this address are for: the longest around it.
    pub fn around(vips: impl Iterator<Item = Vip>, address: IpAddr) -> Option<Vip> {
        vips.filter(|vip| vip.holds(address))
            .max_by_key(|vip| vip.0.prefix_len())
    }

    /// The first of its addresses that is in none of `others`; itself may be among them, and longer prefixes around it.
    pub fn address_beside(self, others: impl Iterator<Item = IpNet>) -> Option<IpAddr> {
        let inside = others.filter(|other| *other != self.0 && self.0.contains(other));
        let mut taken: Vec<IpNet> = inside.collect();
        taken.sort_unstable();
        let mut free = self.0.network();
        for other in taken {
            if other.contains(&free) {
                free = next(other.broadcast())?;
            }
        }
        self.holds(free).then_some(free)
    }
}

fn next(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().checked_add(1)?).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().checked_add(1)?).into(),
    })
}

impl From<IpNet> for Vip {
    /// Without bits behind the prefix length.
    fn from(net: IpNet) -> Self {
        Self(net.trunc())
    }
}

impl From<IpAddr> for Vip {
    fn from(address: IpAddr) -> Self {
        Self(address.into())
    }
}

impl From<[u8; 4]> for Vip {
    fn from(octets: [u8; 4]) -> Self {
        IpAddr::from(octets).into()
    }
}

impl FromStr for Vip {
    type Err = AddrParseError;

    /// The inverse of its display.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<IpNet>() {
            Ok(net) => Ok(net.into()),
            Err(_) => text.parse::<IpAddr>().map(Self::from),
        }
    }
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(address) => address.fmt(f),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Debug for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Vip> for String {
    fn from(vip: Vip) -> Self {
        vip.to_string()
    }
}

impl TryFrom<String> for Vip {
    type Error = AddrParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(text: &str) -> Vip {
        text.parse().unwrap()
    }

    #[test]
    fn it_is_displayed_as_it_is_written() {
        for text in [
            "198.51.100.1",
            "203.0.113.0/24",
            "2001:db8::1",
            "2001:db8:1::/64",
        ] {
            assert_eq!(vip(text).to_string(), text);
        }
        assert_eq!(vip("198.51.100.1/32").to_string(), "198.51.100.1");
    }

    #[test]
    fn the_longest_around_an_address_counts() {
        let vips = || {
            [
                "203.0.113.0/24",
                "203.0.113.9",
                "203.0.113.8/29",
                "10.0.0.1",
            ]
            .into_iter()
            .map(vip)
        };
        for (address, expected) in [
            ("203.0.113.9", Some("203.0.113.9")),
            ("203.0.113.10", Some("203.0.113.8/29")),
            ("203.0.113.0", Some("203.0.113.0/24")),
            ("203.0.114.0", None),
        ] {
            let found = Vip::around(vips(), address.parse().unwrap());
            assert_eq!(found, expected.map(vip), "{address}");
        }
    }

    #[test]
    fn an_address_beside_others() {
        for (net, others, expected) in [
            ("203.0.113.0/30", vec![], Some("203.0.113.0")),
            (
                "203.0.113.0/30",
                vec!["203.0.113.0/31"],
                Some("203.0.113.2"),
            ),
            (
                "203.0.113.0/30",
                vec!["203.0.113.2/32", "203.0.113.0/31", "203.0.113.0/24"],
                Some("203.0.113.3"),
            ),
            (
                "203.0.113.0/31",
                vec!["203.0.113.0/32", "203.0.113.1/32"],
                None,
            ),
            ("203.0.113.7", vec!["203.0.113.7/32"], Some("203.0.113.7")),
            (
                "2001:db8::/64",
                vec!["2001:db8::/65"],
                Some("2001:db8:0:0:8000::"),
            ),
        ] {
            let others = others.into_iter().map(|net| net.parse().unwrap());
            let found = vip(net).address_beside(others);
            assert_eq!(found, expected.map(|one| one.parse().unwrap()), "{net}");
        }
    }
}
