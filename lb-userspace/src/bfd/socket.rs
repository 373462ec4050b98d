//! UDP as BFD wants it (RFC 5881 sections 4 and 5, RFC 5883 sections 2 and 5).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::task::{Context, Poll};

use nix::net::if_::{if_indextoname, if_nametoindex};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;

use super::message::{Ends, Hops};

/// RFC 5881.
const PORT_SINGLE_HOP: u16 = 3784;
/// RFC 5883.
const PORT_MULTIHOP: u16 = 4784;

/// Source ports that RFC 5881 section 4 allows.
const SOURCE_PORT_MIN: u16 = 49152;
const SOURCE_PORTS: u16 = u16::MAX - SOURCE_PORT_MIN;
const SOURCE_PORT_TRIES: u16 = 64;

const TTL: u32 = 255;

/// Precedence "network control" (CS6), which queues on the way give room to.
const TOS: u32 = 0xc0;

/// Longer than any packet that counts; the rest is cut off.
const PAYLOAD_MAX: usize = 256;

/// Which packets a socket receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub ipv6: bool,
    pub multihop: bool,
}

impl Kind {
    /// Of the packets of a session.
    pub fn of(ends: &Ends, hops: Hops) -> Kind {
        Kind {
            ipv6: ends.peer.is_ipv6(),
            multihop: hops.is_multi(),
        }
    }

    pub fn port(self) -> u16 {
        match self.multihop {
            true => PORT_MULTIHOP,
            false => PORT_SINGLE_HOP,
        }
    }
}

/// What all sessions of a kind receive with, since peers send to one port.
#[derive(Debug)]
pub(super) struct Receiver {
    socket: tokio::net::UdpSocket,
}

/// A packet as it came.
#[derive(Debug)]
pub(super) struct Received {
    pub from: IpAddr,
    /// Of a link-local sender.
    pub interface: Option<String>,
    pub ttl: u8,
    payload: [u8; PAYLOAD_MAX],
    length: usize,
}

impl Received {
    pub fn payload(&self) -> &[u8] {
        &self.payload[..self.length]
    }
}

impl Receiver {
    /// Binds it.
    pub fn bind(kind: Kind) -> io::Result<Receiver> {
        let address = unspecified(kind.ipv6);
        let socket = new(kind.ipv6)?;
        if kind.ipv6 {
            setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
        }
        socket.bind(&SocketAddr::new(address, kind.port()).into())?;
        let socket = tokio::net::UdpSocket::from_std(socket.into())?;
        Ok(Receiver { socket })
    }

    /// Whether there may be a packet.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_recv_ready(cx).map(drop)
    }

    /// The next packet that is there.
    ///
    /// # Errors
    /// `WouldBlock`: there is none. Others are of one packet.
    pub fn receive(&self) -> io::Result<Received> {
        self.socket
            .try_io(Interest::READABLE, || receive(&self.socket))
    }
}

fn receive(socket: &tokio::net::UdpSocket) -> io::Result<Received> {
    let mut payload = [0; PAYLOAD_MAX];
    let mut control = nix::cmsg_space!(libc::c_int);
    let mut buffers = [IoSliceMut::new(&mut payload)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut buffers,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let ttl = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => Some(ttl),
        _ => None,
    });
    let from = message.address.as_ref().and_then(address);
    let length = message.bytes;
    let known = from.zip(ttl.and_then(|ttl| u8::try_from(ttl).ok()));
    let ((from, interface), ttl) = known.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Received {
        from,
        interface,
        ttl,
        payload,
        length,
    })
}

/// With the interface, which the kernel says of link-local addresses alone.
fn address(storage: &SockaddrStorage) -> Option<(IpAddr, Option<String>)> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some((v4.ip().into(), None));
    }
    let v6 = storage.as_sockaddr_in6()?;
    let interface = match v6.scope_id() {
        0 => None,
        index => Some(if_indextoname(index).ok()?.into_string().ok()?),
    };
    Some((v6.ip().into(), interface))
}

/// What one session sends with: a source port of its own, which it keeps.
#[derive(Debug)]
pub(super) struct Sender {
    socket: UdpSocket,
    peer: SocketAddr,
}

impl Sender {
    /// Binds it to a free port that `seed` chooses.
    pub fn bind(ends: &Ends, hops: Hops, seed: u16) -> io::Result<Sender> {
        let kind = Kind::of(ends, hops);
        let interface = ends.interface.as_deref();
        let scope = interface.map_or(Ok(0), if_nametoindex)?;
        let local = ends.local.unwrap_or(unspecified(kind.ipv6));
        let peer = on_link(ends.peer, kind.port(), scope);
        let mut outcome = Err(io::ErrorKind::AddrInUse.into());
        for n in 0..SOURCE_PORT_TRIES {
            let port = SOURCE_PORT_MIN + seed.wrapping_add(n) % (SOURCE_PORTS + 1);
            outcome = bind(kind, on_link(local, port, scope));
            match &outcome {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                _ => break,
            }
        }
        Ok(Sender {
            socket: outcome?,
            peer,
        })
    }

    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.socket.send_to(packet, self.peer).map(drop)
    }
}

/// The address with the index of its interface, which is 0 where it needs none.
fn on_link(address: IpAddr, port: u16, scope: u32) -> SocketAddr {
    match address {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), port),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, scope).into(),
    }
}

fn bind(kind: Kind, address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = new(kind.ipv6)?;
    if kind.ipv6 {
        socket.set_unicast_hops_v6(TTL)?;
        socket.set_tclass_v6(TOS)?;
    } else {
        socket.set_ttl_v4(TTL)?;
        socket.set_tos_v4(TOS)?;
    }
    // Nothing is read from it.
    socket.set_recv_buffer_size(0)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn new(ipv6: bool) -> io::Result<Socket> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if ipv6 {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn unspecified(ipv6: bool) -> IpAddr {
    match ipv6 {
        true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        false => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}
