//! Ports of the services at one VIP: none may hide another, and the datapath holds so many ranges.

use std::collections::HashMap;
use std::net::IpAddr;

use lb_common::abi::BUCKET_ENTRIES;

use super::diagnostic::Diagnostic;
use super::fields::Errors;
use super::place::Placed;
use super::service::ServiceDraft;
use crate::model::{Ports, Protocol};

/// Reports ports of two services that meet, and a VIP's ranges that are too many.
pub fn check(services: &[ServiceDraft], errors: &Errors) {
    let mut vips: HashMap<(IpAddr, Protocol), Taken<'_>> = HashMap::new();
    for service in services {
        let (Some(vip), Some(protocol)) = (&service.vip, service.protocol) else {
            continue;
        };
        let taken = vips.entry((vip.value, protocol)).or_default();
        for ports in &service.ports {
            let at = format!("the VIP {}", vip.value);
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
            taken.0.push((service, ports));
            if ports.value.single().is_none() && taken.ranges() == BUCKET_ENTRIES + 1 {
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

/// Ports of one VIP and protocol so far.
#[derive(Default)]
struct Taken<'a>(Vec<(&'a ServiceDraft, &'a Placed<Ports>)>);

impl<'a> Taken<'a> {
    /// The ports of another service that `ports` would hide, or be hidden by. Twice in one list is reported where the list is
    /// read.
    fn clash(
        &self,
        service: &ServiceDraft,
        ports: Ports,
    ) -> Option<(&'a ServiceDraft, &'a Placed<Ports>)> {
        let clash = self.0.iter().find(|(other, theirs)| {
            !std::ptr::eq(*other, service)
                && rank(ports) == rank(theirs.value)
                && ports.meets(theirs.value)
        });
        clash.copied()
    }

    fn ranges(&self) -> usize {
        let is_range = |ports: &Placed<Ports>| ports.value.single().is_none();
        self.0.iter().filter(|(_, ports)| is_range(ports)).count()
    }
}

/// A port goes before a range, a range before any port.
fn rank(ports: Ports) -> (bool, bool) {
    (ports.single().is_some(), ports == Ports::ANY)
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
