//! `anylb service`.

use super::super::output::{Style, plural};
use super::backend;
use super::status::{SERVICE_HEAD, ports, service_cells, services};
use crate::status::{BackendList, ListStatus, ServiceDetail, ServiceList, ServiceStatus};

/// One line per service, and below why VIPs are not announced, and what is attacked; wide: the reasons beside them.
pub(in super::super) fn table(list: &ServiceList, style: Style) -> String {
    if list.services.is_empty() {
        return "this node has no services\n".to_string();
    }
    if style.wide() && list.services.iter().any(|service| service.pool.is_some()) {
        let row = |service| (service_cells(service), reason(service));
        let rows = list.services.iter().map(row).collect();
        let table = style.table_with_reasons(SERVICE_HEAD, rows);
        return with_notes(table, attacks(&list.services));
    }
    let reasons: String = list.services.iter().filter_map(line).collect();
    let table = services(&list.services, style);
    with_notes(table, reasons + &attacks(&list.services))
}

fn with_notes(table: String, notes: String) -> String {
    match notes.is_empty() {
        true => table,
        false => format!("{table}\n{notes}"),
    }
}

/// Services that take known flows only, and those that do not though they are configured to: a line each.
pub(in super::super) fn attacks(services: &[ServiceStatus]) -> String {
    let line =
        |service: &ServiceStatus| Some(format!("* {}: {}\n", service.name, attack(service)?));
    services.iter().filter_map(line).collect()
}

fn attack(service: &ServiceStatus) -> Option<&'static str> {
    match (service.limits.attack, service.limits.attack_configured) {
        (false, false) => None,
        (true, true) => Some("attack is on: known flows only, by configuration"),
        (true, false) => Some("attack is on: known flows only, by operator on this node only"),
        (false, true) => Some("attack is off, by operator on this node only"),
    }
}

fn reason(service: &ServiceStatus) -> Option<&str> {
    service.reason.as_deref()
}

fn line(service: &ServiceStatus) -> Option<String> {
    let reason = reason(service)?;
    let how = service.standing();
    Some(format!(
        "! {}: {} is {how}: {reason}\n",
        service.name, service.vip
    ))
}

/// The service, its traffic, and the backends of its pool.
pub(in super::super) fn detail(detail: &ServiceDetail, style: Style) -> String {
    let service = &detail.service;
    let mut pairs = vec![
        ("service", service.name.clone()),
        ("vip", service.vip.to_string()),
        ("ports", ports(service)),
    ];
    if let Some(pool) = &service.pool {
        let (healthy, configured) = (service.healthy, service.configured);
        pairs.push(("pool", pool.to_string()));
        pairs.push((
            "healthy",
            format!("{healthy} of {configured}, {} needed", service.need),
        ));
        pairs.push(("announced", announcement(service)));
    }
    let attack = attack(service).and_then(|words| words.strip_prefix("attack is "));
    pairs.extend(attack.map(|words| ("attack", words.to_owned())));
    let list = |name, list: &Option<ListStatus>| Some((name, in_words(list.as_ref()?)));
    pairs.extend(list("allow", &service.limits.allow));
    pairs.extend(list("deny", &service.limits.deny));
    let rate = |name, rate: &Option<String>| Some((name, rate.clone()?));
    pairs.extend(rate("rate", &service.limits.rate));
    pairs.extend(rate("source rate", &service.limits.source_rate));
    pairs.extend(detail.count.map(|all| {
        let (packets, bytes) = (all.count.packets, all.count.bytes);
        let traffic = format!("{packets} packets, {bytes} bytes, {}", flows(all.new_flows));
        ("traffic", traffic)
    }));
    let about = style.pairs(&pairs);
    if detail.backends.is_empty() {
        return about;
    }
    let backends = detail.backends.clone();
    format!(
        "{about}\n{}",
        backend::table(&BackendList { backends }, style)
    )
}

fn in_words(list: &ListStatus) -> String {
    let count = match list.prefixes {
        0 => "nobody".to_owned(),
        1 => "1 prefix".to_owned(),
        count => format!("{count} prefixes"),
    };
    match &list.file {
        Some(file) => format!("{count}, {}", file.display()),
        None => count,
    }
}

fn announcement(service: &ServiceStatus) -> String {
    match (service.announced, &service.reason) {
        (true, None) => "yes".to_string(),
        (true, Some(reason)) => format!("as a last resort: {reason}"),
        (false, Some(reason)) => format!("no: {reason}"),
        (false, None) => "no".to_string(),
    }
}

fn flows(count: u64) -> String {
    plural(count, "new flow")
}
