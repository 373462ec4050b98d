//! TCP and UDP sockets of this network namespace by local address (NETLINK_SOCK_DIAG, `sock_diag(7)`).
//!
//! ```text
//! request:  nlmsghdr (16) | inet_diag_req_v2 (56)
//! answer:   nlmsghdr (16) | inet_diag_msg (72) | attributes
//! ```
//!
//! An IPv4 connection may belong to an IPv6 socket (a dual-stack listener's): both families are always asked for, and
//! v4-mapped addresses are told as IPv4.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::sys::protocols::NETLINK_SOCK_DIAG;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use zerocopy::byteorder::big_endian::U16 as U16Be;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Error;
use crate::model::{Ports, Protocol};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const INET_DIAG_SKV6ONLY: u16 = 11;
/// State numbers of the kernel's `tcp_states.h`.
const ESTABLISHED: u32 = 1;
/// Of UDP sockets: bound, and not connected.
const CLOSE: u32 = 7;
const LISTEN: u32 = 10;

/// Connected sockets of a protocol by local address and port.
pub async fn established_by_local(
    protocol: Protocol,
) -> Result<BTreeMap<(IpAddr, u16), u64>, Error> {
    let mut counts = BTreeMap::new();
    dump(protocol, ESTABLISHED, |socket| {
        *counts.entry((socket.address, socket.port)).or_default() += 1
    })
    .await?;
    Ok(counts)
}

/// The sockets of this network namespace that take new flows of a protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    sockets: Vec<Socket>,
}

impl Listeners {
    /// Asks the kernel.
    pub async fn read(protocol: Protocol) -> Result<Self, Error> {
        let state = match protocol {
            Protocol::Tcp => LISTEN,
            Protocol::Udp => CLOSE,
        };
        let mut sockets = Vec::new();
        dump(protocol, state, |socket| sockets.push(socket)).await?;
        Ok(Listeners { sockets })
    }

    /// Whether a flow to one of `addresses` and one of `ports` finds a listener: one bound to such an address, or to any.
    pub fn cover(&self, addresses: IpNet, ports: Ports) -> bool {
        self.sockets
            .iter()
            .any(|socket| ports.contains(socket.port) && socket.takes(addresses))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    port: u16,
    /// IPV6_V6ONLY; only told of listeners.
    v6_only: bool,
}

impl Socket {
    fn takes(&self, addresses: IpNet) -> bool {
        let v6 = matches!(addresses, IpNet::V6(_));
        match self.address {
            own if addresses.contains(&own) => true,
            IpAddr::V6(own) if own.is_unspecified() => v6 || !self.v6_only,
            own => own.is_unspecified() && own.is_ipv6() == v6,
        }
    }
}

/// `struct nlmsghdr`, host byte order.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    length: u32,
    message_type: u16,
    flags: u16,
    sequence: u32,
    port_id: u32,
}

/// `struct inet_diag_sockid`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SocketId {
    source_port: U16Be,
    destination_port: U16Be,
    source: [u8; 16],
    destination: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

/// `struct inet_diag_req_v2`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Question {
    family: u8,
    protocol: u8,
    extensions: u8,
    padding: u8,
    states: u32,
    id: SocketId,
}

/// `struct inet_diag_msg`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Answer {
    family: u8,
    state: u8,
    timer: u8,
    retransmissions: u8,
    id: SocketId,
    expires: u32,
    receive_queue: u32,
    send_queue: u32,
    uid: u32,
    inode: u32,
}

/// `struct nlattr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct AttributeHeader {
    length: u16,
    attribute_type: u16,
}

const _: () = assert!(size_of::<Header>() == 16);
const _: () = assert!(size_of::<Question>() == 56);
const _: () = assert!(size_of::<Answer>() == 72);

/// Calls `each` for every socket in the state.
async fn dump(protocol: Protocol, state: u32, mut each: impl FnMut(Socket)) -> Result<(), Error> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    for family in [libc::AF_INET, libc::AF_INET6] {
        let socket = TokioSocket::new(NETLINK_SOCK_DIAG).map_err(Error::Socket)?;
        let question = question(family as u8, protocol, state);
        let kernel = SocketAddr::new(0, 0);
        socket.send_to(&question, &kernel).await.map_err(refused)?;
        let mut more = true;
        while more {
            buffer.clear();
            socket.recv(&mut buffer).await.map_err(refused)?;
            more = parse(&buffer, &mut each)?;
        }
    }
    Ok(())
}

fn refused(source: io::Error) -> Error {
    Error::Refused {
        what: "list of sockets".into(),
        source,
    }
}

fn question(family: u8, protocol: Protocol, state: u32) -> Vec<u8> {
    let any = SocketId {
        source_port: 0.into(),
        destination_port: 0.into(),
        source: [0; 16],
        destination: [0; 16],
        interface: 0,
        // INET_DIAG_NOCOOKIE.
        cookie: [u32::MAX; 2],
    };
    let question = Question {
        family,
        protocol: protocol.number(),
        extensions: 0,
        padding: 0,
        states: 1 << state,
        id: any,
    };
    let header = Header {
        length: (size_of::<Header>() + size_of::<Question>()) as u32,
        message_type: SOCK_DIAG_BY_FAMILY,
        flags: NLM_F_REQUEST | NLM_F_DUMP,
        sequence: 1,
        port_id: 0,
    };
    [header.as_bytes(), question.as_bytes()].concat()
}

/// Reads one datagram; whether more follow.
fn parse(mut datagram: &[u8], each: &mut impl FnMut(Socket)) -> Result<bool, Error> {
    let garbled = || refused(io::Error::from(io::ErrorKind::InvalidData));
    while !datagram.is_empty() {
        let (header, _) = Header::read_from_prefix(datagram).map_err(|_| garbled())?;
        let length = header.length as usize;
        let body = datagram
            .get(size_of::<Header>()..length)
            .ok_or_else(garbled)?;
        match header.message_type {
            NLMSG_DONE => return Ok(false),
            NLMSG_ERROR => {
                let (errno, _) = i32::read_from_prefix(body).map_err(|_| garbled())?;
                return Err(refused(io::Error::from_raw_os_error(errno.wrapping_neg())));
            }
            SOCK_DIAG_BY_FAMILY => each(socket(body).ok_or_else(garbled)?),
            _ => {}
        }
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(true)
}

fn socket(body: &[u8]) -> Option<Socket> {
    let (answer, attributes) = Answer::read_from_prefix(body).ok()?;
    let address = if i32::from(answer.family) == libc::AF_INET {
        let [a, b, c, d, ..] = answer.id.source;
        IpAddr::from([a, b, c, d])
    } else {
        Ipv6Addr::from(answer.id.source).to_canonical()
    };
    Some(Socket {
        address,
        port: answer.id.source_port.get(),
        v6_only: v6_only(attributes),
    })
}

fn v6_only(mut attributes: &[u8]) -> bool {
    while let Ok((header, _)) = AttributeHeader::read_from_prefix(attributes) {
        let length = usize::from(header.length);
        let value = attributes.get(size_of::<AttributeHeader>()..length);
        if header.attribute_type == INET_DIAG_SKV6ONLY {
            return value.is_some_and(|value| value.first() == Some(&1));
        }
        attributes = attributes
            .get(length.next_multiple_of(4).max(4)..)
            .unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

    use super::*;
    use crate::netlink::Unresolved;
    use crate::netlink::kernel::Kernel;
    use crate::netlink::testing::{in_namespace, ip as ip_command};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn listen(address: &str) -> TcpListener {
        TcpListener::bind(address).await.unwrap()
    }

    /// The kernel makes the local route of a new IPv6 address a little later than the address.
    async fn until_local(address: IpAddr) {
        let kernel = Kernel::connect().unwrap();
        let wait = async {
            while kernel.route(address).await.unwrap() != Err(Unresolved::Local) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), wait)
            .await
            .expect("the route comes");
    }

    fn listen_v6_only(address: &str) -> TcpListener {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
        socket.set_only_v6(true).unwrap();
        socket
            .bind(&address.parse::<SocketAddr>().unwrap().into())
            .unwrap();
        socket.set_nonblocking(true).unwrap();
        TcpSocket::from_std_stream(socket.into())
            .listen(16)
            .unwrap()
    }

    #[test]
    fn a_listener_covers_its_address_or_all_of_its_families() {
        in_namespace(|| async {
            ip_command("addr add 192.0.2.10/32 dev lo");
            ip_command("addr add 2001:db8::10/128 dev lo nodad");
            let _any_v4 = listen("0.0.0.0:80").await;
            let _dual_stack = listen("[::]:81").await;
            let _only_v6 = listen_v6_only("[::]:82");
            let _vip_v4 = listen("192.0.2.10:83").await;
            let _vip_v6 = listen("[2001:db8::10]:84").await;
            let _elsewhere = listen("127.0.0.1:85").await;
            let listeners = Listeners::read(Protocol::Tcp).await.unwrap();
            for (port, v4, v6) in [
                (80, true, false),
                (81, true, true),
                (82, false, true),
                (83, true, false),
                (84, false, true),
                (85, false, false),
                (86, false, false),
            ] {
                assert_eq!(
                    listeners.cover(ip("192.0.2.10").into(), Ports::one(port)),
                    v4,
                    "IPv4, port {port}"
                );
                assert_eq!(
                    listeners.cover(ip("2001:db8::10").into(), Ports::one(port)),
                    v6,
                    "IPv6, port {port}"
                );
            }
            let net: IpNet = "192.0.2.0/24".parse().unwrap();
            for (port, covered) in [(80, true), (82, false), (83, true), (85, false)] {
                let found = listeners.cover(net, Ports::one(port));
                assert_eq!(found, covered, "some address of a prefix, port {port}");
            }
            for (first, last, covered) in [(83, 90, true), (70, 83, true), (84, 90, false)] {
                let ports = Ports::range(first, last).unwrap();
                assert_eq!(
                    listeners.cover(ip("192.0.2.10").into(), ports),
                    covered,
                    "{ports}"
                );
            }
        });
    }

    #[test]
    fn udp_sockets_take_new_flows_or_have_one() {
        in_namespace(|| async {
            ip_command("addr add 192.0.2.10/32 dev lo");
            let bound = UdpSocket::bind("0.0.0.0:53").await.unwrap();
            let connected = UdpSocket::bind("192.0.2.10:5353").await.unwrap();
            connected.connect("192.0.2.10:53").await.unwrap();
            let listeners = Listeners::read(Protocol::Udp).await.unwrap();
            assert!(listeners.cover(ip("192.0.2.10").into(), Ports::one(53)));
            assert!(!listeners.cover(ip("192.0.2.10").into(), Ports::one(5353)));
            let counts = established_by_local(Protocol::Udp).await.unwrap();
            assert_eq!(counts, [((ip("192.0.2.10"), 5353), 1)].into());
            drop(bound);
            let listeners = Listeners::read(Protocol::Udp).await.unwrap();
            assert!(!listeners.cover(ip("192.0.2.10").into(), Ports::one(53)));
        });
    }

    #[test]
    fn counts_established_connections_of_both_families_and_of_dual_stack_listeners() {
        in_namespace(|| async {
            ip_command("addr add 192.0.2.10/32 dev lo");
            ip_command("addr add 2001:db8::10/128 dev lo nodad");
            until_local(ip("2001:db8::10")).await;
            let listeners = [listen("[::]:80").await, listen("192.0.2.10:81").await];
            let mut connections = Vec::new();
            for (address, listener) in [
                ("192.0.2.10:80", 0),
                ("192.0.2.10:80", 0),
                ("[2001:db8::10]:80", 0),
                ("192.0.2.10:81", 1),
            ] {
                let client = TcpStream::connect(address).await.unwrap();
                connections.push((client, listeners[listener].accept().await.unwrap()));
            }
            let counts = established_by_local(Protocol::Tcp).await.unwrap();
            assert_eq!(counts[&(ip("192.0.2.10"), 80)], 2);
            assert_eq!(counts[&(ip("2001:db8::10"), 80)], 1);
            assert_eq!(counts[&(ip("192.0.2.10"), 81)], 1);
            assert_eq!(
                counts.values().sum::<u64>(),
                8,
                "four pairs, and no listener"
            );

            drop(connections);
            let counts = established_by_local(Protocol::Tcp).await.unwrap();
            assert!(counts.is_empty(), "closed ones do not count: {counts:?}");
        });
    }

    #[test]
    fn more_sockets_than_fit_into_one_datagram() {
        in_namespace(|| async {
            let listener = listen("127.0.0.1:80").await;
            let mut connections = Vec::new();
            for _ in 0..300 {
                let client = TcpStream::connect("127.0.0.1:80").await.unwrap();
                connections.push((client, listener.accept().await.unwrap()));
            }
            let counts = established_by_local(Protocol::Tcp).await.unwrap();
            assert_eq!(counts[&(ip("127.0.0.1"), 80)], 300);
        });
    }

    #[test]
    fn garbled_answers_are_errors_and_never_panic() {
        let mut sockets = 0;
        let mut read = |datagram: &[u8]| parse(datagram, &mut |_| sockets += 1);
        let header = |length: u32, message_type: u16| {
            Header {
                length,
                message_type,
                flags: 0,
                sequence: 1,
                port_id: 0,
            }
            .as_bytes()
            .to_vec()
        };
        assert!(read(&[]).unwrap(), "an empty datagram says nothing");
        assert!(!read(&header(16, NLMSG_DONE)).unwrap());
        assert!(read(&header(16, NLMSG_DONE)[..8]).is_err(), "half a header");
        for length in [0, 15, 17, u32::MAX] {
            assert!(
                read(&header(length, NLMSG_DONE)).is_err(),
                "length {length}"
            );
        }
        assert!(read(&header(16, SOCK_DIAG_BY_FAMILY)).is_err(), "no body");
        let error = [header(20, NLMSG_ERROR), (-2i32).to_ne_bytes().to_vec()].concat();
        assert_eq!(read(&error).unwrap_err().errno(), Some(libc::ENOENT));
        assert_eq!(sockets, 0);
    }

    proptest! {
        /// Whatever a datagram holds, reading it ends.
        #[test]
        fn any_datagram_is_read_to_an_end(
            body in proptest::collection::vec(any::<u8>(), 0..300),
            cut in 0usize..320,
        ) {
            let length = (size_of::<Header>() + body.len()) as u32;
            let header = Header { length, message_type: SOCK_DIAG_BY_FAMILY, flags: 0, sequence: 1, port_id: 0 };
            let mut datagram = [header.as_bytes(), &body].concat();
            datagram.truncate(cut);
            let mut sockets = 0;
            let read = parse(&datagram, &mut |_| sockets += 1);
            prop_assert!(sockets <= 1);
            prop_assert_eq!(read.is_ok(), datagram.is_empty() || sockets == 1);
        }
    }
}
