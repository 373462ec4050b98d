//! Services that take known flows only: somebody must know them.

use super::across::Draft;
use super::diagnostic::Diagnostic;
use super::fields::Errors;
use super::flow_table;
use crate::model::{Mode, Protocol, UdpFlows};

/// Reports services under attack whose flows nobody knows.
pub fn check(draft: &Draft, errors: &Errors) {
    for service in &draft.services {
        let Some(attack) = service.attack.as_ref().filter(|attack| attack.value) else {
            continue;
        };
        let pool = service
            .pool
            .as_ref()
            .and_then(|pool| draft.pool(&pool.value));
        let mode = pool.map(|pool| pool.mode);
        let (message, help) = if mode == Some(Mode::Stateless) {
            (
                "`attack = true` at a pool with `mode = \"stateless\"`: nobody knows its flows",
                "remove it, or let the pool have `mode = \"flow-table\"` or \"rows\"",
            )
        } else if service.protocol == Some(Protocol::Udp)
            && flow_table::udp(service, mode) == UdpFlows::Stateless
        {
            (
                "`attack = true` in a service with `udp = \"stateless\"`: nobody knows its flows",
                if mode == Some(Mode::FlowTable) {
                    "remove it, or `udp = \"stateless\"`"
                } else {
                    "remove it; with servers that open a socket per flow, say `udp = \"connected\"`"
                },
            )
        } else {
            continue;
        };
        errors.add(Diagnostic::at(&attack.span, message).help(help));
    }
}
