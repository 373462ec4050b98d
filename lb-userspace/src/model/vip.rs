//! What clients send to: an address.

#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A VIP. Displayed as the address it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Vip(IpNet);

impl Vip {
    /// The prefix of its addresses: what is announced.
    pub const fn net(self) -> IpNet {
        self.0
    }

    /// The address.
    pub fn address(self) -> IpAddr {
        self.0.addr()
    }

    /// Its family.
    pub fn is_ipv4(self) -> bool {
        self.address().is_ipv4()
    }

    /// Its family.
    pub fn is_ipv6(self) -> bool {
        self.address().is_ipv6()
    }
}

impl From<IpAddr> for Vip {
    fn from(address: IpAddr) -> Self {
        Self(address.into())
    }
}

impl From<Ipv4Addr> for Vip {
    fn from(address: Ipv4Addr) -> Self {
        IpAddr::from(address).into()
    }
}

impl From<Ipv6Addr> for Vip {
    fn from(address: Ipv6Addr) -> Self {
        IpAddr::from(address).into()
    }
}

impl From<[u8; 4]> for Vip {
    fn from(octets: [u8; 4]) -> Self {
        IpAddr::from(octets).into()
    }
}

impl FromStr for Vip {
    type Err = std::net::AddrParseError;

    /// The inverse of its display.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<IpAddr>().map(Self::from)
    }
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
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
    type Error = std::net::AddrParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
