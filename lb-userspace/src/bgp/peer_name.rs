//! What the configuration calls a peer.

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::interface_name::InterfaceName;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A peer of the configuration; written as there, in JSON as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerName {
    /// The one with this transport address.
    Address(IpAddr),
    /// The one with this link-local address on the link of this interface.
    LinkLocal(Ipv6Addr, InterfaceName),
    /// The router on the link of this interface, by the link-local address that it advertises.
    Interface(InterfaceName),
    /// Whoever connects from inside this prefix, which has no host bits.
    Range(IpNet),
}

impl PeerName {
    /// Its transport address; none: it has more than one, or one that says nothing without its link.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            PeerName::Address(address) => Some(*address),
            PeerName::LinkLocal(..) | PeerName::Interface(_) | PeerName::Range(_) => None,
        }
    }

    /// An address of it: its own, or the first that a member can have; none: it is still to be found.
    pub fn first_address(&self) -> Option<IpAddr> {
        match self {
            PeerName::Address(address) => Some(*address),
            PeerName::LinkLocal(address, _) => Some(IpAddr::V6(*address)),
            PeerName::Interface(_) => None,
            PeerName::Range(range) => Some(first_host(range)),
        }
    }

    /// The interface whose link it is on, where its address says nothing without.
    pub fn interface(&self) -> Option<InterfaceName> {
        match self {
            PeerName::LinkLocal(_, interface) | PeerName::Interface(interface) => Some(*interface),
            PeerName::Address(_) | PeerName::Range(_) => None,
        }
    }

    /// The prefix that its members connect from.
    pub fn range(&self) -> Option<IpNet> {
        match self {
            PeerName::Address(_) | PeerName::LinkLocal(..) | PeerName::Interface(_) => None,
            PeerName::Range(range) => Some(*range),
        }
    }

    /// Whether all that `other` names is inside it, and it names more.
    pub fn holds(&self, other: &PeerName) -> bool {
        let Some(range) = self.range().filter(|_| self != other) else {
            return false;
        };
        match other {
            PeerName::Address(address) => range.contains(address),
            PeerName::LinkLocal(..) | PeerName::Interface(_) => false,
            PeerName::Range(inner) => range.contains(inner),
        }
    }

    /// Whether sessions with it run over IPv4.
    pub fn is_ipv4(&self) -> bool {
        match self {
            PeerName::Address(address) => address.is_ipv4(),
            PeerName::LinkLocal(..) | PeerName::Interface(_) => false,
            PeerName::Range(range) => range.addr().is_ipv4(),
        }
    }
}

/// The first address that a host of the prefix can have.
pub fn first_host(range: &IpNet) -> IpAddr {
    range.hosts().next().unwrap_or(range.addr())
}

/// Whether it is no name of an interface here, because it reads as a part of an IPv4 address.
pub fn is_half_an_address(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

impl std::fmt::Display for PeerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PeerName::Address(address) => address.fmt(f),
            PeerName::LinkLocal(address, interface) => write!(f, "{address}%{interface}"),
            PeerName::Interface(interface) => interface.fmt(f),
            PeerName::Range(range) => range.fmt(f),
        }
    }
}

/// Neither an address nor a prefix nor the name of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be the address, the range or the interface of a BGP peer, such as 10.0.0.1, fe80::1%eth0, 10.0.0.0/24 or eth0"
)]
pub struct NoPeerName;

impl FromStr for PeerName {
    type Err = NoPeerName;

    fn from_str(text: &str) -> Result<PeerName, NoPeerName> {
        let address = || text.parse().map(|address: IpAddr| PeerName::from(address));
        let range = || text.parse().map(|net: IpNet| PeerName::Range(net.trunc()));
        if let Some((address, interface)) = text.split_once('%') {
            let address: Ipv6Addr = address.parse().map_err(|_| NoPeerName)?;
            let interface = interface.parse().map_err(|_| NoPeerName)?;
            return match address.is_unicast_link_local() {
                true => Ok(PeerName::LinkLocal(address, interface)),
                false => Err(NoPeerName),
            };
        }
        let interface = || match is_half_an_address(text) {
            true => Err(NoPeerName),
            false => text
                .parse()
                .map(PeerName::Interface)
                .map_err(|_| NoPeerName),
        };
        address().or_else(|_| range()).or_else(|_| interface())
    }
}

impl From<IpAddr> for PeerName {
    /// An IPv4 address in IPv6 form is the IPv4 address.
    fn from(address: IpAddr) -> PeerName {
        PeerName::Address(address.to_canonical())
    }
}

impl From<IpNet> for PeerName {
    fn from(range: IpNet) -> PeerName {
        PeerName::Range(range.trunc())
    }
}

impl Serialize for PeerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PeerName, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_in_the_configuration() {
        for (text, name) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("2001:DB8::1", Some("2001:db8::1")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("10.0.0.0/24", Some("10.0.0.0/24")),
            ("10.0.0.9/24", Some("10.0.0.0/24")),
            ("2001:db8::/64", Some("2001:db8::/64")),
            ("fe80::1%eth0", Some("fe80::1%eth0")),
            ("FE80::1%eth0.7", Some("fe80::1%eth0.7")),
            ("fe80::1%", None),
            ("2001:db8::1%eth0", None),
            ("10.0.0.1%eth0", None),
            ("eth0", Some("eth0")),
            ("swp1.100", Some("swp1.100")),
            ("sixteen--letters", None),
            ("10.0.0", None),
            ("10.0.0.0/33", None),
            ("", None),
        ] {
            let parsed: Result<PeerName, NoPeerName> = text.parse();
            let written = parsed.map(|name| name.to_string()).ok();
            assert_eq!(written.as_deref(), name, "{text}");
        }
        let name: PeerName = "10.0.0.0/24".parse().expect("a range");
        let json = serde_json::to_string(&name).expect("a string");
        assert_eq!(json, r#""10.0.0.0/24""#);
        assert_eq!(serde_json::from_str::<PeerName>(&json).expect("one"), name);
    }
}
