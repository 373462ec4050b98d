//! From configuration and host to what the datapath is to do. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use lb_common::tunnel;

use super::datapath::Entry;
use super::error::Error;
use super::host::Facts;
use super::image::{Endpoint, Wanted};
use crate::model::{BackendHook, BackendRole, Mss, Protocol, Service, Settings, UdpFlows, Vip};

/// IP and TCP headers without options.
const HEADERS_V4: u16 = 40;
const HEADERS_V6: u16 = 60;
/// No host takes less (RFC 9293, section 3.7.1).
const MSS_MIN: u16 = 536;

/// The part of a configuration that makes a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// The whole file.
    pub settings: Settings,
    /// Its `[backend]`.
    pub backend: BackendRole,
    /// The interface that encapsulated packets come in by.
    pub interface: String,
}

impl Role {
    /// Takes the role out of the file at `path`.
    pub fn of(settings: Settings, path: &Path) -> Result<Self, Error> {
        let backend = settings
            .backend
            .clone()
            .ok_or_else(|| Error::NoRole(path.into()))?;
        let interface = settings
            .node
            .interfaces
            .first()
            .cloned()
            .ok_or(Error::NoInterface)?;
        Ok(Self {
            settings,
            backend,
            interface,
        })
    }

    /// Whether the box is an LB node as well: its file has pools.
    pub fn is_both(&self) -> bool {
        !self.settings.pools.is_empty()
    }

    /// How packets come to the program that takes them out of the tunnel.
    pub fn entry(&self) -> Entry {
        match self.backend.hook {
            BackendHook::Xdp if self.is_both() => Entry::LbNode,
            BackendHook::Xdp => Entry::Interface(self.settings.node.xdp_mode),
            BackendHook::Tc => Entry::Tc,
        }
    }

    /// VIPs and ports.
    pub fn endpoints(&self) -> BTreeSet<Endpoint> {
        self.settings.services.iter().flat_map(endpoints).collect()
    }

    /// What `lo` must have.
    pub fn vip_addresses(&self) -> BTreeSet<IpNet> {
        let vips = self.settings.services.iter().map(|service| service.vip);
        vips.map(Vip::net).collect()
    }

    /// Whether a box with these addresses is to serve it: on an LB node, which has services of other boxes as well, its pool says so.
    pub fn serves(&self, service: &Service, own: &BTreeSet<IpAddr>) -> bool {
        let pool = service.pool.as_ref();
        let pool = pool.and_then(|name| self.settings.pools.get(name));
        pool.is_none_or(|pool| {
            let mut backends = pool.backends.iter();
            backends.any(|backend| own.contains(&backend.address))
        })
    }

    /// Those that packets may be passed on to, as far as the file names them: an LB node has pools. Of others the first packet
    /// tells.
    pub fn peers(&self) -> BTreeSet<IpAddr> {
        let pools = self.settings.pools.values();
        let backends = pools.flat_map(|pool| &pool.backends);
        backends.map(|backend| backend.address).collect()
    }

    /// Whether SYN-ACKs are changed at all.
    pub fn lowers_mss(&self) -> bool {
        self.backend.mss != Mss::Off
    }

    /// What the datapath is to do on a host with these `facts`, while `seen` are the services that have had a listener.
    pub fn wanted(
        &self,
        facts: &Facts,
        seen: &BTreeSet<Endpoint>,
        hertz: u32,
    ) -> Result<Wanted, Error> {
        let own = self.own(facts);
        if own.is_empty() {
            return Err(Error::NoAddress(self.interface.clone()));
        }
        let endpoints = self.endpoints();
        let itself = own.iter().copied().map(IpNet::from);
        let itself = itself.filter(|_| self.is_both());
        let trusted_lbs = self.backend.trusted_lbs.iter().copied();
        Ok(Wanted {
            tunnel_port: tunnel::PORT,
            trusted_lbs: trusted_lbs.chain(itself).collect(),
            trusted_backends: self.backend.trusted_backends.clone(),
            blind: endpoints
                .difference(seen)
                .filter(|endpoint| endpoint.has_sockets)
                .copied()
                .collect(),
            endpoints,
            mss: self.mss(&own, facts.mtu),
            own,
            hertz,
        })
    }

    /// Where tunnels end: what the file says, else every address of the interface that is no VIP. Of an LB node the file says
    /// where tunnels begin, and pools where they end.
    fn own(&self, facts: &Facts) -> BTreeSet<IpAddr> {
        let node = &self.settings.node;
        let said = [
            node.tunnel_source_v4.map(IpAddr::V4),
            node.tunnel_source_v6.map(IpAddr::V6),
        ];
        let vips: BTreeSet<Vip> = self.settings.services.iter().map(|s| s.vip).collect();
        let found = |v4: bool| {
            let family = move |address: &&IpAddr| address.is_ipv4() == v4;
            facts.addresses.iter().filter(family).copied()
        };
        let own = [true, false].into_iter().zip(said).flat_map(|(v4, said)| {
            let found = found(v4).filter(|_| said.is_none() || self.is_both());
            said.into_iter().chain(found).collect::<Vec<_>>()
        });
        own.filter(|address| !vips.contains(&(*address).into()))
            .collect()
    }

    /// Of a pool the LB nodes' file says over what it is reached, this one only what tunnels may come: the largest header of those.
    fn mss(&self, own: &BTreeSet<IpAddr>, mtu: u32) -> (u16, u16) {
        let comes_over = |v4: bool| {
            let mut trusted = self.backend.trusted_lbs.iter();
            trusted.any(|prefix| prefix.addr().is_ipv4() == v4)
                && own.iter().any(|own| own.is_ipv4() == v4)
        };
        let overhead = if comes_over(true) && !comes_over(false) {
            tunnel::OVERHEAD_V4
        } else {
            tunnel::OVERHEAD_V6
        };
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        let fits = |headers: u16| mtu.saturating_sub(overhead + headers).max(MSS_MIN);
        match self.backend.mss {
            Mss::Auto => (fits(HEADERS_V4), fits(HEADERS_V6)),
            Mss::Max(most) => (most, most),
            Mss::Off => (0, 0),
        }
    }

    /// What may be reloaded: everything but where the agent itself lives.
    pub fn same_place(&self, other: &Self) -> bool {
        let (a, b) = (&self.settings, &other.settings);
        self.interface == other.interface
            && self.entry() == other.entry()
            && a.node.runtime_dir == b.node.runtime_dir
            && a.node.pin_dir == b.node.pin_dir
            && a.metrics == b.metrics
    }
}

/// VIP and ports of one service.
pub fn endpoints(service: &Service) -> impl Iterator<Item = Endpoint> + '_ {
    let has_sockets = service.protocol == Protocol::Tcp || service.udp == UdpFlows::Connected;
    service.ports.iter().map(move |&ports| Endpoint {
        vip: service.vip,
        protocol: service.protocol,
        ports,
        has_sockets,
    })
}

/// Connected sockets by protocol, local address and port.
pub type ByLocal = BTreeMap<(Protocol, IpAddr, u16), u64>;

/// Connections per service.
pub fn connections(services: &[Service], by_local: &ByLocal) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<_, _> = services
        .iter()
        .map(|service| (service.name.clone(), 0))
        .collect();
    for (&(protocol, address, port), count) in by_local {
        if let Some(service) = Service::at(services, address, protocol, port) {
            *counts.entry(service.name.clone()).or_default() += count;
        }
    }
    counts
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config;

    /// A backend with services on 198.51.100.10 ports 80 and 443, and on 2001:db8:100::10 port 80.
    pub fn role(node: &str, mss: &str) -> Role {
        let text = format!(
            "version = 1\n[node]\nname = \"be1\"\ninterfaces = [\"eth0\"]\n{node}\n[backend]\ntrusted_lbs = [\"10.0.0.0/24\"]\n\
             trusted_backends = [\"10.1.0.0/24\"]\nmss = {mss}\n\
             [[service]]\nname = \"four\"\nvip = \"198.51.100.10\"\nprotocol = \"tcp\"\nports = [80, 443]\n\
             [[service]]\nname = \"six\"\nvip = \"2001:db8:100::10\"\nprotocol = \"tcp\"\nports = [80]\n"
        );
        let path = Path::new("backend.toml");
        let settings = config::parse(&text, path, &AnyHost)
            .unwrap_or_else(|errors| panic!("{}", errors.render(false)));
        Role::of(settings, path).unwrap()
    }

    struct AnyHost;

    impl config::Host for AnyHost {
        fn read(&self, path: &Path) -> std::io::Result<config::HostFile> {
            panic!("{}: nothing is read", path.display())
        }

        fn interfaces(&self) -> Vec<String> {
            vec!["eth0".to_owned()]
        }

        fn addresses(&self) -> Vec<IpAddr> {
            Vec::new()
        }

        fn system_roots(&self) -> Vec<Vec<u8>> {
            panic!("nothing is trusted")
        }
    }

    pub fn facts() -> Facts {
        let addresses = ["10.1.0.1", "10.1.0.9", "fd00:1::1", "198.51.100.10"];
        Facts {
            addresses: addresses.map(|address| address.parse().unwrap()).into(),
            mtu: 1500,
            rp_filter: 0,
        }
    }

    fn own(role: &Role) -> Vec<String> {
        let wanted = role.wanted(&facts(), &BTreeSet::new(), 250).unwrap();
        wanted.own.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn tunnels_end_at_the_interfaces_addresses_unless_told() {
        assert_eq!(
            own(&role("", "\"auto\"")),
            ["10.1.0.1", "10.1.0.9", "fd00:1::1"]
        );
        let told = role("tunnel_source_v4 = \"10.9.0.1\"", "\"auto\"");
        assert_eq!(own(&told), ["10.9.0.1", "fd00:1::1"]);
        let nothing = role("", "\"auto\"").wanted(&Facts::default(), &BTreeSet::new(), 250);
        assert!(matches!(nothing, Err(Error::NoAddress(name)) if name == "eth0"));
    }

    #[test]
    fn mss_by_mtu_and_file() {
        for (mss, mtu, expected) in [
            ("\"auto\"", 1500, (1404, 1384)),
            ("\"auto\"", 9000, (8904, 8884)),
            ("\"auto\"", 576, (536, 536)),
            ("\"auto\"", 65536, (65439, 65419)),
            ("1200", 1500, (1200, 1200)),
            ("\"off\"", 1500, (0, 0)),
        ] {
            let role = role("", mss);
            let facts = Facts { mtu, ..facts() };
            let wanted = role.wanted(&facts, &BTreeSet::new(), 250).unwrap();
            assert_eq!(wanted.mss, expected, "{mss} at {mtu}");
            assert_eq!(role.lowers_mss(), expected != (0, 0));
        }
    }

    #[test]
    fn mss_fits_the_largest_tunnel_that_may_come() {
        let (v4, v6) = ("10.0.0.0/24", "fd00::/64");
        for (what, trusted, own, expected) in [
            ("IPv4 alone", &[v4][..], &["10.1.0.1"][..], (1404, 1384)),
            ("IPv6 alone", &[v6], &["fd00:1::1"], (1336, 1316)),
            ("both", &[v4, v6], &["10.1.0.1", "fd00:1::1"], (1336, 1316)),
            (
                "IPv6 not trusted",
                &[v4],
                &["10.1.0.1", "fd00:1::1"],
                (1404, 1384),
            ),
            ("IPv6 not here", &[v4, v6], &["10.1.0.1"], (1404, 1384)),
        ] {
            let mut role = role("", "\"auto\"");
            role.backend.trusted_lbs = trusted.iter().map(|net| net.parse().unwrap()).collect();
            let facts = Facts {
                mtu: 1500,
                addresses: own.iter().map(|own| own.parse().unwrap()).collect(),
                ..facts()
            };
            let wanted = role.wanted(&facts, &BTreeSet::new(), 250).unwrap();
            assert_eq!(wanted.mss, expected, "{what}");
        }
    }

    #[test]
    fn services_without_a_listener_are_blind() {
        let role = role("", "\"auto\"");
        let seen = role.endpoints().into_iter().take(1).collect();
        let wanted = role.wanted(&facts(), &seen, 250).unwrap();
        assert_eq!((wanted.endpoints.len(), wanted.blind.len()), (3, 2));
        assert!(wanted.blind.is_disjoint(&seen));
    }

    #[test]
    fn connections_are_those_of_a_services_ports() {
        let at = |address: &str, port| (Protocol::Tcp, address.parse().unwrap(), port);
        let found = BTreeMap::from([
            (at("198.51.100.10", 80), 3),
            (at("198.51.100.10", 443), 4),
            (at("198.51.100.10", 22), 5),
            (at("10.1.0.1", 80), 6),
        ]);
        let by_service = connections(&role("", "\"auto\"").settings.services, &found);
        assert_eq!(
            by_service,
            BTreeMap::from([("four".into(), 7), ("six".into(), 0)])
        );
    }
}
