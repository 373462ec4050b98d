//! Ports of the services at one VIP: none may hide another, and the datapath holds so many ranges.

use std::collections::HashMap;

use lb_common::abi::BUCKET_ENTRIES;

use super::diagnostic::Diagnostic;
use super::fields::Errors;
use super::place::Placed;
use super::service::ServiceDraft;
use crate::model::{Ports, Protocol, Vip};

/// Reports ports of two services that meet, and a VIP's ranges that are too many.
pub fn check(services: &[ServiceDraft], errors: &Errors) {
    let mut vips: HashMap<(Vip, Protocol), Entries<'_, &ServiceDraft>> = HashMap::new();
    for service in services {
        let (Some(vip), Some(protocol)) = (&service.vip, service.protocol) else {
            continue;
        };
        let taken = vips.entry((vip.value, protocol)).or_default();
        let at = format!("the VIP {}", vip.value);
        for ports in &service.ports {
            if let Some((other, theirs)) = taken.clash(service, ports.value) {
                errors.add(
                    Diagnostic::at(
                        &ports.span,
                        format!(
                            "two services have {at} and {}",
                            named(ports.value, protocol)
                        ),
                    )
                    .label(format!("again in {}", name_of(service)))
                    .related(&theirs.span, format!("first in {}", name_of(other))),
                );
            }
            taken.add(service, ports);
            if ports.value.single().is_none() && taken.ranges.len() == BUCKET_ENTRIES + 1 {
                errors.add_absence(
                    Diagnostic::at(
                        &ports.span,
                        format!("more than {BUCKET_ENTRIES} ranges of {protocol} ports at {at}"),
                    )
                    .help("join ranges, or list single ports"),
                );
            }
        }
    }
}

/// Entries of ports so far, single ones by their number: there may be thousands.
pub struct Entries<'a, T> {
    ones: HashMap<u16, (T, &'a Placed<Ports>)>,
    ranges: Vec<(T, &'a Placed<Ports>)>,
}

impl<T> Default for Entries<'_, T> {
    fn default() -> Self {
        Self {
            ones: HashMap::new(),
            ranges: Vec::new(),
        }
    }
}

impl<'a, T: Copy> Entries<'a, T> {
    /// Takes one more; of a port that is there already the first stays.
    pub fn add(&mut self, tag: T, ports: &'a Placed<Ports>) {
        match ports.value.single() {
            Some(port) => drop(self.ones.entry(port).or_insert((tag, ports))),
            None => self.ranges.push((tag, ports)),
        }
    }

    /// The first in the file that has a port in common with `ports`.
    pub fn meeting(&self, ports: Ports) -> Option<&'a Placed<Ports>> {
        let one = match ports.single() {
            Some(port) => self.ones.get(&port),
            None => self
                .ones
                .values()
                .filter(|(_, one)| one.value.meets(ports))
                .min_by_key(|(_, one)| one.span.start),
        };
        let range = self
            .ranges
            .iter()
            .find(|(_, range)| range.value.meets(ports));
        let both = one.into_iter().chain(range);
        let first = both.min_by_key(|(_, found)| found.span.start);
        first.map(|(_, found)| *found)
    }
}

impl<'a> Entries<'a, &'a ServiceDraft> {
    /// The ports of another service that `ports` would hide, or be hidden by: a port goes before a range, a range before any port.
    /// Twice in one list is reported where the list is
    /// read.
    fn clash(
        &self,
        service: &ServiceDraft,
        ports: Ports,
    ) -> Option<(&'a ServiceDraft, &'a Placed<Ports>)> {
        let same = match ports.single() {
            Some(port) => self.ones.get(&port),
            None => self.ranges.iter().find(|(other, theirs)| {
                !std::ptr::eq(*other, service)
                    && (theirs.value == Ports::ANY) == (ports == Ports::ANY)
                    && theirs.value.meets(ports)
            }),
        };
        same.filter(|(other, _)| !std::ptr::eq(*other, service))
            .copied()
    }
}

fn named(ports: Ports, protocol: Protocol) -> String {
    match ports.single() {
        Some(port) => format!("port {port}/{protocol}"),
        None => format!("ports {ports}/{protocol}"),
    }
}

fn name_of(service: &ServiceDraft) -> String {
    match &service.name {
        Some(name) => format!("service `{}`", name.value),
        None => "a service without name".to_owned(),
    }
}
