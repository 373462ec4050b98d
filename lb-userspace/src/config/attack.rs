//! Services that take known flows only: somebody must know them.

use super::across::Draft;
use super::diagnostic::Diagnostic;
use super::fields::Errors;
use super::flow_table;
use crate::model::NobodyKnows;

/// Reports services under attack whose flows nobody knows.
pub fn check(draft: &Draft, errors: &Errors) {
    for service in &draft.services {
        let attack = service.attack.as_ref().filter(|attack| attack.value);
        let (Some(attack), Some(protocol)) = (attack, service.protocol) else {
            continue;
        };
        let pool = service
            .pool
            .as_ref()
            .and_then(|pool| draft.pool(&pool.value));
        let mode = pool.map(|pool| pool.mode);
        let udp = flow_table::udp(service, mode);
        let Some(NobodyKnows { reason, instead }) = NobodyKnows::of(mode, protocol, udp) else {
            continue;
        };
        errors.add(
            Diagnostic::at(&attack.span, format!("`attack = true` {reason}"))
                .help(format!("remove it, or {instead}")),
        );
    }
}
