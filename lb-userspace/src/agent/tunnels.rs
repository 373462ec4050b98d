//! What this node sends through tunnels, which is what routers may speak of. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::tunnel;

use super::ways::Ways;
use crate::model::{Encap, Pool, Settings};
use crate::path_mtu::{Carrier, Tunnel, Tunnels};

/// Every host takes packets of so many bytes (RFC 791), and no client of Linux sends smaller ones.
const IPV4_LEAST: u32 = 576;
/// Nobody sends smaller ones when told that a packet was too big, and every link of IPv6 takes them (RFC 8200, section 5).
const IPV6_LEAST: u32 = 1280;

/// The tunnels of every configured backend.
pub fn tunnels(settings: &Settings, ways: &Ways) -> Tunnels {
    let v4 = ways.source_v4.map(IpAddr::V4);
    let v6 = ways.source_v6.map(IpAddr::V6);
    let mut tunnels = Tunnels {
        sources: v4.into_iter().chain(v6).collect(),
        ..Tunnels::default()
    };
    let of_ipv6 = settings.services.iter().filter(|one| one.vip.is_ipv6());
    let with_ipv6: BTreeSet<_> = of_ipv6.filter_map(|one| one.pool.as_ref()).collect();
    for pool in settings.pools.values() {
        let carrier = match pool.encap {
            Encap::Gue => Carrier::Udp(tunnel::PORT),
            Encap::IpIp => Carrier::Ip,
            Encap::L2 => continue,
        };
        let least = floor(pool, with_ipv6.contains(&pool.name));
        for backend in &pool.backends {
            let to = tunnels.ends.entry(backend.address);
            let to = to.or_insert_with(|| Tunnel {
                carriers: BTreeSet::new(),
                floor: least,
            });
            to.carriers.insert(carrier);
            to.floor = to.floor.max(least);
        }
    }
    tunnels
}

/// Below so many bytes the pool's tunnel takes not even what nobody makes smaller.
fn floor(pool: &Pool, carries_v6: bool) -> u32 {
    let inner = if carries_v6 { IPV6_LEAST } else { IPV4_LEAST };
    let over_v6 = pool
        .backends
        .iter()
        .any(|backend| backend.address.is_ipv6());
    let link = if over_v6 { IPV6_LEAST } else { IPV4_LEAST };
    link.max(inner + pool.overhead())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::{address, settings};

    fn pool(name: &str, lines: &str, backend: &str, vip: &str) -> String {
        format!(
            "[[pool]]\nname = \"{name}\"\n{lines}\ncheck = {{ type = \"tcp\", port = 80 }}\n\
             [[pool.backend]]\naddress = \"{backend}\"\n\
             [[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nports = [80]\npool = \"{name}\"\n"
        )
    }

    #[test]
    fn what_fits_what_nobody_makes_smaller() {
        const PLAIN: &str = "mode = \"stateless\"";
        const IPIP: &str = "mode = \"stateless\"\nencap = \"ipip\"";
        const L2: &str = "mode = \"stateless\"\nencap = \"l2\"";
        const GUE: Carrier = Carrier::Udp(6080);
        let (v4, v6) = ("198.51.100.1", "2001:db8:100::1");
        for (about, lines, backend, vip, expected) in [
            ("GUE over IPv4", "", "10.1.0.1", v4, Some((GUE, 632))),
            ("with IPv6 in it", "", "10.1.0.1", v6, Some((GUE, 1336))),
            ("over IPv6", "", "fd00:1::1", v4, Some((GUE, 1280))),
            ("both IPv6", "", "fd00:1::1", v6, Some((GUE, 1404))),
            ("without hops", PLAIN, "10.1.0.1", v4, Some((GUE, 608))),
            ("IPIP", IPIP, "10.1.0.1", v4, Some((Carrier::Ip, 596))),
            ("SIT", IPIP, "10.1.0.1", v6, Some((Carrier::Ip, 1300))),
            ("no tunnel", L2, "10.1.0.1", v4, None),
        ] {
            let settings = settings(&pool("web", lines, backend, vip));
            let found = tunnels(&settings, &Ways::default());
            let expected = expected.map(|(carrier, floor)| Tunnel {
                carriers: [carrier].into(),
                floor,
            });
            assert_eq!(
                found.ends.get(&address(backend)),
                expected.as_ref(),
                "{about}"
            );
        }
    }

    #[test]
    fn a_backend_of_two_pools_has_the_tunnels_of_both() {
        let settings = settings(&format!(
            "{}{}",
            pool("a", "", "10.1.0.1", "198.51.100.1"),
            pool(
                "b",
                "mode = \"stateless\"\nencap = \"ipip\"",
                "10.1.0.1",
                "2001:db8:100::1"
            ),
        ));
        let ways = Ways {
            source_v4: Some([10, 0, 0, 11].into()),
            ..Ways::default()
        };
        let found = tunnels(&settings, &ways);
        assert_eq!(found.sources, [address("10.0.0.11")].into());
        let tunnel = &found.ends[&address("10.1.0.1")];
        assert_eq!(tunnel.carriers.len(), 2);
        assert_eq!(tunnel.floor, 1300);
    }
}
