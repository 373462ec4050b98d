//! Which service of a VIP takes the fragments of its protocol: all but the first have no ports that would tell.

use super::diagnostic::Diagnostic;
use super::fields::Errors;
use super::service::ServiceDraft;
use crate::model::{HashScope, Protocol};

/// Reports services that are to take fragments and cannot, and a second one for the same.
pub fn check(services: &[ServiceDraft], errors: &Errors) {
    for (n, service) in services.iter().enumerate() {
        let Some(written) = service.fragments.as_ref().filter(|written| written.value) else {
            continue;
        };
        if service.protocol == Some(Protocol::Tcp) && service.hash == HashScope::Flow {
            errors.add(
                Diagnostic::at(
                    &written.span,
                    "`fragments = true` in a service of TCP with `hash = \"5-tuple\"`",
                )
                .help("add `hash = \"src-dst\"`: else the parts of a flow have two backends"),
            );
        }
        let mut earlier = services[..n].iter().filter(|other| meet(other, service));
        let other = earlier.find_map(|other| other.fragments.as_ref().filter(|other| other.value));
        if let Some(other) = other {
            errors.add(
                Diagnostic::at(
                    &written.span,
                    "two services take the fragments of one VIP and protocol",
                )
                .label("again here")
                .related(&other.span, "first here"),
            );
        }
    }
}

/// Whether the service takes fragments: it says so, or it is the only one that could be meant.
pub fn takes(service: &ServiceDraft, services: &[ServiceDraft]) -> bool {
    let can = service.protocol == Some(Protocol::Udp) || service.hash != HashScope::Flow;
    match &service.fragments {
        Some(written) => written.value,
        None => can && services.iter().filter(|other| meet(other, service)).count() == 1,
    }
}

/// Whether both have the same VIP and protocol; a service meets itself.
fn meet(one: &ServiceDraft, other: &ServiceDraft) -> bool {
    let of = |service: &ServiceDraft| Some((service.vip.as_ref()?.value, service.protocol?));
    of(one).is_some() && of(one) == of(other)
}
