//! Local routes: prefixes all of whose addresses the host takes for its own.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use nix::errno::Errno;

use super::Error;
use super::kernel::Kernel;

/// Marks our routes in the kernel (`rtm_protocol`), so that the next process knows them as ours, and nobody's else are removed.
const OURS: RouteProtocol = RouteProtocol::Other(170);

/// Adds the route; `false` where there is one already, whoever added it.
pub(super) async fn add(kernel: &Kernel, ifindex: u32, net: IpNet) -> Result<bool, Error> {
    let request = kernel.handle().route().add(route(ifindex, net));
    let added = request.execute().await;
    Error::changed(added, Errno::EEXIST, || {
        format!("add the local route {net}")
    })
}

/// Removes it; `false` where there is none of ours.
pub(super) async fn remove(kernel: &Kernel, ifindex: u32, net: IpNet) -> Result<bool, Error> {
    let request = kernel.handle().route().del(route(ifindex, net));
    let removed = request.execute().await;
    Error::changed(removed, Errno::ESRCH, || {
        format!("remove the local route {net}")
    })
}

/// Ours by this interface.
pub(super) async fn ours(kernel: &Kernel, ifindex: u32) -> Result<BTreeSet<IpNet>, Error> {
    let mut found = BTreeSet::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        let mut answers = Box::pin(kernel.handle().route().get(question).execute());
        while let Some(message) = answers
            .try_next()
            .await
            .map_err(|error| Error::from_rtnetlink("local routes", error))?
        {
            let by = RouteAttribute::Oif(ifindex);
            if message.header.protocol == OURS && message.attributes.contains(&by) {
                found.extend(destination(&message));
            }
        }
    }
    Ok(found)
}

fn route(ifindex: u32, net: IpNet) -> RouteMessage {
    let (family, destination) = match net.network() {
        IpAddr::V4(v4) => (AddressFamily::Inet, RouteAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, RouteAddress::Inet6(v6)),
    };
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.destination_prefix_length = net.prefix_len();
    message.header.table = nix::libc::RT_TABLE_LOCAL;
    message.header.protocol = OURS;
    message.header.scope = RouteScope::Host;
    message.header.kind = RouteType::Local;
    message.attributes = vec![
        RouteAttribute::Destination(destination),
        RouteAttribute::Oif(ifindex),
    ];
    message
}

fn destination(message: &RouteMessage) -> Option<IpNet> {
    let mut destinations = message
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some((*v4).into()),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some((*v6).into()),
            _ => None,
        });
    let address: IpAddr = destinations.next()?;
    IpNet::new(address, message.header.destination_prefix_length).ok()
}
