//! `anylb bgp peer`.

use std::collections::BTreeMap;

use super::super::output::{Style, plural, span};
use super::bgp;
use crate::status::{
    BfdStatus, Discovery, NotificationCount, PeerDetail, PeerOpen, PeerSettings, PeerStatus,
};

/// Names and values, in the order in which one asks: is it up, what was agreed, what was told, what went wrong.
pub(in super::super) fn table(detail: &PeerDetail, style: Style) -> String {
    let peer = &detail.peer;
    let mut lines = session(peer);
    lines.extend(capabilities(peer));
    lines.extend([
        ("Announced", announced(&detail.announced_by_family)),
        ("Received", counts(&peer.received)),
        ("Sent", counts(&peer.sent)),
        (
            "Notifications",
            notifications(&detail.notifications_by_name),
        ),
        ("Flaps", counts(&peer.flaps)),
        ("Last reset", or_never(peer.last_reset.as_deref())),
        ("Last attempt", or_never(peer.last_failure.as_deref())),
    ]);
    style.pairs(&lines)
}

fn session(peer: &PeerStatus) -> Vec<(&'static str, String)> {
    let since = span(peer.since_secs);
    let state = match &peer.shutdown {
        Some(_) => format!(
            "{} since {since}, {}",
            peer.state,
            peer.obstacle().unwrap_or_default()
        ),
        None => format!("{} since {since}", peer.state),
    };
    let mut lines = vec![
        ("Peer", format!("{}, AS {}", peer.address, peer.asn)),
        ("State", state),
    ];
    if let Some(range) = peer.range {
        lines.push((
            "Range",
            format!("{range}; it is there as long as its session"),
        ));
    }
    if let Some(discovery) = &peer.discovery {
        lines.push(("Router", router(discovery)));
    }
    if let Some(identifier) = peer.router_id {
        lines.push(("Router id", identifier.to_string()));
    }
    lines.push(("Configured", configured(&peer.configured)));
    if let Some(hold_time) = peer.hold_time_secs {
        let timers = match hold_time {
            0 => "no hold time, no KEEPALIVEs".to_string(),
            secs => format!(
                "hold time {secs} s, a KEEPALIVE every {} s",
                peer.keepalive_secs.unwrap_or(secs / 3)
            ),
        };
        lines.push(("Negotiated", timers));
    }
    if let Some(bfd) = &peer.bfd {
        lines.push(("BFD", bgp::bfd(bfd)));
        lines.push(("BFD packets", bfd_packets(bfd)));
    }
    lines
}

fn router(discovery: &Discovery) -> String {
    let router = discovery.router.map(|router| router.to_string());
    let mut words = vec![
        router.unwrap_or_else(|| "not heard yet".to_string()),
        format!("{} sent", plural(discovery.sent, "advertisement")),
        format!("{} heard", discovery.heard),
    ];
    if let Some(other) = discovery.last_other {
        let count = discovery.others;
        words.push(format!(
            "{count} of them of other routers, the last of {other}"
        ));
    }
    let unsent = discovery.unsent;
    words.extend((unsent > 0).then(|| format!("{unsent} could not be sent")));
    let invalid = discovery.invalid.iter();
    words.extend(invalid.map(|(reason, count)| format!("{count} discarded: {reason}")));
    words.join(", ")
}

fn bfd_packets(bfd: &BfdStatus) -> String {
    let mut words = vec![
        format!("{} sent", bfd.sent),
        format!("{} received", bfd.received),
    ];
    words.extend((bfd.unsent > 0).then(|| format!("{} could not be sent", bfd.unsent)));
    words.extend(
        bfd.discards
            .iter()
            .map(|(reason, count)| format!("{count} discarded: {reason}")),
    );
    words.push(plural(bfd.failures, "failure"));
    words.join(", ")
}

fn configured(settings: &PeerSettings) -> String {
    let mut words = vec![format!("hold time {} s", settings.hold_time_secs)];
    words.push(match settings.passive {
        true => "never dialled".to_string(),
        false => format!("port {}", settings.port),
    });
    words.extend(settings.password.then(|| "TCP MD5".to_string()));
    let hops = settings.ttl_security;
    words.extend(hops.map(|hops| format!("TTL security of {}", plural(hops, "hop"))));
    let restart = settings.restart_time_secs;
    words.extend(restart.map(|secs| format!("graceful restart of {secs} s")));
    words.join(", ")
}

fn capabilities(peer: &PeerStatus) -> Vec<(&'static str, String)> {
    let mut lines = vec![("We offered", or_nothing(peer.offered.join(", ")))];
    if let Some(open) = &peer.last_open {
        lines.push(("It offered", or_nothing(open.capabilities.join(", "))));
        lines.push(("Its OPEN", said(open)));
    }
    lines.push(("In common", or_nothing(peer.capabilities.join(", "))));
    lines
}

fn said(open: &PeerOpen) -> String {
    format!(
        "AS {}, router id {}, hold time {} s",
        open.asn, open.router_id, open.hold_time_secs
    )
}

fn announced(by_family: &BTreeMap<String, usize>) -> String {
    let words = by_family.iter();
    or_nothing(join(
        words.map(|(family, count)| format!("{count} {family}")),
    ))
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    or_nothing(join(
        counts.iter().map(|(what, count)| format!("{count} {what}")),
    ))
}

fn notifications(counts: &[NotificationCount]) -> String {
    or_nothing(join(counts.iter().map(|one| {
        let NotificationCount {
            direction,
            code,
            subcode,
            name,
            count,
        } = one;
        format!("{count} {direction} {code}/{subcode} {name}")
    })))
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

fn or_nothing(words: String) -> String {
    match words.is_empty() {
        true => "nothing".to_string(),
        false => words,
    }
}

fn or_never(words: Option<&str>) -> String {
    words.unwrap_or("none").to_string()
}
