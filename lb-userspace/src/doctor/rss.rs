//! By which fields a NIC spreads packets over its queues (ETHTOOL_GRXFH; nothing is set).

#![allow(unsafe_code, reason = "the ethtool ioctl has no safe wrapper here")]

use std::ffi::CString;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `linux/sockios.h`, `linux/ethtool.h`.
const SIOCETHTOOL: u64 = 0x8946;
const ETHTOOL_GRXFH: u32 = 0x29;
const UDP_V4_FLOW: u32 = 0x02;
const UDP_V6_FLOW: u32 = 0x06;

/// `struct ethtool_rxnfc` as far as it is used, and room for all of it (192 bytes).
#[repr(C)]
struct Request {
    command: u32,
    flow_type: u32,
    fields: u64,
    unused: [u64; 30],
}

/// The fields (RXH_* bits) for UDP over IPv4 or IPv6; none where the driver does not tell.
pub(super) fn udp_fields(interface: &str, v6: bool) -> Option<u64> {
    let name = CString::new(interface).ok()?;
    let name = name.as_bytes_with_nul();
    let mut request = Request {
        command: ETHTOOL_GRXFH,
        flow_type: if v6 { UDP_V6_FLOW } else { UDP_V4_FLOW },
        fields: 0,
        unused: [0; 30],
    };
    // SAFETY: `ifreq` is plain data, for which zeroes are a value.
    let mut message: libc::ifreq = unsafe { std::mem::zeroed() };
    let places = message.ifr_name.get_mut(..name.len())?;
    for (place, byte) in places.iter_mut().zip(name) {
        *place = byte.cast_signed();
    }
    message.ifr_ifru.ifru_data = (&raw mut request).cast();
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::empty(),
        None,
    )
    .ok()?;
    // SAFETY: both structures live through the call, and the one the message points to has room for all that the kernel writes.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut message) };
    (result == 0).then_some(request.fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_without_queues_or_without_existence_tells_nothing() {
        for name in [
            "lo",
            "no-such-if",
            "a-name-that-is-too-long-for-one",
            "nul\0",
        ] {
            assert_eq!(udp_fields(name, false), None, "{name}");
        }
    }
}
