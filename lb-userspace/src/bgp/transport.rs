//! TCP as BGP wants it.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::config::{PeerConfig, SpeakerConfig};
use super::error::SpeakerError;
use super::fsm::SEND_HOLD_MIN;
use super::interface_name::InterfaceName;
use super::peer_name::PeerName;
use super::remote::Remote;
use super::sockopt::{set_md5_password, set_min_ttl};

/// Connections that wait to be accepted: of every peer at once, and some of a flood, since a SYN that finds no room costs a peer a second.
const BACKLOG: i32 = 512;

/// Precedence "network control" (CS6), which queues on the way give room to.
const TOS: u32 = 0xc0;

/// Binds one listener with the passwords of all peers of its family; those whose address is still to be found follow with it.
pub(super) fn listen(
    address: SocketAddr,
    config: &SpeakerConfig,
) -> Result<TcpListener, SpeakerError> {
    let socket = bind(address).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => SpeakerError::ListenDenied { address },
        io::ErrorKind::AddrInUse => SpeakerError::ListenInUse { address },
        _ => SpeakerError::Listen { address, source },
    })?;
    for peer in config
        .peers
        .iter()
        .filter(|p| p.name.first_address().is_some())
        .filter(|p| p.name.is_ipv4() == address.is_ipv4())
    {
        set_password(socket.as_fd(), peer.name, peer).map_err(|source| SpeakerError::Password {
            peer: peer.name,
            source,
        })?;
    }
    TcpListener::from_std(socket.into()).map_err(|source| SpeakerError::Listen { address, source })
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    // A peer with TTL security must get even the SYN-ACK, which leaves before the peer is known here, with the full TTL.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_unicast_hops_v6(255)?;
        socket.set_tclass_v6(TOS)?;
    } else {
        socket.set_ttl_v4(255)?;
        socket.set_tos_v4(TOS)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Opens a connection to a peer; dropping the future gives it up.
pub(super) async fn dial(
    remote: Remote,
    peer: PeerConfig,
    hold_time: Duration,
) -> io::Result<TcpStream> {
    let Remote {
        address: remote,
        source,
    } = remote;
    let target = target(remote, peer.port, peer.name.interface())?;
    let socket = Socket::new(
        Domain::for_address(target),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    set_password(socket.as_fd(), remote.into(), &peer).map_err(no_md5)?;
    if remote.is_ipv6() {
        socket.set_tclass_v6(TOS)?;
    } else {
        socket.set_tos_v4(TOS)?;
    }
    set_ttl(&socket, remote, &peer)?;
    if let (Some(source), SocketAddr::V6(target)) = (source, target) {
        let ours = SocketAddrV6::new(source, 0, 0, target.scope_id());
        socket.bind(&ours.into())?;
    }
    let stream = TcpSocket::from_std_stream(socket.into())
        .connect(target)
        .await?;
    set_timeouts(&stream, hold_time)?;
    Ok(stream)
}

/// An interface may have another index than when the session before began.
fn target(remote: IpAddr, port: u16, interface: Option<InterfaceName>) -> io::Result<SocketAddr> {
    Ok(match (remote, interface) {
        (IpAddr::V6(address), Some(interface)) => {
            let index = nix::net::if_::if_nametoindex(interface.as_str())?;
            SocketAddrV6::new(address, port, 0, index).into()
        }
        (remote, _) => SocketAddr::new(remote, port),
    })
}

/// What a peer may be called that connects from here: of a link-local address, with the interface of its link.
pub(super) fn name_of(remote: SocketAddr) -> PeerName {
    let with_link = match remote {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
            let interface = nix::net::if_::if_indextoname(v6.scope_id()).ok();
            let interface = interface.and_then(|name| name.to_str().ok()?.parse().ok());
            interface.map(|interface| PeerName::LinkLocal(*v6.ip(), interface))
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => None,
    };
    with_link.unwrap_or(remote.ip().into())
}

/// Prepares a connection that a peer has opened.
pub(super) fn accepted(
    stream: &TcpStream,
    remote: IpAddr,
    peer: &PeerConfig,
    hold_time: Duration,
) -> io::Result<()> {
    if matches!(peer.name, PeerName::Interface(_)) {
        // It may be older than the password of the listener for the address.
        set_password(stream.as_fd(), remote.into(), peer)?;
    }
    if let Some(hops) = peer.ttl_security {
        set_min_ttl(stream.as_fd(), remote, min_ttl(hops))?;
    }
    set_timeouts(stream, hold_time)
}

/// Signs segments of a connection, or of those that a listener takes from `name`.
pub(super) fn set_password(
    socket: BorrowedFd<'_>,
    name: PeerName,
    peer: &PeerConfig,
) -> io::Result<()> {
    match &peer.password {
        Some(password) => set_md5_password(socket, name, password),
        None => Ok(()),
    }
}

/// The kernel's own words would not say what it lacks.
fn no_md5(error: io::Error) -> io::Error {
    let words = format!(
        "the kernel takes no TCP MD5 password ({error}): it needs CONFIG_TCP_MD5SIG, or the peer no password"
    );
    io::Error::new(error.kind(), words)
}

fn set_ttl(socket: &Socket, remote: IpAddr, peer: &PeerConfig) -> io::Result<()> {
    let Some(hops) = peer.ttl_security else {
        return Ok(());
    };
    match remote {
        IpAddr::V4(_) => socket.set_ttl_v4(255)?,
        IpAddr::V6(_) => socket.set_unicast_hops_v6(255)?,
    }
    set_min_ttl(socket.as_fd(), remote, min_ttl(hops))
}

/// A packet that comes with this TTL has crossed at most `hops - 1` routers.
fn min_ttl(hops: u8) -> u8 {
    255 - hops.saturating_sub(1)
}

/// Messages are written whole. A peer that takes nothing is the send hold timer's, which can say why: the kernel gives up later, and on
/// connections without timers.
fn set_timeouts(stream: &TcpStream, hold_time: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if !hold_time.is_zero() {
        socket2::SockRef::from(stream).set_tcp_user_timeout(Some(hold_time * 3 + SEND_HOLD_MIN))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_sends_255() {
        assert_eq!(min_ttl(1), 255);
        assert_eq!(min_ttl(2), 254);
        assert_eq!(min_ttl(254), 2);
    }
}
