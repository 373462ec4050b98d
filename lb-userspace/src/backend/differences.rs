//! What the kernel holds against what the image says, in words. Pure.

#![forbid(unsafe_code)]

use std::net::IpAddr;

use lb_common::abi::{VipBucket, VipEntry, kind};
use lb_common::backend_abi::{Config, Macs, Service, ServiceBucket};

use super::image::Image;
use crate::plan::differences::{
    Difference, Fields, difference, differs, entries, numbers, service_name, vip_fields, vip_name,
};

/// Everything in which `found` is not `wanted`.
pub fn differences(wanted: &Image, found: &Image) -> Vec<Difference> {
    let (vips, found_vips) = (vips(wanted), vips(found));
    let (services, found_services) = (services(wanted), services(found));
    let numbers = numbers(&vips);
    let name = |service: &Service| {
        service_name(
            service.key,
            (service.first_port, service.last_port),
            &numbers,
        )
    };
    let mut all = Vec::new();
    if wanted.config != found.config {
        let fields = config_fields(&wanted.config, &found.config);
        all.push(differs("the configuration", &fields));
    }
    all.extend(entries(&vips, &found_vips, vip_name, vip_fields));
    all.extend(entries(&services, &found_services, name, service_fields));
    // The same entries, where no packet finds them.
    if all.is_empty() && wanted != found {
        all.push(difference("an index", "has its entries in other places"));
    }
    all
}

/// The way to another backend.
pub fn next_hop(backend: IpAddr, wanted: Option<Macs>, found: Option<Macs>) -> Option<Difference> {
    let name = format!("next hop of {backend}");
    match (wanted, found) {
        (Some(wanted), Some(found)) if wanted != found => {
            Some(differs(&name, &[("MAC addresses", false)]))
        }
        (Some(_), None) => Some(difference(&name, "missing")),
        (None, Some(_)) => Some(difference(&name, "is there and should not be")),
        _ => None,
    }
}

/// VIPs of all buckets.
pub fn vips(image: &Image) -> Vec<VipEntry> {
    let buckets = image.vips.values();
    let all = buckets.flat_map(|VipBucket { entries }| entries);
    all.filter(|entry| entry.kind != kind::EMPTY)
        .copied()
        .collect()
}

/// Services of all buckets.
pub fn services(image: &Image) -> Vec<Service> {
    let buckets = image.services.values();
    let all = buckets.flat_map(|ServiceBucket { entries }| entries);
    all.filter(|entry| entry.key != 0).copied().collect()
}

fn service_fields(a: &Service, b: &Service) -> Fields {
    vec![
        ("VIP, protocol or port", a.key == b.key),
        ("whether a listener is seen", a.blind == b.blind),
        ("whether sockets are connected", a.connected == b.connected),
    ]
}

fn config_fields(a: &Config, b: &Config) -> Fields {
    vec![
        (
            "seeds",
            (a.vip_seed, a.service_seed) == (b.vip_seed, b.service_seed),
        ),
        (
            "own addresses",
            (a.own_v4, a.own_v6) == (b.own_v4, b.own_v6),
        ),
        (
            "trusted sources",
            (a.sources_v4, a.sources_v6) == (b.sources_v4, b.sources_v6),
        ),
        (
            "trusted backends",
            (a.backends_v4, a.backends_v6) == (b.backends_v4, b.backends_v6),
        ),
        (
            "rate of packets passed on",
            (a.budget_per_jiffy, a.budget_max) == (b.budget_per_jiffy, b.budget_max),
        ),
        ("lengths of VIPs", a.prefixes == b.prefixes),
        ("tunnel port", a.tunnel_port == b.tunnel_port),
        ("MSS", (a.mss_v4, a.mss_v6) == (b.mss_v4, b.mss_v6)),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::backend::image::{Endpoint, Wanted};

    fn image(ports: &[u16], blind: bool, mss: u16) -> Image {
        let at = |port| Endpoint::tcp(([198, 51, 100, 10], port).into());
        let endpoints: BTreeSet<Endpoint> = ports.iter().copied().map(at).collect();
        Image::new(&Wanted {
            blind: if blind {
                endpoints.clone()
            } else {
                BTreeSet::new()
            },
            endpoints,
            mss: (mss, mss),
            hertz: 250,
            ..Wanted::default()
        })
        .unwrap()
    }

    fn told(wanted: &Image, found: &Image) -> Vec<String> {
        let all = differences(wanted, found).into_iter();
        all.map(|one| format!("{}: {}", one.subject, one.what))
            .collect()
    }

    #[test]
    fn what_is_alike_differs_in_nothing() {
        let image = image(&[80, 443], false, 1400);
        assert_eq!(told(&image, &image), [""; 0]);
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let wanted = image(&[80, 443], false, 1400);
        assert_eq!(
            told(&wanted, &image(&[80], false, 1300)),
            [
                "the configuration: differs in MSS",
                "service 198.51.100.10 port 443/tcp: missing",
            ]
        );
        assert_eq!(
            told(&wanted, &image(&[80, 443, 444], false, 1400)),
            ["service 198.51.100.10 port 444/tcp: is there and should not be"]
        );
        assert_eq!(
            told(&wanted, &image(&[80, 443], true, 1400)),
            [
                "service 198.51.100.10 port 443/tcp: differs in whether a listener is seen",
                "service 198.51.100.10 port 80/tcp: differs in whether a listener is seen",
            ]
        );
        let mut moved = wanted.clone();
        let (place, bucket) = moved.services.pop_first().unwrap();
        moved.services.insert(place + 1, bucket);
        assert_eq!(
            told(&wanted, &moved),
            ["an index: has its entries in other places"]
        );
        let nothing = Image {
            vips: Default::default(),
            ..wanted.clone()
        };
        assert_eq!(told(&wanted, &nothing), ["VIP 198.51.100.10: missing"]);
    }

    #[test]
    fn next_hops() {
        let backend = IpAddr::from([10, 1, 0, 2]);
        let macs = |low| {
            Some(Macs {
                low,
                ..Macs::default()
            })
        };
        let what = |wanted, found| next_hop(backend, wanted, found).map(|one| one.what);
        assert_eq!(what(macs(1), macs(1)), None);
        assert_eq!(what(None, None), None);
        assert_eq!(what(macs(1), macs(2)).unwrap(), "differs in MAC addresses");
        assert_eq!(what(macs(1), None).unwrap(), "missing");
        assert_eq!(what(None, macs(1)).unwrap(), "is there and should not be");
    }
}
