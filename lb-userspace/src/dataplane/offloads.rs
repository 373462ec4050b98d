//! Offloads that generic XDP cannot live with: packets that the kernel has joined are too long for the tunnel.

use std::io;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::DataplaneError;

const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// `linux/ethtool.h`.
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETH_FLAG_LRO: u32 = 1 << 15;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq`, its part that ethtool reads.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    value: *mut Value,
    rest: [u64; 2],
}

/// An error where the interface joins packets before generic XDP sees them.
pub(super) fn check(interface: &str) -> Result<(), DataplaneError> {
    let on = |command, flag| match get(interface, command) {
        Ok(data) => data & flag != 0,
        // A driver without the question has no such offload.
        Err(_) => false,
    };
    let gro = on(ETHTOOL_GGRO, u32::MAX);
    let lro = on(ETHTOOL_GFLAGS, ETH_FLAG_LRO);
    if gro || lro {
        return Err(DataplaneError::Joins {
            interface: interface.to_owned(),
            what: match (gro, lro) {
                (true, true) => "gro off lro off",
                (true, false) => "gro off",
                (false, _) => "lro off",
            },
        });
    }
    Ok(())
}

fn get(interface: &str, command: u32) -> io::Result<u32> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let mut value = Value { command, data: 0 };
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        value: &raw mut value,
        rest: [0; 2],
    };
    for (to, from) in request
        .name
        .iter_mut()
        .zip(interface.bytes().take(libc::IFNAMSIZ - 1))
    {
        *to = from;
    }
    // SAFETY: the request and the value that it points to live through the call and have the shapes that it expects.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value.data)
}
