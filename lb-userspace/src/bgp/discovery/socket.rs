//! The interface: whether one can speak on it, and what is said and heard there.

use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt, sockopt as option,
};
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::message::{self, Invalid, Message};
use crate::bgp::interface_name::InterfaceName;
use crate::bgp::remote::Absence;
use crate::bgp::sockopt;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// What is longer is no router's: options that nobody needs here take less.
const MESSAGE_MAX: usize = 2048;

/// An interface that is up; another one, or another address of ours, is a new beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its index.
    pub index: u32,
    /// Our link-local address there: of our advertisements, and so of our sessions.
    pub source: Ipv6Addr,
}

impl Place {
    /// As it is now, or what it lacks.
    ///
    /// # Errors
    /// Neither can be said: there are no descriptors, say.
    pub fn find(interface: InterfaceName) -> io::Result<Result<Place, Absence>> {
        let index = match running(interface)? {
            Ok(index) => index,
            Err(absence) => return Ok(Err(absence)),
        };
        // The kernel says by which address it would speak to all nodes; nothing is sent.
        const DISCARD: u16 = 9;
        let socket = UdpSocket::bind("[::]:0")?;
        let chosen = socket.connect(SocketAddrV6::new(ALL_NODES, DISCARD, 0, index));
        let chosen = chosen.and_then(|()| socket.local_addr());
        Ok(match chosen {
            Ok(SocketAddr::V6(v6)) if v6.ip().is_unicast_link_local() => Ok(Place {
                index,
                source: *v6.ip(),
            }),
            Ok(SocketAddr::V4(_) | SocketAddr::V6(_)) | Err(_) => Err(Absence::NoAddress),
        })
    }

    /// Whether this is an address of ours there: a router on this host advertises itself to us as well.
    pub fn is_ours(&self, address: Ipv6Addr) -> bool {
        UdpSocket::bind(SocketAddrV6::new(address, 0, 0, self.index)).is_ok()
    }

    /// Whether all of it still holds; other addresses may have come beside ours.
    ///
    /// # Errors
    /// As those of [`Place::find`].
    pub fn stands(&self, interface: InterfaceName) -> io::Result<bool> {
        if running(interface)? != Ok(self.index) {
            return Ok(false);
        }
        match UdpSocket::bind(SocketAddrV6::new(self.source, 0, 0, self.index)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The index of an interface that is up, with a carrier.
fn running(interface: InterfaceName) -> io::Result<Result<u32, Absence>> {
    let no_interface = |error: &io::Error| error.raw_os_error() == Some(libc::ENODEV);
    let index = nix::net::if_::if_nametoindex(interface.as_str()).map_err(io::Error::from);
    let socket = UdpSocket::bind("[::]:0")?;
    let running = || sockopt::is_running(socket.as_fd(), interface);
    match index.and_then(|index| Ok((index, running()?))) {
        Ok((index, true)) => Ok(Ok(index)),
        Ok((_, false)) => Ok(Err(Absence::Down)),
        Err(error) if no_interface(&error) => Ok(Err(Absence::NoInterface)),
        Err(error) => Err(error),
    }
}

/// Whether this process may speak of routers at all: it takes CAP_NET_RAW.
pub fn try_to_open() -> io::Result<()> {
    raw().map(drop)
}

/// A socket on one interface.
pub struct Ear {
    socket: AsyncFd<Socket>,
    place: Place,
    mac: Option<[u8; 6]>,
    buffer: Vec<u8>,
}

impl Ear {
    /// Opens it.
    pub fn open(interface: InterfaceName, place: Place) -> io::Result<Ear> {
        let socket = raw()?;
        socket.attach_filter(&both_types())?;
        socket.bind_device(Some(interface.as_str().as_bytes()))?;
        setsockopt(&socket, option::Ipv6RecvHopLimit, &true)?;
        socket.set_multicast_if_v6(place.index)?;
        socket.set_multicast_hops_v6(255)?;
        socket.set_multicast_loop_v6(false)?;
        socket.join_multicast_v6(&ALL_ROUTERS, place.index)?;
        let ours = SocketAddrV6::new(place.source, 0, 0, place.index);
        socket.bind(&ours.into())?;
        let mac = sockopt::mac(socket.as_fd(), interface)?;
        Ok(Ear {
            socket: watched(socket)?,
            place,
            mac,
            buffer: vec![0; MESSAGE_MAX],
        })
    }

    /// Says it to all whom it concerns.
    pub fn say(&self, message: Message) -> io::Result<()> {
        let to = match message {
            Message::Advertisement => ALL_NODES,
            Message::Solicitation => ALL_ROUTERS,
        };
        let to: SockAddr = SocketAddrV6::new(to, 0, 0, self.place.index).into();
        let octets = message.encode(self.mac);
        self.socket.get_ref().send_to(&octets, &to).map(drop)
    }

    /// The next that somebody says, and who. Cancel-safe: it is read whole or not at all.
    pub async fn next(&mut self) -> io::Result<(Ipv6Addr, Result<Message, Invalid>)> {
        let buffer = &mut self.buffer;
        let receive = |socket: &Socket| receive(socket, buffer);
        let (source, hop_limit, length) = self.socket.async_io(Interest::READABLE, receive).await?;
        let heard = message::decode(source, hop_limit, &self.buffer[..length]);
        Ok((source, heard))
    }
}

fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<(Ipv6Addr, u8, usize)> {
    let mut control = nix::cmsg_space!(libc::c_int);
    let mut buffers = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrIn6>(
        socket.as_raw_fd(),
        &mut buffers,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let mut controls = message.cmsgs()?;
    let hop_limit = controls.find_map(|control| match control {
        ControlMessageOwned::Ipv6HopLimit(limit) => u8::try_from(limit).ok(),
        _ => None,
    });
    let source = message.address.map(|address| address.ip());
    let (source, hop_limit) = source.zip(hop_limit).ok_or(io::ErrorKind::InvalidData)?;
    Ok((source, hop_limit, message.bytes))
}

fn raw() -> io::Result<Socket> {
    Socket::new(
        Domain::IPV6,
        Type::RAW.nonblocking().cloexec(),
        Some(Protocol::ICMPV6),
    )
}

/// Lets the two types through, from the ICMPv6 header on.
fn both_types() -> [SockFilter; 5] {
    let [first, second] = [Message::Solicitation, Message::Advertisement].map(Message::kind);
    let jump = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    [
        SockFilter::new((libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, 0, 0, 0),
        SockFilter::new(jump, 1, 0, first.into()),
        SockFilter::new(jump, 0, 1, second.into()),
        SockFilter::new(answer, 0, 0, u32::MAX),
        SockFilter::new(answer, 0, 0, 0),
    ]
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for types that may close their descriptor early; a `Socket` does not"
)]
fn watched(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}
