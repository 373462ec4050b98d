//! What no safe library offers of a socket: TCP MD5 signatures, the least TTL, what waits to be acknowledged, the state of an interface.

#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::interface_name::InterfaceName;
use super::peer_name::PeerName;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct TcpMd5Sig {
    address: [u8; 128],
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    interface: i32,
    key: [u8; PASSWORD_MAX],
}

const _: () = assert!(size_of::<TcpMd5Sig>() == 216);

/// `prefix_len` counts (linux/tcp.h).
const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;

/// Octets of a TCP MD5 key (TCP_MD5SIG_MAXKEYLEN).
pub(super) const PASSWORD_MAX: usize = 80;

/// Signs segments to `peer` and drops unsigned ones from it (RFC 2385). On a listener it concerns connections from
/// `peer`, where the longest prefix wins (Linux 4.14); on a connected socket it changes the key in use. An empty `password` takes the
/// key back.
pub(super) fn set_md5_password(
    socket: BorrowedFd<'_>,
    peer: PeerName,
    password: &str,
) -> io::Result<()> {
    let password = password.as_bytes();
    if password.len() > PASSWORD_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (name, address, flags, prefix_len) = match peer {
        // Its name is no address.
        PeerName::Interface(_) => return Err(io::ErrorKind::InvalidInput.into()),
        PeerName::Address(address) => (libc::TCP_MD5SIG, address, 0, 0),
        // The kernel compares no link.
        PeerName::LinkLocal(address, _) => (libc::TCP_MD5SIG, address.into(), 0, 0),
        PeerName::Range(range) => (
            libc::TCP_MD5SIG_EXT,
            range.addr(),
            TCP_MD5SIG_FLAG_PREFIX,
            range.prefix_len(),
        ),
    };
    let mut option = TcpMd5Sig {
        address: sockaddr_storage(address),
        flags,
        prefix_len,
        key_len: password.len() as u16,
        interface: 0,
        key: [0; PASSWORD_MAX],
    };
    option.key[..password.len()].copy_from_slice(password);
    set(socket, libc::IPPROTO_TCP, name, &option)
}

/// Drops packets of the connection whose TTL (or hop limit) is below `ttl` (RFC 5082).
pub(super) fn set_min_ttl(socket: BorrowedFd<'_>, peer: IpAddr, ttl: u8) -> io::Result<()> {
    let (level, name) = match peer {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MINTTL),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT),
    };
    set(socket, level, name, &libc::c_int::from(ttl))
}

/// Octets of a TCP connection that the kernel has taken and the other side has not acknowledged.
pub(super) fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut octets: libc::c_int = 0;
    // SAFETY: the descriptor is open while borrowed, and SIOCOUTQ (TIOCOUTQ) writes one `int` to the place given, which outlives the
    // call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut octets) };
    if result == 0 {
        Ok(usize::try_from(octets).unwrap_or_default())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether an interface is up, with a carrier.
pub(super) fn is_running(socket: BorrowedFd<'_>, interface: InterfaceName) -> io::Result<bool> {
    let answer = interface_request(socket, interface, libc::SIOCGIFFLAGS as _)?;
    // SAFETY: every bit pattern is a `short`, and SIOCGIFFLAGS has written this member.
    let flags = libc::c_int::from(unsafe { answer.ifr_ifru.ifru_flags });
    let wanted = libc::IFF_UP | libc::IFF_RUNNING;
    Ok(flags & wanted == wanted)
}

/// The MAC of an interface; none: it has another kind of address.
pub(super) fn mac(socket: BorrowedFd<'_>, interface: InterfaceName) -> io::Result<Option<[u8; 6]>> {
    let answer = interface_request(socket, interface, libc::SIOCGIFHWADDR as _)?;
    // SAFETY: every bit pattern is a `sockaddr`, and SIOCGIFHWADDR has written this member.
    let address = unsafe { answer.ifr_ifru.ifru_hwaddr };
    let octets: [u8; 6] = std::array::from_fn(|at| address.sa_data[at] as u8);
    Ok((address.sa_family == libc::ARPHRD_ETHER).then_some(octets))
}

fn interface_request(
    socket: BorrowedFd<'_>,
    interface: InterfaceName,
    request: libc::Ioctl,
) -> io::Result<libc::ifreq> {
    // SAFETY: a `struct ifreq` of zeros is one.
    let mut message: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = interface.as_str().as_bytes();
    for (place, byte) in message.ifr_name.iter_mut().zip(name) {
        *place = *byte as libc::c_char;
    }
    // SAFETY: the descriptor is open while borrowed, and the requests of this file read and write one `struct ifreq`, which outlives
    // the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut message) };
    if result == 0 {
        Ok(message)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `struct sockaddr_in` or `struct sockaddr_in6`, padded; port 0.
fn sockaddr_storage(address: IpAddr) -> [u8; 128] {
    let mut storage = [0; 128];
    match address {
        IpAddr::V4(v4) => {
            storage[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            storage[4..8].copy_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            storage[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            storage[8..24].copy_from_slice(&v6.octets());
        }
    }
    storage
}

/// `T` must be what the kernel expects for the option.
fn set<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the descriptor is open while borrowed, and the kernel reads `size_of::<T>()` bytes from a reference to an
    // initialized `T`; it keeps no pointer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast::<libc::c_void>(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
