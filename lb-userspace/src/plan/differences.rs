//! What the kernel holds against what it should hold, in words. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lb_common::abi::{self, Backend, ServiceEntry, ServiceExtra, Shared, VipEntry, kind};
use lb_common::wire::protocol;

use super::desired::address_of;
use super::{Image, Observed, vips};
use crate::model::Vip;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What is looked at: `VIP 198.51.100.1`.
    pub subject: String,
    /// What is wrong with it: `missing`.
    pub what: String,
}

/// Everything in which `observed` is not `wanted`; empty where the next plan would have nothing to do.
///
/// `wanted` names pairs of tables; whichever of a pair is in use is compared.
pub fn differences(wanted: &Image, observed: &Observed) -> Vec<Difference> {
    let Some(found) = &observed.image else {
        return vec![difference(
            "the datapath",
            "holds nothing: no bank was ever switched on",
        )];
    };
    let wanted = in_use(wanted, found);
    let vips = numbers(&wanted.vips);
    let mut all: Vec<_> = shared(&wanted.shared, &found.shared).into_iter().collect();
    all.extend(entries(&wanted.vips, &found.vips, vip_name, vip_fields));
    let name =
        |entry: &ServiceEntry| service_name(entry.key, (entry.first_port, entry.last_port), &vips);
    all.extend(entries(
        &wanted.services,
        &found.services,
        name,
        service_fields,
    ));
    all.extend(extras(&wanted, found));
    all.extend(backends(&wanted.backends, &found.backends));
    all.extend(tables(&wanted.tables, &found.tables));
    all
}

/// The same with the tables of each pair that are in use.
fn in_use(wanted: &Image, found: &Image) -> Image {
    let live = |pair: u32| {
        let used = found.tables.range(pair..=pair | 1).next();
        used.map_or(pair, |(&index, _)| index)
    };
    let mut image = wanted.clone();
    for service in &mut image.services {
        service.table = live(service.table);
    }
    let slots = found.extras.values().map(|extra| extra.filter);
    let slots: BTreeMap<u64, u16> = slots
        .map(|filter| (filter.fingerprint, filter.slot))
        .collect();
    for filter in image.extras.values_mut().map(|extra| &mut extra.filter) {
        filter.slot = slots.get(&filter.fingerprint).copied().unwrap_or_default();
    }
    let tables = wanted.tables.iter();
    image.tables = tables
        .map(|(&pair, rows)| (live(pair), Arc::clone(rows)))
        .collect();
    image
}

/// The key of the flow hash is compared and not told.
fn shared(wanted: &Shared, found: &Shared) -> Option<Difference> {
    let fields = shared_fields(wanted, found);
    (wanted != found).then(|| differs("what all of a bank shares", &fields))
}

/// Entries by name. Several may have one: ranges of ports do.
pub(crate) fn entries<T: PartialEq>(
    wanted: &[T],
    found: &[T],
    name: impl Fn(&T) -> String,
    fields: impl Fn(&T, &T) -> Fields,
) -> Vec<Difference> {
    let lacking: Vec<&T> = wanted
        .iter()
        .filter(|entry| !found.contains(entry))
        .collect();
    let surplus: Vec<&T> = found
        .iter()
        .filter(|entry| !wanted.contains(entry))
        .collect();
    let names: BTreeSet<String> = lacking
        .iter()
        .chain(&surplus)
        .map(|entry| name(entry))
        .collect();
    let of = |entries: &[&T], wanted: &str| entries.iter().position(|entry| name(entry) == wanted);
    names
        .into_iter()
        .map(|name| match (of(&lacking, &name), of(&surplus, &name)) {
            (Some(wanted), Some(found)) => differs(&name, &fields(lacking[wanted], surplus[found])),
            (Some(_), None) => difference(&name, "missing"),
            (None, _) => difference(&name, "is there and should not be"),
        })
        .collect()
}

pub(crate) fn vip_name(entry: &VipEntry) -> String {
    let address = address_of(entry.address);
    match entry.kind {
        vip if kind::is_vip(vip) => format!("VIP {}", vips::of(entry)),
        kind::OWN => format!("own address {address}"),
        other => format!("address {address} of kind {other}"),
    }
}

/// VIPs by their number.
pub(crate) fn numbers(vips: &[VipEntry]) -> BTreeMap<u32, Vip> {
    let vips = vips.iter().filter(|entry| kind::is_vip(entry.kind));
    vips.map(|entry| (entry.id, vips::of(entry))).collect()
}

/// A service by its key and its first and last port.
pub(crate) fn service_name(key: u64, ports: (u16, u16), vips: &BTreeMap<u32, Vip>) -> String {
    let number = abi::service_vip(key);
    let vip = match vips.get(&number) {
        Some(vip) => vip.to_string(),
        None => format!("VIP number {number}"),
    };
    let ports = match ports {
        // See `fragments_key`.
        (0, 0) => "fragments".to_owned(),
        (first, last) if first == last => format!("port {first}"),
        (first, last) => format!("ports {first}-{last}"),
    };
    // See `service_key`: the protocol stands above the port.
    match (key >> 16) as u8 {
        protocol::TCP => format!("service {vip} {ports}/tcp"),
        protocol::UDP => format!("service {vip} {ports}/udp"),
        other => format!("service {vip} {ports}, protocol {other}"),
    }
}

fn backends(wanted: &[Backend], found: &[Backend]) -> Vec<Difference> {
    let nothing = Backend::default();
    let at = |all: &[Backend], index: usize| all.get(index).copied().unwrap_or(nothing);
    (0..wanted.len().max(found.len()))
        .map(|index| (index, at(wanted, index), at(found, index)))
        .filter(|(_, wanted, found)| wanted != found)
        .map(|(index, wanted, found)| {
            let one = if wanted == nothing { found } else { wanted };
            let name = format!("backend {} (number {index})", address_of(one.address));
            match (wanted == nothing, found == nothing) {
                (true, _) => difference(&name, "is there and should not be"),
                (_, true) => difference(&name, "missing"),
                _ => differs(&name, &backend_fields(&wanted, &found)),
            }
        })
        .collect()
}

/// Of a service only once, whatever its ports are.
fn extras(wanted: &Image, found: &Image) -> Vec<Difference> {
    let vips = numbers(&wanted.vips);
    let name = |counter: u32| {
        let all = wanted.services.iter().chain(&found.services);
        let of_service = |entry: &&ServiceEntry| entry.service_counter == counter;
        all.clone().find(of_service).map_or_else(
            || format!("service counter {counter}"),
            |entry| service_name(entry.key, (entry.first_port, entry.last_port), &vips),
        )
    };
    let counters: BTreeSet<u32> = wanted
        .extras
        .keys()
        .chain(found.extras.keys())
        .copied()
        .collect();
    let of = |image: &Image, counter: u32| image.extras.get(&counter).copied().unwrap_or_default();
    counters
        .into_iter()
        .map(|counter| (counter, of(wanted, counter), of(found, counter)))
        .filter(|(_, wanted, found)| wanted != found)
        .map(|(counter, wanted, found)| differs(&name(counter), &extra_fields(&wanted, &found)))
        .collect()
}

fn tables(
    wanted: &BTreeMap<u32, Arc<[u64]>>,
    found: &BTreeMap<u32, Arc<[u64]>>,
) -> Vec<Difference> {
    let indexes: BTreeSet<u32> = wanted.keys().chain(found.keys()).copied().collect();
    let compare = |index: u32| {
        let name = format!("table {index}");
        match (wanted.get(&index), found.get(&index)) {
            (Some(wanted), Some(found)) => {
                let rows = wanted.iter().zip(found.iter());
                let other = rows.filter(|(wanted, found)| wanted != found).count();
                let total = wanted.len();
                (other > 0).then(|| difference(&name, &format!("{other} of {total} rows differ")))
            }
            (Some(_), None) => Some(difference(&name, "missing")),
            (None, _) => Some(difference(&name, "is in use and should not be")),
        }
    };
    indexes.into_iter().filter_map(compare).collect()
}

pub(crate) fn difference(subject: &str, what: &str) -> Difference {
    Difference {
        subject: subject.to_owned(),
        what: what.to_owned(),
    }
}

pub(crate) fn differs(subject: &str, fields: &[(&str, bool)]) -> Difference {
    let names: Vec<&str> = fields
        .iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| *name)
        .collect();
    match names.is_empty() {
        // A field that is not among those told by name.
        true => difference(subject, "differs"),
        false => difference(subject, &format!("differs in {}", names.join(", "))),
    }
}

/// What a header or a next hop is made of, and whether both have it alike.
pub(crate) type Fields = Vec<(&'static str, bool)>;

fn shared_fields(a: &Shared, b: &Shared) -> Fields {
    vec![
        ("the key of the flow hash", a.flow == b.flow),
        (
            "tunnel sources",
            (a.source_v4, a.source_v6) == (b.source_v4, b.source_v6),
        ),
        ("generation", a.generation == b.generation),
        ("tunnel header", a.header == b.header),
        (
            "rate of answers",
            (a.answers_per_jiffy, a.answers_max) == (b.answers_per_jiffy, b.answers_max),
        ),
        ("whether VIPs are prefixes", a.prefixes == b.prefixes),
    ]
}

pub(crate) fn vip_fields(a: &VipEntry, b: &VipEntry) -> Fields {
    vec![("number", a.id == b.id)]
}

fn service_fields(a: &ServiceEntry, b: &ServiceEntry) -> Fields {
    vec![
        ("VIP, protocol or port", a.key == b.key),
        ("table", a.table == b.table),
        ("first backend", a.first_backend == b.first_backend),
        (
            "counters",
            (a.service_counter, a.first_counter) == (b.service_counter, b.first_counter),
        ),
        ("tunnel MTU", a.tunnel_mtu == b.tunnel_mtu),
        ("tunnel flags", a.tunnel_flags == b.tunnel_flags),
        ("encapsulation", a.encap == b.encap),
    ]
}

fn extra_fields(a: &ServiceExtra, b: &ServiceExtra) -> Fields {
    vec![
        ("lists of prefixes", a.filter == b.filter),
        ("rates", a.rates == b.rates),
        (
            "timeout of remembered flows",
            a.flow_timeout == b.flow_timeout,
        ),
    ]
}

fn backend_fields(a: &Backend, b: &Backend) -> Fields {
    vec![
        ("address", a.address == b.address),
        (
            "MAC addresses",
            (a.macs_low, a.macs_high()) == (b.macs_low, b.macs_high()),
        ),
        (
            "outer headers",
            (a.head, a.ends, a.udp, a.checksum) == (b.head, b.ends, b.udp, b.checksum),
        ),
        ("interface", a.ifindex == b.ifindex),
        ("verdict or reachability", a.flags == b.flags),
        ("MTU", a.mtu == b.mtu),
        ("VLAN tag", a.vlan == b.vlan),
    ]
}
