//! What the kernel says unasked.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::kernel::neighbour;
use super::{Error, Neighbour};

/// Links, addresses, routes, rules: rare, and each may change anything.
const TOPOLOGY: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// A message is at most 32 KiB since Linux 4.9.
const DATAGRAM_MAX: usize = 32 * 1024;

/// One thing that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A neighbour entry; none: it is gone.
    Neighbour {
        ifindex: u32,
        address: IpAddr,
        neighbour: Option<Neighbour>,
    },
    /// Anything else that next hops depend on, or something unreadable: ask for everything again.
    Topology,
    /// Messages were lost: ask for everything again.
    Overrun,
}

/// A socket that listens.
pub(super) struct Events {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl Events {
    /// Subscribes in the network namespace of the calling thread.
    pub(super) fn subscribe() -> Result<Self, Error> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE).map_err(Error::Socket)?;
        let groups = TOPOLOGY
            .iter()
            .chain(&[MulticastGroup::Neigh])
            .fold(0, |mask, group| mask | mask_of(*group));
        socket
            .socket_mut()
            .bind(&SocketAddr::new(0, groups))
            .map_err(Error::Socket)?;
        // Next hop objects have a group whose number is too large for the mask.
        socket
            .socket_mut()
            .add_membership(MulticastGroup::Nexthop as u32)
            .map_err(Error::Socket)?;
        Ok(Events {
            socket,
            buffer: Vec::with_capacity(DATAGRAM_MAX),
        })
    }

    /// Waits for the next datagram. Cancel-safe: a datagram is taken whole or not at all.
    pub(super) async fn next(&mut self) -> Result<Vec<Event>, Error> {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer).await {
            Ok(()) => Ok(parse(&self.buffer)),
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                Ok(vec![Event::Overrun])
            }
            Err(error) => Err(Error::Socket(error)),
        }
    }
}

fn mask_of(group: MulticastGroup) -> u32 {
    1 << (group as u32 - 1)
}

fn parse(mut datagram: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while !datagram.is_empty() {
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram) else {
            events.push(Event::Topology);
            return events;
        };
        let aligned = (message.header.length as usize).next_multiple_of(4).max(4);
        datagram = datagram.get(aligned..).unwrap_or_default();
        events.extend(event(message.payload));
    }
    events
}

fn event(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<Event> {
    let NetlinkPayload::InnerMessage(message) = payload else {
        return Some(Event::Topology);
    };
    let (message, gone) = match message {
        RouteNetlinkMessage::NewNeighbour(message) => (message, false),
        RouteNetlinkMessage::DelNeighbour(message) => (message, true),
        _ => return Some(Event::Topology),
    };
    // Bridge forwarding entries come by this group as well, and have no address.
    let (address, state) = neighbour(&message)?;
    Some(Event::Neighbour {
        ifindex: message.header.ifindex,
        address,
        neighbour: (!gone).then_some(state),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::netlink::testing::{Peer, in_namespace, ip as ip_command};
    use crate::netlink::{Resolution, Upkeep};

    async fn next_of(events: &mut Events, what: impl Fn(&Event) -> bool) -> Event {
        let search = async {
            loop {
                if let Some(event) = events.next().await.unwrap().into_iter().find(&what) {
                    return event;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), search)
            .await
            .expect("such an event comes")
    }

    #[test]
    fn neighbours_come_with_their_state_and_the_rest_as_topology() {
        in_namespace(|| async {
            let _peer = Peer::connect();
            let mut events = Events::subscribe().unwrap();
            ip_command("neigh add 10.0.0.50 dev eth0 lladdr 02:00:00:00:00:50 nud permanent");
            let about = |event: &Event| matches!(event, Event::Neighbour { address, .. } if *address == IpAddr::from([10, 0, 0, 50]));
            let Event::Neighbour {
                neighbour: Some(neighbour),
                ..
            } = next_of(&mut events, about).await
            else {
                panic!("it was added")
            };
            let mac = [2, 0, 0, 0, 0, 0x50];
            assert_eq!(
                neighbour,
                Neighbour {
                    resolution: Resolution::Known(mac),
                    upkeep: Upkeep::Static
                }
            );
            ip_command("neigh del 10.0.0.50 dev eth0");
            let gone = |event: &Event| {
                about(event)
                    && matches!(
                        event,
                        Event::Neighbour {
                            neighbour: None,
                            ..
                        }
                    )
            };
            next_of(&mut events, gone).await;
            for change in [
                "route add 10.1.0.0/24 via 10.0.0.1",
                "nexthop add id 1 via 10.0.0.1 dev eth0",
                "rule add pref 5 table 5",
            ] {
                ip_command(change);
                next_of(&mut events, |event| *event == Event::Topology).await;
            }
        });
    }

    #[test]
    fn lost_messages_are_told() {
        in_namespace(|| async {
            let _peer = Peer::connect();
            let mut events = Events::subscribe().unwrap();
            events.socket.socket_ref().set_rx_buf_sz(1024i32).unwrap();
            for last in 1..60 {
                ip_command(&format!("route add 10.1.{last}.0/24 via 10.0.0.1"));
            }
            next_of(&mut events, |event| *event == Event::Overrun).await;
        });
    }

    #[test]
    fn what_cannot_be_read_asks_for_everything() {
        assert_eq!(parse(&[]), []);
        assert_eq!(parse(&[1, 2, 3]), [Event::Topology]);
        assert_eq!(parse(&[0; 16]), [Event::Topology]);
        assert_eq!(parse(&[0xff; 64]), [Event::Topology]);
    }
}
