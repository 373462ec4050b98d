//! How a packet to an address leaves this node, and why it cannot.

use std::net::IpAddr;

use super::table::{Neighbour, Resolution};
use crate::model::Vlan;

/// All the datapath needs to put a frame on the wire towards an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Outgoing interface.
    pub interface: String,
    /// Its index.
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
    #[error("is reached by {actual}, not by {wanted}: not supported in this version")]
    OtherInterface {
        /// Where the route leads.
        actual: String,
        /// Ours.
        wanted: String,
    },
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

/// The interface that carries the traffic.
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
            ifindex: link.ifindex,
            mtu: route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
            source,
            gateway,
            source_mac,
            destination_mac,
            vlan: None,
        })
    }
}
