//! What of services the node remembers: flows of pools whose mode it is.

use super::across::Draft;
use super::diagnostic::Diagnostic;
use super::fields::Errors;
use super::service::ServiceDraft;
use crate::model::{Mode, Protocol, UdpFlows};

/// Reports keys that fit neither the service's protocol nor its pool's mode.
pub fn check(draft: &Draft, errors: &Errors) {
    for service in &draft.services {
        if service.protocol == Some(Protocol::Tcp) {
            check_tcp(service, errors);
            continue;
        }
        let pool = service.pool.as_ref().map(|pool| draft.pool(&pool.value));
        let mode = match pool {
            // Reported already.
            Some(None) => continue,
            Some(Some(pool)) => Some(pool.mode),
            None => None,
        };
        check_udp(service, mode, errors);
    }
}

/// What becomes of UDP flows of a service at a pool of this mode.
pub fn udp(service: &ServiceDraft, mode: Option<Mode>) -> UdpFlows {
    match (&service.udp, service.protocol, mode) {
        (Some(written), _, _) => written.value,
        (None, Some(Protocol::Udp), Some(Mode::FlowTable)) => UdpFlows::FlowTable,
        (None, _, _) => UdpFlows::Stateless,
    }
}

fn check_tcp(service: &ServiceDraft, errors: &Errors) {
    if let Some(udp) = &service.udp
        && udp.value != UdpFlows::Stateless
    {
        errors.add(
            Diagnostic::at(
                &udp.span,
                format!(
                    "`udp = \"{}\"` in a service with `protocol = \"tcp\"`",
                    udp.value.as_str()
                ),
            )
            .help(match udp.value {
                UdpFlows::FlowTable => {
                    "remove it: TCP flows are remembered as the pool's mode says"
                }
                UdpFlows::Connected | UdpFlows::Stateless => {
                    "remove it: TCP flows are kept by their sockets"
                }
            }),
        );
    }
    if let Some(timeout) = &service.udp_timeout {
        errors.add(
            Diagnostic::at(
                &timeout.span,
                "`udp_timeout` in a service with `protocol = \"tcp\"`",
            )
            .help("remove it: TCP flows are remembered until they are closed"),
        );
    }
}

fn check_udp(service: &ServiceDraft, mode: Option<Mode>, errors: &Errors) {
    let is_table = mode == Some(Mode::FlowTable);
    match &service.udp {
        Some(udp) if udp.value == UdpFlows::FlowTable && !is_table => errors.add(
            Diagnostic::at(
                &udp.span,
                "`udp = \"flow-table\"` needs a pool with `mode = \"flow-table\"`",
            )
            .help("remove it, or let the pool have that mode"),
        ),
        Some(udp) if udp.value == UdpFlows::Connected && is_table => errors.add(
            Diagnostic::at(
                &udp.span,
                "`udp = \"connected\"` at a pool with `mode = \"flow-table\"`",
            )
            .help("remove it: the node remembers which backend a flow has"),
        ),
        _ => {}
    }
    if let Some(timeout) = &service.udp_timeout
        && !(is_table && udp(service, mode) == UdpFlows::FlowTable)
    {
        errors.add(
            Diagnostic::at(&timeout.span, "`udp_timeout` where no flows are remembered")
                .help("remove it: it is for pools with `mode = \"flow-table\"`"),
        );
    }
}
