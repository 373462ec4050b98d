//! Where a peer is.

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv6Addr};

/// The other end of a peer's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its address.
    pub address: IpAddr,
    /// The address that it knows us by; none: any of ours.
    pub source: Option<Ipv6Addr>,
}

impl From<IpAddr> for Remote {
    fn from(address: IpAddr) -> Remote {
        Remote {
            address,
            source: None,
        }
    }
}

/// Why the address of a peer that is known by its interface is not known now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    /// The kernel has no such interface.
    #[error("its interface is not there")]
    NoInterface,
    /// Not up, or without a carrier.
    #[error("its interface is down")]
    Down,
    /// None of ours that can be used yet.
    #[error("its interface has no link-local address")]
    NoAddress,
    /// Nobody has advertised himself.
    #[error("no router has advertised itself on its interface")]
    Silent,
}
