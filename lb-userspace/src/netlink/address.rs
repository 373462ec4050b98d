//! Addresses of interfaces, and which of ours faces a peer.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
    AddressScope,
};
use nix::errno::Errno;

use super::kernel::Kernel;
use super::{Error, Link, local_route};

/// Marks our addresses in the kernel (IFA_PROTO, Linux 5.18), so that the next process knows them as ours. Values
/// above 3 are free for use.
const OURS: AddressProtocol = AddressProtocol::Other(170);

/// Whether there is such an interface.
pub async fn interface_exists(name: &str) -> Result<bool, Error> {
    Ok(Kernel::connect()?.link(name).await?.is_some())
}

/// Index, MTU, MAC and state of an interface.
pub async fn interface(name: &str) -> Result<Link, Error> {
    find(&Kernel::connect()?, name).await
}

/// Largest IP packet of an interface.
pub async fn mtu(name: &str) -> Result<u32, Error> {
    Ok(interface(name).await?.mtu)
}

/// The addresses of an interface with their prefix lengths, in the kernel's order.
pub async fn interface_addresses(name: &str) -> Result<Vec<IpNet>, Error> {
    let kernel = Kernel::connect()?;
    let link = find(&kernel, name).await?;
    Ok(addresses(&kernel, link.ifindex)
        .await?
        .into_iter()
        .map(|address| address.net)
        .collect())
}

/// The address this node would use towards `peer`.
pub async fn local_address_for(peer: IpAddr) -> Result<IpAddr, Error> {
    route_source(&Kernel::connect()?, peer)
        .await
        .map(|(source, _)| source)
}

/// This node's end of the way to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facing {
    /// Index of the interface.
    pub ifindex: u32,
    /// The preferred source where the peer is IPv4, else the interface's first global address.
    pub v4: Option<Ipv4Addr>,
    /// The preferred source where the peer is IPv6 and that is global, else the interface's first global address.
    pub v6: Option<Ipv6Addr>,
}

/// Our addresses of both families on the interface that leads to `peer`: the NEXT_HOPs of a BGP session with it.
pub async fn facing(peer: IpAddr) -> Result<Facing, Error> {
    let kernel = Kernel::connect()?;
    let (source, ifindex) = route_source(&kernel, peer).await?;
    let global = global_addresses(&kernel, ifindex).await?;
    Ok(pick_facing(ifindex, source, &global))
}

/// Our first global addresses on an interface, those without a lifetime first, for a session that runs over link-local ones.
pub async fn on_interface(name: &str) -> Result<Facing, Error> {
    let kernel = Kernel::connect()?;
    let ifindex = find(&kernel, name).await?.ifindex;
    let global = global_addresses(&kernel, ifindex).await?;
    Ok(pick_facing(
        ifindex,
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        &global,
    ))
}

async fn global_addresses(kernel: &Kernel, ifindex: u32) -> Result<Vec<IpAddr>, Error> {
    let mut all = addresses(kernel, ifindex).await?;
    all.retain(|address| address.scope == AddressScope::Universe && address.usable);
    // What routers or DHCP have lent may end.
    all.sort_by_key(|address| !address.permanent);
    Ok(all.into_iter().map(|address| address.net.addr()).collect())
}

fn pick_facing(ifindex: u32, source: IpAddr, global: &[IpAddr]) -> Facing {
    let preferred_first = || {
        global
            .iter()
            .filter(|address| **address == source)
            .chain(global)
    };
    let v4 = match source {
        IpAddr::V4(source) => Some(source),
        IpAddr::V6(_) => preferred_first().find_map(|address| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        }),
    };
    let v6 = preferred_first().find_map(|address| match address {
        IpAddr::V6(v6) => Some(*v6),
        IpAddr::V4(_) => None,
    });
    Facing { ifindex, v4, v6 }
}

/// Adds an address, or a local route to all addresses of a prefix; `false` where it is there already, whoever added it.
pub async fn add_address(name: &str, address: IpNet) -> Result<bool, Error> {
    let kernel = Kernel::connect()?;
    let link = find(&kernel, name).await?;
    if is_prefix(address) {
        return local_route::add(&kernel, link.ifindex, address).await;
    }
    let mut request =
        kernel
            .handle()
            .address()
            .add(link.ifindex, address.addr(), address.prefix_len());
    let message = request.message_mut();
    message.attributes.push(AddressAttribute::Protocol(OURS));
    if address.addr().is_ipv6() {
        // Several nodes have the address on purpose.
        message.header.flags |= AddressHeaderFlags::Nodad;
    }
    let added = request.execute().await;
    Error::changed(added, Errno::EEXIST, || format!("add {address} to {name}"))
}

/// Removes an address or such a route; `false` where it is not there, nor the interface.
pub async fn remove_address(name: &str, address: IpNet) -> Result<bool, Error> {
    let kernel = Kernel::connect()?;
    let Some(link) = kernel.link(name).await? else {
        return Ok(false);
    };
    if is_prefix(address) {
        return local_route::remove(&kernel, link.ifindex, address).await;
    }
    let found = addresses(&kernel, link.ifindex)
        .await?
        .into_iter()
        .find(|found| found.net == address);
    let Some(found) = found else { return Ok(false) };
    let removed = kernel.handle().address().del(found.message).execute().await;
    Error::changed(removed, Errno::EADDRNOTAVAIL, || {
        format!("remove {address} from {name}")
    })
}

/// The addresses of an interface, and prefixes of them, that this agent answers for: it removes only what it, or an agent before it, added.
#[derive(Debug)]
pub struct OwnAddresses {
    interface: String,
    own: BTreeSet<IpNet>,
}

impl OwnAddresses {
    /// Finds those that an agent before has left (Linux 5.18; on older kernels single ones look like anybody's).
    pub async fn on(interface: impl Into<String>) -> Result<Self, Error> {
        let interface = interface.into();
        let kernel = Kernel::connect()?;
        let link = find(&kernel, &interface).await?;
        let own = addresses(&kernel, link.ifindex)
            .await?
            .into_iter()
            .filter(|found| found.ours)
            .map(|found| found.net);
        let routes = local_route::ours(&kernel, link.ifindex).await?;
        Ok(OwnAddresses {
            interface,
            own: own.chain(routes).collect(),
        })
    }

    /// What is answered for now.
    pub fn own(&self) -> &BTreeSet<IpNet> {
        &self.own
    }

    /// Makes the interface have `wanted`: adds what is missing, removes what is ours and not wanted. What somebody else
    /// added is left alone. Tries everything; returns the errors.
    pub async fn set(&mut self, wanted: &BTreeSet<IpNet>) -> Vec<Error> {
        let mut errors = Vec::new();
        for address in self.own.difference(wanted).copied().collect::<Vec<_>>() {
            match remove_address(&self.interface, address).await {
                Ok(_) => {
                    self.own.remove(&address);
                }
                Err(error) => errors.push(error),
            }
        }
        for address in wanted {
            match add_address(&self.interface, *address).await {
                Ok(true) => {
                    self.own.insert(*address);
                }
                Ok(false) => {}
                Err(error) => errors.push(error),
            }
        }
        errors
    }
}

struct Found {
    net: IpNet,
    scope: AddressScope,
    /// Neither tentative nor a duplicate.
    usable: bool,
    /// Without a lifetime.
    permanent: bool,
    ours: bool,
    message: AddressMessage,
}

/// Whether all its addresses are meant, not one with the length of its network.
fn is_prefix(address: IpNet) -> bool {
    address.prefix_len() < address.max_prefix_len()
}

async fn find(kernel: &Kernel, name: &str) -> Result<Link, Error> {
    kernel
        .link(name)
        .await?
        .ok_or_else(|| Error::NoInterface(name.to_owned()))
}

async fn addresses(kernel: &Kernel, ifindex: u32) -> Result<Vec<Found>, Error> {
    let request = kernel
        .handle()
        .address()
        .get()
        .set_link_index_filter(ifindex);
    let messages: Vec<AddressMessage> = request.execute().try_collect().await.map_err(|error| {
        Error::from_rtnetlink(format!("addresses of interface {ifindex}"), error)
    })?;
    Ok(messages.into_iter().filter_map(found).collect())
}

fn found(message: AddressMessage) -> Option<Found> {
    let (mut address, mut local, mut ours) = (None, None, false);
    let (mut usable, mut permanent) = (true, false);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Protocol(protocol) => ours = *protocol == OURS,
            AddressAttribute::Flags(flags) => {
                usable = !flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed);
                permanent = flags.contains(AddressFlags::Permanent);
            }
            _ => {}
        }
    }
    // On a point-to-point link IFA_ADDRESS is the peer's.
    let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
    Some(Found {
        net,
        scope: message.header.scope,
        usable,
        permanent,
        ours,
        message,
    })
}

async fn route_source(kernel: &Kernel, peer: IpAddr) -> Result<(IpAddr, u32), Error> {
    let route = kernel
        .route(peer)
        .await?
        .map_err(|_| Error::NoRoute(peer))?;
    Ok((route.source.ok_or(Error::NoRoute(peer))?, route.ifindex))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::testing::{Peer, in_namespace, ip as ip_command};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    async fn on_lo() -> BTreeSet<IpNet> {
        let all = interface_addresses("lo").await.unwrap().into_iter();
        all.filter(|net| !net.addr().is_loopback()).collect()
    }

    #[test]
    fn adds_and_removes_what_is_its_own_and_nothing_else() {
        in_namespace(|| async {
            ip_command("addr add 192.0.2.1/32 dev lo");
            let mut vips = OwnAddresses::on("lo").await.unwrap();
            let wanted = nets(&["192.0.2.1/32", "192.0.2.10/32", "2001:db8::10/128"]);
            assert!(vips.set(&wanted).await.is_empty());
            assert_eq!(on_lo().await, wanted);
            assert_eq!(*vips.own(), nets(&["192.0.2.10/32", "2001:db8::10/128"]));
            assert!(
                vips.set(&wanted).await.is_empty(),
                "twice is the same as once"
            );

            // As after a crash: the next process knows them by their mark.
            let mut vips = OwnAddresses::on("lo").await.unwrap();
            assert_eq!(*vips.own(), nets(&["192.0.2.10/32", "2001:db8::10/128"]));
            assert!(vips.set(&BTreeSet::new()).await.is_empty());
            assert_eq!(on_lo().await, nets(&["192.0.2.1/32"]));
        });
    }

    #[test]
    fn a_prefix_is_a_local_route() {
        in_namespace(|| async {
            ip_command("link set lo up");
            ip_command("route add local 198.51.100.0/24 dev lo");
            let wanted = nets(&["198.51.100.0/24", "203.0.113.0/24", "2001:db8:1::/64"]);
            let ours = nets(&["203.0.113.0/24", "2001:db8:1::/64"]);
            let mut vips = OwnAddresses::on("lo").await.unwrap();
            assert!(vips.set(&wanted).await.is_empty());
            assert_eq!(*vips.own(), ours);
            for (local, bind) in [
                ("203.0.113.77", "203.0.113.77:0"),
                ("2001:db8:1::77", "[::]:0"),
            ] {
                let socket = std::net::UdpSocket::bind(bind).unwrap();
                let port = socket.local_addr().unwrap().port();
                let sent = socket.send_to(b"hello", (ip(local), port)).unwrap();
                assert_eq!(socket.recv(&mut [0; 16]).unwrap(), sent, "{local} is here");
            }
            assert!(on_lo().await.is_empty());

            // As after a crash: the next process knows them by their mark.
            let mut vips = OwnAddresses::on("lo").await.unwrap();
            assert_eq!(*vips.own(), ours);
            assert!(vips.set(&BTreeSet::new()).await.is_empty());
            assert!(vips.own().is_empty());
            let kernel = Kernel::connect().unwrap();
            let lo = find(&kernel, "lo").await.unwrap().ifindex;
            assert!(local_route::ours(&kernel, lo).await.unwrap().is_empty());
            let others: IpNet = "198.51.100.0/24".parse().unwrap();
            assert!(!local_route::remove(&kernel, lo, others).await.unwrap());
            assert!(
                !local_route::add(&kernel, lo, others).await.unwrap(),
                "it is left"
            );
        });
    }

    #[test]
    fn what_is_lent_is_no_next_hop_where_there_is_another() {
        in_namespace(|| async {
            let _peer = Peer::connect();
            ip_command("addr add 2001:db8::9/64 dev eth0 nodad valid_lft 900 preferred_lft 900");
            let facing = on_interface("eth0").await.unwrap();
            assert_eq!(facing.v6.map(IpAddr::V6), Some(ip("2001:db8::11")));
            ip_command("addr del 2001:db8::11/64 dev eth0");
            let facing = on_interface("eth0").await.unwrap();
            assert_eq!(facing.v6.map(IpAddr::V6), Some(ip("2001:db8::9")));
        });
    }

    #[test]
    fn gone_already_and_no_such_interface() {
        in_namespace(|| async {
            let vip: IpNet = "192.0.2.10/32".parse().unwrap();
            assert!(!remove_address("lo", vip).await.unwrap());
            assert!(!remove_address("eth0", vip).await.unwrap());
            assert!(add_address("lo", vip).await.unwrap());
            assert!(
                !add_address("lo", vip).await.unwrap(),
                "already there is fine"
            );
            assert!(remove_address("lo", vip).await.unwrap());
            assert!(!interface_exists("eth0").await.unwrap());
            assert!(interface_exists("lo").await.unwrap());
            assert_eq!(mtu("lo").await.unwrap(), 65536);
            let error = add_address("eth0", vip).await.unwrap_err();
            assert_eq!(error.to_string(), "no interface eth0");
        });
    }

    #[test]
    fn which_of_ours_faces_a_peer() {
        in_namespace(|| async {
            let _peer = Peer::connect();
            assert_eq!(
                local_address_for(ip("10.0.0.1")).await.unwrap(),
                ip("10.0.0.11")
            );
            assert_eq!(
                local_address_for(ip("2001:db8::1")).await.unwrap(),
                ip("2001:db8::11")
            );
            let error = local_address_for(ip("198.51.100.1")).await.unwrap_err();
            assert_eq!(error.to_string(), "no route to 198.51.100.1");

            let by_v4 = facing(ip("10.0.0.1")).await.unwrap();
            assert_eq!(
                (by_v4.v4, by_v4.v6),
                ("10.0.0.11".parse().ok(), "2001:db8::11".parse().ok())
            );
            assert_eq!(facing(ip("2001:db8::1")).await.unwrap(), by_v4);
            ip_command("addr flush dev eth0 scope global");
            ip_command("addr add 10.0.0.11/24 dev eth0");
            assert_eq!(
                facing(ip("10.0.0.1")).await.unwrap().v6,
                None,
                "a link-local address is no NEXT_HOP"
            );
        });
    }

    #[test]
    fn the_preferred_source_comes_first() {
        let all = ["10.0.0.2", "2001:db8::2", "10.0.0.3", "2001:db8::3"].map(ip);
        for (source, v4, v6) in [
            ("10.0.0.3", "10.0.0.3", "2001:db8::2"),
            ("2001:db8::3", "10.0.0.2", "2001:db8::3"),
            ("fe80::1", "10.0.0.2", "2001:db8::2"),
        ] {
            let found = pick_facing(1, ip(source), &all);
            assert_eq!(
                (found.v4, found.v6),
                (v4.parse().ok(), v6.parse().ok()),
                "from {source}"
            );
        }
    }
}
