//! What the datapath's maps can hold.

use std::collections::BTreeSet;

use lb_common::abi;
use lb_common::prefix::LENGTHS_MAX;

use super::across::Draft;
use super::diagnostic::Diagnostic;
use super::fields::Errors;
use super::place::{Placed, Span};

/// Two tables per pool: the one in use and the one to fill.
const POOLS_MAX: usize = abi::TABLES_MAX as usize / 2;
const BACKENDS_MAX: usize = abi::BACKENDS_MAX as usize;
const SERVICES_MAX: usize = abi::SERVICE_COUNTERS_MAX as usize;
const COUNTERS_MAX: usize = abi::BACKEND_COUNTERS_MAX as usize;
/// Half of the index: fuller, and no seed may fit.
const PORTS_MAX: usize = abi::SERVICE_BUCKETS as usize * abi::BUCKET_ENTRIES / 2;

/// Reports the first of each kind that is too many.
pub fn check(draft: &Draft, errors: &Errors) {
    let report = |place: Option<&Span>, message: String| {
        errors.add(Diagnostic {
            span: place.cloned(),
            ..Diagnostic::of_file(message)
        });
    };
    if let Some(pool) = draft.pools.get(POOLS_MAX) {
        let place = pool.name.as_ref().map(|name| &name.span);
        report(place, format!("more than {POOLS_MAX} pools"));
    }
    if let Some(service) = draft.services.get(SERVICES_MAX) {
        report(
            Some(&service.place),
            format!("more than {SERVICES_MAX} services"),
        );
    }
    let mut backends = draft.pools.iter().flat_map(|pool| pool.addresses());
    if let Some(Placed { span, .. }) = backends.nth(BACKENDS_MAX) {
        report(
            Some(span),
            format!("more than {BACKENDS_MAX} backends in all pools"),
        );
    }
    let mut ports = draft.services.iter().flat_map(|service| &service.ports);
    if let Some(Placed { span, .. }) = ports.nth(PORTS_MAX) {
        report(
            Some(span),
            format!("more than {PORTS_MAX} ports in all services"),
        );
    }
    check_lengths(draft, errors);
    let mut counters = 0;
    for service in &draft.services {
        let pool = service
            .pool
            .as_ref()
            .and_then(|name| draft.pool(&name.value));
        counters += pool.map_or(0, |pool| pool.backends.len());
        if counters > COUNTERS_MAX {
            let message = format!("more than {COUNTERS_MAX} backends, counted once per service");
            return report(Some(&service.place), message);
        }
    }
}

/// An address outside all VIPs is looked up once for each length.
fn check_lengths(draft: &Draft, errors: &Errors) {
    for (family, is_v6) in [("IPv4", false), ("IPv6", true)] {
        let vips = draft.services.iter().filter_map(|one| one.vip.as_ref());
        let prefixes = vips.filter(|vip| vip.value.is_prefix() && vip.value.is_ipv6() == is_v6);
        let mut lengths = BTreeSet::new();
        let mut new = prefixes.filter(|vip| lengths.insert(vip.value.net().prefix_len()));
        if let Some(surplus) = new.nth(LENGTHS_MAX) {
            errors.add(
                Diagnostic::at(
                    &surplus.span,
                    format!("more than {LENGTHS_MAX} lengths of {family} prefixes among all VIPs"),
                )
                .help("divide the longest ones, or those of a length that few have"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{GOOD, read};

    fn messages(text: &str) -> String {
        let errors = read(text).expect_err("too many");
        let all: Vec<&str> = errors
            .errors()
            .iter()
            .map(|error| error.message.as_str())
            .collect();
        all.join("; ")
    }

    #[test]
    fn too_many_of_each_kind() {
        let pools: String = (1..=POOLS_MAX)
            .map(|n| format!("[[pool]]\nname = \"p{n}\"\ncheck = {{ type = \"tcp\", port = 1 }}\nbackend = [{{ address = \"10.2.0.1\" }}]\n"))
            .collect();
        assert_eq!(messages(&format!("{GOOD}{pools}")), "more than 1024 pools");

        let ports: Vec<String> = (1..=PORTS_MAX).map(|port| port.to_string()).collect();
        let ports = GOOD.replace("443, 80", &ports.join(","));
        read(&ports).expect("as many as there may be");
        let one_more = ports.replace("[1,", "[65535,1,");
        assert_eq!(messages(&one_more), "more than 16384 ports in all services");

        let backends: String = (0..BACKENDS_MAX)
            .map(|n| {
                format!(
                    "[[pool.backend]]\naddress = \"10.2.{}.{}\"\n",
                    n / 256,
                    n % 256
                )
            })
            .collect();
        let backends = GOOD.replace("[[service]]", &format!("{backends}[[service]]"));
        assert_eq!(messages(&backends), "more than 16384 backends in all pools");
    }
}
