//! Addresses and packets that the tests share.

use std::net::{IpAddr, SocketAddr};

use anylb::backend::image::{Endpoint, Wanted};
use lb_tests::packet::{ACK, Segment, Tunnel};

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address in a test")
}

pub fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address in a test")
}

/// One of the two families, for all tests that hold for both.
#[derive(Clone, Copy)]
pub struct Family {
    pub client: &'static str,
    pub vip: &'static str,
    pub lb: &'static str,
    pub hops: [&'static str; 4],
}

pub const FAMILIES: [Family; 2] = [
    Family {
        client: "192.0.2.77:40000",
        vip: "198.51.100.10:80",
        lb: "10.0.0.11",
        hops: ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"],
    },
    Family {
        client: "[2001:db8:77::77]:40000",
        vip: "[2001:db8:100::10]:80",
        lb: "fd00::11",
        hops: ["fd00:1::1", "fd00:1::2", "fd00:1::3", "fd00:1::4"],
    },
];

impl Family {
    pub fn client(&self) -> SocketAddr {
        at(self.client)
    }

    pub fn vip(&self) -> SocketAddr {
        at(self.vip)
    }

    pub fn hops(&self) -> [IpAddr; 4] {
        self.hops.map(ip)
    }

    /// From the LB node to the first hop.
    pub fn tunnel(&self) -> Tunnel {
        Tunnel::new(ip(self.lb), &self.hops())
    }

    /// A segment of the client.
    pub fn segment(&self, flags: u8) -> Segment {
        Segment::new(self.client(), self.vip(), flags)
    }

    /// Data of the client.
    pub fn data(&self) -> Segment {
        Segment {
            acknowledgment: 5001,
            payload: 100,
            ..self.segment(ACK)
        }
    }
}

/// The backend that is the first hop in both families.
pub fn wanted() -> Wanted {
    let prefix = |text: &str| text.parse().expect("a prefix in a test");
    Wanted {
        own: FAMILIES.iter().map(|family| ip(family.hops[0])).collect(),
        tunnel_port: 6080,
        trusted_lbs: vec![prefix("10.0.0.0/24"), prefix("fd00::/64")],
        trusted_backends: vec![prefix("10.1.0.0/24"), prefix("fd00:1::/64")],
        endpoints: FAMILIES
            .iter()
            .map(|family| Endpoint::tcp(family.vip()))
            .collect(),
        blind: Default::default(),
        mss: (1404, 1316),
        hertz: 250,
    }
}
