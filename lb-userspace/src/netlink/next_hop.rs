//! How a packet to an address leaves this node, and why it cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::table::{Neighbour, Resolution};
use crate::model::Vlan;

/// All the datapath needs to put a frame on the wire towards an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Where the route leads: one of our interfaces, or a VLAN on one.
    pub interface: String,
    /// Index of the interface that frames leave by.
    pub ifindex: u32,
    /// Largest IP packet: the smaller of the link's MTU and the route's, path MTU included.
    pub mtu: u32,
    /// The source address the kernel prefers towards there.
    pub source: IpAddr,
    /// Whose MAC is used: the router, or the address itself where it is on the link.
    pub gateway: IpAddr,
    /// MAC of the interface.
    pub source_mac: [u8; 6],
    /// MAC of the gateway.
    pub destination_mac: [u8; 6],
    /// VLAN tag of the frames.
    pub vlan: Option<Vlan>,
    /// The address is this node's own: frames to it stay here.
    pub local: bool,
}

/// What an address of the node itself is as a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// A mistake: [`Unresolved::Local`].
    Refused,
    /// The node's own backend.
    Served,
}

/// Why there is no next hop; its display is what an operator reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Asked for a moment ago.
    #[error("not looked up yet")]
    Pending,
    /// The interface does not exist.
    #[error("no interface {0}")]
    NoInterface(String),
    /// The interface is administratively down or has no carrier.
    #[error("interface {0} is down")]
    LinkDown(String),
    /// The interface has no Ethernet address.
    #[error("interface {0} has no MAC address")]
    NoMac(String),
    /// No route, or one that rejects.
    #[error("no route")]
    NoRoute,
    /// The address is one of this node's own.
    #[error("is an address of this node")]
    Local,
    /// Broadcast, multicast or anycast.
    #[error("is not a unicast address")]
    NotUnicast,
    /// The route leads out of another interface than ours.
    #[error("is reached by {0}, which is neither in node.interfaces nor a VLAN on one of them")]
    OtherInterface(String),
    /// No source address towards there.
    #[error("no source address on {0}")]
    NoSource(String),
    /// Not answered yet.
    #[error("neighbour {0} is being resolved")]
    Incomplete(IpAddr),
    /// Does not answer.
    #[error("neighbour {0} does not answer")]
    NeighbourFailed(IpAddr),
    /// The kernel does not take it into its table: the table is full (`net.ipv4.neigh.default.gc_thresh3`, the same for
    /// ipv6), or this process lacks NET_ADMIN.
    #[error("neighbour {0} is refused by the kernel: {1}")]
    Refused(IpAddr, String),
    /// The kernel could not be asked.
    #[error("netlink: {0}")]
    Netlink(String),
}

/// An interface that may carry the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Name.
    pub name: String,
    /// Index.
    pub ifindex: u32,
    /// Administratively up, and with carrier.
    pub up: bool,
    /// Largest IP packet.
    pub mtu: u32,
    /// Ethernet address.
    pub mac: Option<[u8; 6]>,
    /// A VLAN, and the index of the interface that it is on.
    pub vlan: Option<(u32, Vlan)>,
}

impl Link {
    /// Index of the interface that frames leave by.
    pub fn egress(&self) -> u32 {
        self.vlan.map_or(self.ifindex, |(below, _)| below)
    }
}

/// Of all links those that traffic may leave by: the ones `named`, and VLANs on them.
pub fn usable(named: &[String], all: Vec<Link>) -> BTreeMap<u32, Link> {
    let ours: BTreeSet<u32> = all
        .iter()
        .filter(|link| named.contains(&link.name))
        .map(|link| link.ifindex)
        .collect();
    all.into_iter()
        .filter(|link| ours.contains(&link.ifindex) || ours.contains(&link.egress()))
        .map(|link| {
            // What is an interface of ours by name is one, VLAN or not.
            let vlan = link.vlan.filter(|_| !ours.contains(&link.ifindex));
            (link.ifindex, Link { vlan, ..link })
        })
        .collect()
}

/// The kernel's answer to "how is this address reached".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Outgoing interface.
    pub ifindex: u32,
    /// Router on the way; none where the address is on the link.
    pub gateway: Option<IpAddr>,
    /// Preferred source.
    pub source: Option<IpAddr>,
    /// MTU of the route or of the path, where one is known.
    pub mtu: Option<u32>,
}

impl Route {
    /// Whose MAC a packet to `target` carries.
    pub fn neighbour_of(&self, target: IpAddr) -> IpAddr {
        self.gateway.unwrap_or(target)
    }
}

impl NextHop {
    /// Puts the answers together. `neighbour` is the entry of the route's gateway on the link.
    pub fn resolve(
        target: IpAddr,
        link: &Link,
        route: &Route,
        neighbour: Option<&Neighbour>,
    ) -> Result<NextHop, Unresolved> {
        if !link.up {
            return Err(Unresolved::LinkDown(link.name.clone()));
        }
        let source_mac = link
            .mac
            .ok_or_else(|| Unresolved::NoMac(link.name.clone()))?;
        let source = route
            .source
            .ok_or_else(|| Unresolved::NoSource(link.name.clone()))?;
        let gateway = route.neighbour_of(target);
        let destination_mac = match neighbour.map(|neighbour| neighbour.resolution) {
            Some(Resolution::Known(mac)) => mac,
            Some(Resolution::Failed) => return Err(Unresolved::NeighbourFailed(gateway)),
            Some(Resolution::Incomplete) | None => return Err(Unresolved::Incomplete(gateway)),
        };
        Ok(NextHop {
            interface: link.name.clone(),
            ifindex: link.egress(),
            mtu: route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
            source,
            gateway,
            source_mac,
            destination_mac,
            vlan: link.vlan.map(|(_, vlan)| vlan),
            local: false,
        })
    }

    /// The way to an address of this node, for what has come in by `link`.
    pub fn own(target: IpAddr, link: &Link) -> Result<NextHop, Unresolved> {
        let mac = link
            .mac
            .ok_or_else(|| Unresolved::NoMac(link.name.clone()))?;
        Ok(NextHop {
            interface: link.name.clone(),
            ifindex: link.egress(),
            mtu: link.mtu,
            source: target,
            gateway: target,
            source_mac: mac,
            destination_mac: mac,
            vlan: None,
            local: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(ifindex: u32, name: &str, vlan: Option<(u32, u16)>) -> Link {
        let tag = |id| Vlan {
            ethertype: 0x8100,
            id,
        };
        Link {
            name: name.into(),
            ifindex,
            up: true,
            mtu: 1500,
            mac: None,
            vlan: vlan.map(|(below, id)| (below, tag(id))),
        }
    }

    #[test]
    fn links_that_traffic_may_leave_by() {
        let all = || {
            vec![
                link(1, "lo", None),
                link(2, "eth0", None),
                link(3, "eth1", None),
                link(4, "eth0.7", Some((2, 7))),
                link(5, "eth1.7", Some((3, 7))),
                link(6, "eth0.7.9", Some((4, 9))),
            ]
        };
        for (named, expected) in [
            (&["eth0"][..], &[(2, 2), (4, 2)][..]),
            (&["eth0", "eth1"], &[(2, 2), (3, 3), (4, 2), (5, 3)]),
            // Named itself, a VLAN is an interface without a tag of ours; what is on it is a VLAN.
            (&["eth0.7"], &[(4, 4), (6, 4)]),
            (&["eth2"], &[]),
        ] {
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            let usable = usable(&named, all());
            let found: Vec<_> = usable
                .values()
                .map(|link| (link.ifindex, link.egress()))
                .collect();
            assert_eq!(found, expected, "{named:?}");
        }
    }
}
