//! What is announced.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::community::{Communities, LinkBandwidth};
use super::peer_name::PeerName;

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

/// What is said about a route beside its prefix and next hop.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Policy {
    /// Labels.
    pub communities: Communities,
    /// MULTI_EXIT_DISC; internal peers are not told (RFC 4271 section 5.1.4).
    pub med: Option<u32>,
    /// How often our AS is put into AS_PATH beyond once; internal peers see no AS_PATH of ours.
    pub prepend: u8,
    /// How much traffic is wanted by it, beside other nodes' routes.
    pub bandwidth: Option<LinkBandwidth>,
}

impl Policy {
    /// Longest prepending: longer paths win nothing, and some routers refuse them.
    pub const PREPEND_MAX: u8 = 10;

    /// What holds where both do: communities and prepending add up, our own MED and bandwidth win.
    pub fn and(&self, other: &Policy) -> Policy {
        Policy {
            communities: self.communities.and(&other.communities),
            med: self.med.or(other.med),
            prepend: self
                .prepend
                .saturating_add(other.prepend)
                .min(Self::PREPEND_MAX),
            bandwidth: self.bandwidth.or(other.bandwidth),
        }
    }
}

/// A prefix, what is said about it, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The prefix; host bits are ignored.
    pub prefix: IpNet,
    /// Whatever the peer.
    pub policy: Policy,
    /// The peers that hear of it; `None`: all.
    pub peers: Option<BTreeSet<PeerName>>,
}

/// All that shall be announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSet {
    /// By prefix.
    pub routes: BTreeMap<IpNet, Route>,
    /// What is said about every route to it. A peer that is not here adds nothing.
    pub peers: BTreeMap<PeerName, Policy>,
    /// Nothing that was announced before this process began is missing by mere ignorance: End-of-RIB may be sent.
    /// While false it is held back, at most until five seconds before the restart time, counted from the start of the
    /// speaker, ends.
    pub complete: bool,
}

impl RouteSet {
    /// What one peer shall hear, by prefix without host bits.
    pub fn to(&self, peer: PeerName) -> BTreeMap<IpNet, Policy> {
        let nothing = Policy::default();
        let every = self.peers.get(&peer).unwrap_or(&nothing);
        self.routes
            .iter()
            .filter(|(_, route)| {
                route
                    .peers
                    .as_ref()
                    .is_none_or(|peers| peers.contains(&peer))
            })
            .map(|(prefix, route)| (prefix.trunc(), route.policy.and(every)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bgp::community::AnyCommunity;

    fn policy(communities: &[&str], med: Option<u32>, prepend: u8) -> Policy {
        Policy {
            communities: communities
                .iter()
                .map(|written| AnyCommunity::parse(written).expect("a community"))
                .collect(),
            med,
            prepend,
            bandwidth: None,
        }
    }

    #[test]
    fn policies_add_up() {
        let of_route = policy(&["65001:1", "65001:1:1"], Some(10), 2);
        let of_peer = policy(&["65001:2", "65001:1"], Some(20), 3);
        assert_eq!(
            of_route.and(&of_peer),
            policy(&["65001:1", "65001:2", "65001:1:1"], Some(10), 5)
        );
        assert_eq!(
            policy(&[], None, 7).and(&policy(&[], Some(20), 7)),
            policy(&[], Some(20), 10),
            "a bounded path, and the peer's MED where the route has none"
        );
    }

    #[test]
    fn every_peer_hears_what_is_meant_for_it() {
        let [first, second] = ["10.0.0.1", "2001:db8::2"].map(|a| a.parse().expect("an address"));
        let route = |prefix: &str, peers: Option<&[PeerName]>| {
            let prefix: IpNet = prefix.parse().expect("a prefix");
            let route = Route {
                prefix,
                policy: policy(&["65001:1"], None, 0),
                peers: peers.map(|peers| peers.iter().copied().collect()),
            };
            (prefix, route)
        };
        let set = RouteSet {
            routes: BTreeMap::from([
                route("192.0.2.1/32", None),
                route("192.0.2.2/32", Some(&[first])),
                route("192.0.2.3/32", Some(&[])),
                route("198.51.100.7/24", Some(&[first, second])),
            ]),
            peers: BTreeMap::from([(second, policy(&["no-export"], Some(5), 1))]),
            complete: true,
        };
        let heard = |peer| -> Vec<(String, Policy)> {
            let routes = set.to(peer).into_iter();
            routes.map(|(prefix, p)| (prefix.to_string(), p)).collect()
        };
        let plain = policy(&["65001:1"], None, 0);
        let marked = policy(&["65001:1", "no-export"], Some(5), 1);
        assert_eq!(
            heard(first),
            [
                ("192.0.2.1/32".to_owned(), plain.clone()),
                ("192.0.2.2/32".to_owned(), plain.clone()),
                ("198.51.100.0/24".to_owned(), plain.clone()),
            ]
        );
        assert_eq!(
            heard(second),
            [
                ("192.0.2.1/32".to_owned(), marked.clone()),
                ("198.51.100.0/24".to_owned(), marked),
            ]
        );
    }
}
