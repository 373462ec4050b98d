//! Who sends to whom.

use std::net::{IpAddr, SocketAddr};

use crate::dice::Dice;
use crate::ip;

/// A service that packets go to.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Where.
    pub at: SocketAddr,
    /// TCP or UDP.
    pub protocol: u8,
}

/// Addresses and ports of clients' packets.
#[derive(Clone, Debug)]
pub struct Cast {
    /// Where packets should go.
    pub services: Vec<Service>,
    /// Flows that mean something to sockets, beside those of strangers.
    pub flows: Vec<(SocketAddr, Service)>,
    /// Addresses that the tables know: VIPs, nodes, backends.
    pub known: Vec<IpAddr>,
    /// Lengths at which something changes.
    pub lengths: Vec<usize>,
    /// Sequence numbers that mean something to sockets.
    pub numbers: Vec<u32>,
}

/// Addresses of tunnels.
#[derive(Clone, Debug)]
pub struct Tunnels {
    /// Where tunnels end.
    pub ends: Vec<IpAddr>,
    /// Who may send.
    pub senders: Vec<IpAddr>,
    /// Other backends.
    pub hops: Vec<IpAddr>,
}

/// Addresses that are special, or nobody's.
const STRANGE: [&str; 24] = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.255",
    "128.0.0.1",
    "126.255.255.255",
    "169.254.1.1",
    "223.255.255.255",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "203.0.113.9",
    "::",
    "::1",
    "::2",
    "::ffff:0:0",
    "::127.0.0.1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "feff::1",
    "64:ff9b::192.0.2.7",
    "2001:db8:9::9",
];

impl Cast {
    /// A client and the service it is to reach.
    pub fn flow(&self, dice: &mut Dice<'_>) -> (SocketAddr, Service) {
        if !self.flows.is_empty() && dice.once_in(4) {
            return dice.pick(&self.flows);
        }
        let v4 = dice.below(2) == 0;
        (self.client(dice, v4), self.service(dice, v4))
    }

    /// A client of the family, with its port.
    pub fn client(&self, dice: &mut Dice<'_>, v4: bool) -> SocketAddr {
        if dice.once_in(12) {
            return SocketAddr::new(self.odd(dice, v4), 4000);
        }
        let (host, port) = (dice.byte(), 1024 + dice.below(60_000) as u16);
        let stranger = if v4 {
            IpAddr::from([192, 0, 2, host])
        } else {
            IpAddr::from([0x2001, 0xdb8, 0xc, 0, 0, 0, 0, u16::from(host)])
        };
        SocketAddr::new(stranger, port)
    }

    /// A service of the family, or a port without one.
    fn service(&self, dice: &mut Dice<'_>, v4: bool) -> Service {
        let of_family = |service: &&Service| service.at.is_ipv4() == v4;
        let all: Vec<Service> = self.services.iter().filter(of_family).copied().collect();
        let mut service = dice.pick(&all);
        if dice.once_in(20) {
            service.at.set_port(dice.word() as u16);
        }
        if dice.once_in(20) {
            service.at.set_ip(self.odd(dice, v4));
        }
        service
    }

    /// An address that is no client's: one that the tables know, or a special one. Few of the other family, in its IPv6 form.
    pub fn odd(&self, dice: &mut Dice<'_>, v4: bool) -> IpAddr {
        let strange = STRANGE.map(ip);
        let mut all: Vec<IpAddr> = self.known.iter().chain(&strange).copied().collect();
        if !v4 && dice.once_in(4) {
            let mapped = |address: &IpAddr| IpAddr::V6(crate::mapped(*address));
            all = all.iter().filter(|one| one.is_ipv4()).map(mapped).collect();
        }
        all.retain(|address| address.is_ipv4() == v4);
        dice.pick(&all)
    }
}
