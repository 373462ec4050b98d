//! What is announced.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use ipnet::IpNet;

/// Address families of this speaker, each with SAFI 1 (unicast).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// AFI 1.
    Ipv4,
    /// AFI 2.
    Ipv6,
}

impl Family {
    /// Every family, in the order of their numbers.
    pub const ALL: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    /// The family of a prefix.
    pub fn of(prefix: &IpNet) -> Family {
        match prefix {
            IpNet::V4(_) => Family::Ipv4,
            IpNet::V6(_) => Family::Ipv6,
        }
    }

    /// `ipv4-unicast` or `ipv6-unicast`.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Ipv4 => "ipv4-unicast",
            Family::Ipv6 => "ipv6-unicast",
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A prefix and what is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The prefix; host bits are ignored.
    pub prefix: IpNet,
    /// RFC 1997 communities, the AS in the upper half; at most [`Route::COMMUNITIES_MAX`] are sent.
    pub communities: Vec<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
}

impl Route {
    /// A message has room for this many communities and then some prefixes.
    pub const COMMUNITIES_MAX: usize = 256;
}

/// All that shall be announced to every peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSet {
    /// By prefix.
    pub routes: BTreeMap<IpNet, Route>,
    /// Nothing that was announced before this process began is missing by mere ignorance: End-of-RIB may be sent.
    /// While false it is held back, at most until five seconds before the restart time, counted from the start of the
    /// speaker, ends.
    pub complete: bool,
}
