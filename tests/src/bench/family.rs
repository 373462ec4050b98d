//! Addresses of the cases, one set per family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use ipnet::IpNet;

/// Port of every service.
pub const PORT: u16 = 80;

/// Addresses of one family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// In the names of cases.
    pub name: &'static str,
    vip: &'static str,
    client: &'static str,
    foreign: &'static str,
    underlay: &'static str,
}

/// Both families.
pub const FAMILIES: [Family; 2] = [
    Family {
        name: "ipv4",
        vip: "198.51.100.1",
        client: "10.0.0.1",
        foreign: "203.0.113.1",
        underlay: "192.0.2.0/24",
    },
    Family {
        name: "ipv6",
        vip: "2001:db8:100::1",
        client: "2001:db8:c::1",
        foreign: "2001:db8:f::1",
        underlay: "2001:db8:b::/64",
    },
];

impl Family {
    /// The service.
    pub fn vip(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.vip.parse()?, PORT))
    }

    /// A port of the client.
    pub fn client(&self, port: u16) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.client.parse()?, port))
    }

    /// A server that is none of our business.
    pub fn foreign(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.foreign.parse()?, PORT))
    }

    /// Network of the node and the backends.
    pub fn underlay(&self) -> Result<IpNet> {
        Ok(self.underlay.parse()?)
    }

    /// A backend, from 1.
    pub fn backend(&self, number: u8) -> Result<IpAddr> {
        Ok(match self.underlay()?.network() {
            IpAddr::V4(network) => {
                Ipv4Addr::from_bits(network.to_bits() + u32::from(number)).into()
            }
            IpAddr::V6(network) => {
                Ipv6Addr::from_bits(network.to_bits() + u128::from(number)).into()
            }
        })
    }

    /// The LB node.
    pub fn node(&self) -> Result<IpAddr> {
        self.backend(200)
    }
}
