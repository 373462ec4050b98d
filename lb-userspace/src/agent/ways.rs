//! The ways to the backends as far as they are known, and the tunnel's own addresses. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::{Encap, Node};
use crate::netlink::{NextHops, Unresolved};
use crate::path_mtu::PathMtus;
use crate::plan::desired::NextHop;

/// What is known stays until the kernel says that it is wrong: a question that is open (an agent that has just started, a
/// neighbour that is asked for again) must not stop packets that flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Next hops by backend.
    pub next_hops: BTreeMap<IpAddr, NextHop>,
    /// What routers say of what comes behind them.
    pub path_mtus: PathMtus,
    /// Tunnel source for IPv4 backends. Once known it stays, so that a lost route does not change headers.
    pub source_v4: Option<Ipv4Addr>,
    /// Tunnel source for IPv6 backends; the same.
    pub source_v6: Option<Ipv6Addr>,
}

impl Ways {
    /// Takes the kernel's answers about `targets`; others are forgotten.
    pub fn learn(&mut self, targets: &BTreeSet<IpAddr>, answers: &NextHops, node: &Node) {
        self.next_hops
            .retain(|address, _| targets.contains(address));
        for &address in targets {
            match answers.get(&address) {
                Some(Ok(hop)) => {
                    let hop = NextHop {
                        ifindex: hop.ifindex,
                        mtu: hop.mtu,
                        source_mac: hop.source_mac,
                        destination_mac: hop.destination_mac,
                        vlan: hop.vlan,
                        local: hop.local,
                        on_link: hop.gateway == address,
                    };
                    self.next_hops.insert(address, hop);
                }
                Some(Err(reason)) if !is_open(reason) => {
                    self.next_hops.remove(&address);
                }
                Some(Err(_)) | None => {}
            }
        }
        self.learn_sources(answers, node);
    }

    /// The way to a backend, whatever its packets look like.
    pub fn to(&self, address: IpAddr) -> Option<NextHop> {
        let hop = *self.next_hops.get(&address)?;
        let mtu = self.path_mtu(address).unwrap_or(hop.mtu);
        Some(NextHop { mtu, ..hop })
    }

    /// What fits the way to a backend, where that is less than its next hop takes.
    pub fn path_mtu(&self, address: IpAddr) -> Option<u32> {
        let mtu = *self.path_mtus.get(&address)?;
        let hop = self.next_hops.get(&address)?;
        (mtu < hop.mtu).then_some(mtu)
    }

    /// The way to a backend by this encapsulation: where there is none, it must be on the link.
    pub fn by(&self, encap: Encap, address: IpAddr) -> Option<NextHop> {
        self.to(address)
            .filter(|hop| encap != Encap::L2 || hop.on_link)
    }

    fn learn_sources(&mut self, answers: &NextHops, node: &Node) {
        let mut sources = answers
            .values()
            .filter_map(|hop| Some(hop.as_ref().ok()?.source));
        let v4 = sources.clone().find_map(|source| match source {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        });
        let v6 = sources.find_map(|source| match source {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        });
        self.source_v4 = node.tunnel_source_v4.or(self.source_v4).or(v4);
        self.source_v6 = node.tunnel_source_v6.or(self.source_v6).or(v6);
    }
}

/// Whether the answer is still to come.
pub fn is_open(reason: &Unresolved) -> bool {
    match reason {
        Unresolved::Pending | Unresolved::Incomplete(_) | Unresolved::Netlink(_) => true,
        Unresolved::NoInterface(_)
        | Unresolved::LinkDown(_)
        | Unresolved::NoMac(_)
        | Unresolved::NoRoute
        | Unresolved::Local
        | Unresolved::NotUnicast
        | Unresolved::OtherInterface(_)
        | Unresolved::NoSource(_)
        | Unresolved::NeighbourFailed(_)
        | Unresolved::Refused(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::{address, hop, settings};

    fn learn(ways: &mut Ways, answers: &[(&str, Result<u8, Unresolved>)]) {
        let answers: NextHops = answers
            .iter()
            .map(|(target, answer)| (address(target), answer.clone().map(|mac| hop(target, mac))))
            .collect();
        ways.learn(
            &answers.keys().copied().collect(),
            &answers,
            &settings("").node,
        );
    }

    #[test]
    fn a_way_stays_while_the_question_is_open_and_goes_with_the_answer() {
        let mut ways = Ways::default();
        learn(&mut ways, &[("10.1.0.1", Err(Unresolved::Pending))]);
        assert_eq!(ways.to(address("10.1.0.1")), None, "never known");
        learn(&mut ways, &[("10.1.0.1", Ok(7))]);
        let known = ways.to(address("10.1.0.1"));
        assert_eq!(known.map(|hop| hop.destination_mac[5]), Some(7));
        for open in [
            Unresolved::Pending,
            Unresolved::Incomplete(address("10.1.0.1")),
            Unresolved::Netlink("no buffer space".into()),
        ] {
            learn(&mut ways, &[("10.1.0.1", Err(open.clone()))]);
            assert_eq!(ways.to(address("10.1.0.1")), known, "{open}");
        }
        learn(&mut ways, &[("10.1.0.1", Ok(8))]);
        assert_eq!(
            ways.to(address("10.1.0.1"))
                .map(|hop| hop.destination_mac[5]),
            Some(8),
            "a new neighbour replaces the old"
        );
        learn(&mut ways, &[("10.1.0.1", Err(Unresolved::NoRoute))]);
        assert_eq!(ways.to(address("10.1.0.1")), None);
    }

    #[test]
    fn what_is_no_target_is_forgotten_and_sources_stay() {
        let mut ways = Ways::default();
        learn(&mut ways, &[("10.1.0.1", Ok(1)), ("2001:db8::1", Ok(2))]);
        let (v4, v6) = (ways.source_v4, ways.source_v6);
        assert_eq!(v4, Some([10, 0, 0, 11].into()));
        assert!(v6.is_some());
        learn(&mut ways, &[("10.1.0.2", Err(Unresolved::NoRoute))]);
        assert_eq!(ways.next_hops, BTreeMap::new());
        assert_eq!((ways.source_v4, ways.source_v6), (v4, v6));
    }

    #[test]
    fn a_configured_source_wins() {
        let mut ways = Ways::default();
        let node = Node {
            tunnel_source_v4: Some([10, 9, 9, 9].into()),
            ..settings("").node
        };
        let answers = [(address("10.1.0.1"), Ok(hop("10.1.0.1", 1)))].into();
        ways.learn(&[address("10.1.0.1")].into(), &answers, &node);
        assert_eq!(ways.source_v4, Some([10, 9, 9, 9].into()));
    }
}
