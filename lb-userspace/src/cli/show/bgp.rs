//! `anylb bgp peers`.

use std::collections::BTreeMap;

use comfy_table::Cell;

use super::super::output::{Style, number, optional, span, text, verdict};
use crate::status::{PeerList, PeerStatus};

/// One line per session, and below what went wrong; wide: capabilities and routes as well.
pub(in super::super) fn table(list: &PeerList, style: Style) -> String {
    if list.peers.is_empty() {
        return "this node has no BGP peers\n".to_string();
    }
    let sessions = match style.wide() {
        true => wide(&list.peers, style),
        false => narrow(&list.peers, style),
    };
    let troubles: String = list.peers.iter().flat_map(troubles).collect();
    match troubles.is_empty() {
        true => sessions,
        false => format!("{sessions}\n{troubles}"),
    }
}

fn narrow(peers: &[PeerStatus], style: Style) -> String {
    let row = |peer: &PeerStatus| {
        [
            Cell::new(peer.address),
            Cell::new(peer.asn),
            state(peer),
            Cell::new(span(peer.since_secs)),
            Cell::new(hold_time(peer)),
            Cell::new(total(&peer.received)),
            Cell::new(total(&peer.sent)),
            Cell::new(total(&peer.flaps)),
            Cell::new(peer.announced.len()),
        ]
    };
    style.table(
        [
            text("PEER"),
            number("AS"),
            text("STATE"),
            number("SINCE"),
            number("HOLD"),
            number("IN"),
            number("OUT"),
            number("FLAPS"),
            number("ANNOUNCED"),
        ],
        peers.iter().map(row).collect(),
    )
}

fn wide(peers: &[PeerStatus], style: Style) -> String {
    let row = |peer: &PeerStatus| {
        let routes: Vec<String> = peer.announced.iter().map(ToString::to_string).collect();
        [
            Cell::new(peer.address),
            Cell::new(peer.asn),
            optional(peer.router_id.map(|id| id.to_string()).as_deref()),
            state(peer),
            Cell::new(span(peer.since_secs)),
            Cell::new(hold_time(peer)),
            Cell::new(total(&peer.received)),
            Cell::new(total(&peer.sent)),
            Cell::new(total(&peer.flaps)),
            or_dash(peer.capabilities.join(", ")),
            or_dash(routes.join(", ")),
        ]
    };
    style.table(
        [
            text("PEER"),
            number("AS"),
            text("ROUTER ID"),
            text("STATE"),
            number("SINCE"),
            number("HOLD"),
            number("IN"),
            number("OUT"),
            number("FLAPS"),
            text("CAPABILITIES"),
            text("ANNOUNCED"),
        ],
        peers.iter().map(row).collect(),
    )
}

fn state(peer: &PeerStatus) -> Cell {
    verdict(&peer.state, peer.established())
}

fn hold_time(peer: &PeerStatus) -> String {
    peer.hold_time_secs
        .map_or_else(|| "-".to_string(), |secs| format!("{secs}s"))
}

fn total(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

fn or_dash(words: String) -> Cell {
    optional(Some(&words))
}

/// What went wrong with a session, in a line each.
fn troubles(peer: &PeerStatus) -> Vec<String> {
    let line = |what: &str, reason: &String| format!("{}: {what}: {reason}\n", peer.address);
    let reset = peer.last_reset.as_ref();
    let failure = peer.last_failure.as_ref();
    let reset = reset.map(|reason| line("last reset", reason));
    let failure = failure.map(|reason| line("last attempt", reason));
    reset.into_iter().chain(failure).collect()
}
