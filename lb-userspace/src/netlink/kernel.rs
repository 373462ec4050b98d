//! The requests, one per question.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::net::IpAddr;

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, VlanProtocol,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
    NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use nix::errno::Errno;
use tokio::task::JoinHandle;

use super::table::Gateway;
use super::{Error, Link, Neighbour, Resolution, Route, Unresolved, Upkeep};
use crate::model::Vlan;

/// A route netlink socket and the task that serves it.
#[derive(Debug)]
pub(super) struct Kernel {
    handle: rtnetlink::Handle,
    connection: JoinHandle<()>,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Kernel {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn connect() -> Result<Self, Error> {
        let (connection, handle, _unasked) = rtnetlink::new_connection().map_err(Error::Socket)?;
        Ok(Kernel {
            handle,
            connection: tokio::spawn(connection),
        })
    }

    pub(super) fn handle(&self) -> &rtnetlink::Handle {
        &self.handle
    }

    /// The interface; none where there is no such.
    pub(super) async fn link(&self, name: &str) -> Result<Option<Link>, Error> {
        let mut answers = Box::pin(self.handle.link().get().match_name(name).execute());
        match answers.next().await {
            Some(Ok(message)) => Ok(link(&message)),
            Some(Err(error)) => match Error::from_rtnetlink(format!("interface {name}"), error) {
                error if errno(&error) == Some(Errno::ENODEV) => Ok(None),
                error => Err(error),
            },
            None => Err(Error::NoAnswer {
                what: format!("interface {name}"),
            }),
        }
    }

    /// All links.
    pub(super) async fn links(&self) -> Result<Vec<Link>, Error> {
        let mut links = Vec::new();
        let mut answers = Box::pin(self.handle.link().get().execute());
        while let Some(message) = answers
            .try_next()
            .await
            .map_err(|error| Error::from_rtnetlink("links", error))?
        {
            links.extend(link(&message));
        }
        Ok(links)
    }

    /// How `target` is reached, or why not; an error only where the kernel gave no answer.
    pub(super) async fn route(&self, target: IpAddr) -> Result<Result<Route, Unresolved>, Error> {
        let mut answers = Box::pin(self.handle.route().get(route_question(target)).execute());
        match answers.next().await {
            Some(Ok(message)) => Ok(route(&message)),
            Some(Err(error)) => match Error::from_rtnetlink(format!("route to {target}"), error) {
                // What unreachable, prohibit and blackhole routes and the lack of any route lead to.
                error if error.errno().is_some() => match errno(&error) {
                    Some(
                        Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL,
                    ) => Ok(Err(Unresolved::NoRoute)),
                    Some(_) | None => Ok(Err(Unresolved::Netlink(error.to_string()))),
                },
                error => Err(error),
            },
            None => Err(Error::NoAnswer {
                what: format!("route to {target}"),
            }),
        }
    }

    /// Interfaces that a default route leads out of; an error where the kernel does not say which.
    pub(super) async fn default_routes(&self) -> Result<BTreeSet<u32>, Error> {
        let mut interfaces = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut question = RouteMessage::default();
            question.header.address_family = family;
            let mut answers = Box::pin(self.handle.route().get(question).execute());
            while let Some(message) = answers
                .try_next()
                .await
                .map_err(|error| Error::from_rtnetlink("routes", error))?
            {
                interfaces.extend(default_by(&message)?);
            }
        }
        Ok(interfaces)
    }

    /// The neighbour tables.
    pub(super) async fn neighbours(&self) -> Result<BTreeMap<Gateway, Neighbour>, Error> {
        let mut neighbours = BTreeMap::new();
        let mut answers = Box::pin(self.handle.neighbours().get().execute());
        while let Some(message) = answers
            .try_next()
            .await
            .map_err(|error| Error::from_rtnetlink("neighbours", error))?
        {
            if let Some((address, neighbour)) = neighbour(&message) {
                neighbours.insert((message.header.ifindex, address), neighbour);
            }
        }
        Ok(neighbours)
    }

    /// Asks the kernel to resolve a neighbour and to keep it so. Kernels before 5.16 ignore the second half: there
    /// the request is a poke that has to be repeated.
    pub(super) async fn keep_resolved(&self, gateway: Gateway) -> Result<(), Error> {
        self.touch(gateway, true).await
    }

    /// Asks the kernel to resolve a neighbour if it has to, and lets it age.
    pub(super) async fn let_age(&self, gateway: Gateway) -> Result<(), Error> {
        self.touch(gateway, false).await
    }

    async fn touch(&self, (ifindex, address): Gateway, managed: bool) -> Result<(), Error> {
        let mut request = self
            .handle
            .neighbours()
            .add(ifindex, address)
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace();
        if managed {
            let flags = NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed);
            request.message_mut().attributes.push(flags);
        }
        request
            .execute()
            .await
            .map_err(|error| Error::from_rtnetlink(format!("neighbour {address}"), error))
    }
}

fn errno(error: &Error) -> Option<Errno> {
    error.errno().map(Errno::from_raw)
}

/// What a message says of a link; none where it has no name.
fn link(message: &LinkMessage) -> Option<Link> {
    let header = &message.header;
    let mut link = Link {
        name: String::new(),
        ifindex: header.index,
        up: header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        mtu: 0,
        mac: None,
        vlan: None,
    };
    let (mut below, mut tag) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) => link.mac = mac(bytes),
            LinkAttribute::Link(ifindex) => below = Some(*ifindex),
            LinkAttribute::LinkInfo(infos) => tag = infos.iter().find_map(vlan),
            _ => {}
        }
    }
    link.vlan = below.zip(tag);
    (!link.name.is_empty()).then_some(link)
}

fn vlan(info: &LinkInfo) -> Option<Vlan> {
    let LinkInfo::Data(InfoData::Vlan(attributes)) = info else {
        return None;
    };
    let mut vlan = Vlan {
        ethertype: VlanProtocol::Ieee8021Q.into(),
        id: 0,
    };
    for attribute in attributes {
        match attribute {
            InfoVlan::Id(id) => vlan.id = *id,
            InfoVlan::Protocol(protocol) => vlan.ethertype = (*protocol).into(),
            _ => {}
        }
    }
    Some(vlan)
}

fn mac(bytes: &[u8]) -> Option<[u8; 6]> {
    bytes.try_into().ok()
}

fn route_question(target: IpAddr) -> RouteMessage {
    let mut question = RouteMessage::default();
    (
        question.header.address_family,
        question.header.destination_prefix_length,
    ) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    question
        .attributes
        .push(RouteAttribute::Destination(target.into()));
    question
}

fn route(message: &RouteMessage) -> Result<Route, Unresolved> {
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Err(Unresolved::Local),
        RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => {
            return Err(Unresolved::NotUnicast);
        }
        _ => return Err(Unresolved::NoRoute),
    }
    let mut route = Route {
        ifindex: 0,
        gateway: None,
        source: None,
        mtu: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(ifindex) => route.ifindex = *ifindex,
            RouteAttribute::Gateway(address) => route.gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => route.gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => {
                route.gateway = Some((*address).into())
            }
            // Unspecified while an address is tentative.
            RouteAttribute::PrefSource(address) => {
                route.source = ip(address).filter(|source| !source.is_unspecified());
            }
            RouteAttribute::Metrics(metrics) => route.mtu = mtu(metrics),
            _ => {}
        }
    }
    Ok(route)
}

/// The interfaces of a default route; none of any other.
fn default_by(message: &RouteMessage) -> Result<Vec<u32>, Error> {
    let header = &message.header;
    // Two halves are a default route in all but name, and so is what of IPv6 has been given out (2000::/3).
    let longest = match header.address_family {
        AddressFamily::Inet6 => 3,
        _ => 1,
    };
    if header.destination_prefix_length > longest || header.kind != RouteType::Unicast {
        return Ok(Vec::new());
    }
    let attributes = message.attributes.iter();
    let found: Vec<u32> = attributes
        .flat_map(|attribute| match attribute {
            RouteAttribute::Oif(ifindex) => vec![*ifindex],
            RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
            _ => Vec::new(),
        })
        .collect();
    match found.is_empty() {
        true => Err(Error::HiddenDefault),
        false => Ok(found),
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    })
}

/// Address and state of a neighbour message; none for what is no IP neighbour.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(IpAddr, Neighbour)> {
    let (mut address, mut link_layer_address, mut managed) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some(IpAddr::V4(*v4))
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some(IpAddr::V6(*v6))
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => link_layer_address = mac(bytes),
            NeighbourAttribute::ExtFlags(flags) => {
                managed = flags.contains(NeighbourExtFlags::Managed)
            }
            _ => {}
        }
    }
    let state = message.header.state;
    let resolution = match (state, link_layer_address) {
        (NeighbourState::Failed, _) => Resolution::Failed,
        (NeighbourState::Incomplete | NeighbourState::None | NeighbourState::Other(_), _)
        | (_, None) => Resolution::Incomplete,
        (_, Some(mac)) => Resolution::Known(mac),
    };
    let upkeep = match state {
        NeighbourState::Permanent | NeighbourState::Noarp => Upkeep::Static,
        _ if managed => Upkeep::Managed,
        _ => Upkeep::None,
    };
    Some((address?, Neighbour { resolution, upkeep }))
}

/// Name of an interface for a message; its number where it has vanished.
pub(crate) fn interface_name(ifindex: u32) -> String {
    let name = nix::net::if_::if_indextoname(ifindex)
        .ok()
        .map(CString::into_string);
    name.and_then(Result::ok)
        .unwrap_or_else(|| format!("interface {ifindex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_is_told_by_its_link_and_tag() {
        let mut message = LinkMessage::default();
        message.header.index = 9;
        message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        let tag = vec![
            InfoVlan::Id(7),
            InfoVlan::Protocol(VlanProtocol::Ieee8021Ad),
        ];
        message.attributes = vec![
            LinkAttribute::IfName("eth0.7".into()),
            LinkAttribute::Link(2),
            LinkAttribute::Mtu(1400),
            LinkAttribute::LinkInfo(vec![LinkInfo::Data(InfoData::Vlan(tag))]),
        ];
        let found = link(&message).expect("a name");
        let vlan = Vlan {
            ethertype: 0x88a8,
            id: 7,
        };
        assert_eq!(
            (found.up, found.mtu, found.vlan),
            (true, 1400, Some((2, vlan)))
        );
        message.attributes.remove(0);
        assert_eq!(link(&message), None, "without a name");
    }
}
