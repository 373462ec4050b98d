//! `anylb bgp peers`.

use std::collections::BTreeMap;

use comfy_table::Cell;

use super::super::output::{Style, number, optional, span, verdict};
use crate::status::{PeerList, PeerStatus};

/// One line per session, and below what ended the last one; wide: capabilities and routes as well.
pub(in super::super) fn table(list: &PeerList, style: Style) -> String {
    if list.peers.is_empty() {
        return "this node has no BGP peers\n".to_string();
    }
    let text = match style.wide() {
        true => wide(&list.peers, style),
        false => narrow(&list.peers, style),
    };
    let resets: String = list.peers.iter().filter_map(reset).collect();
    match resets.is_empty() {
        true => text,
        false => format!("{text}\n{resets}"),
    }
}

fn narrow(peers: &[PeerStatus], style: Style) -> String {
    let row = |peer: &PeerStatus| {
        [
            Cell::new(peer.address),
            number(peer.asn),
            state(peer),
            number(span(peer.since_secs)),
            number(hold_time(peer)),
            number(total(&peer.received)),
            number(total(&peer.sent)),
            number(total(&peer.flaps)),
            number(peer.announced.len()),
        ]
    };
    style.table(
        [
            "PEER",
            "AS",
            "STATE",
            "SINCE",
            "HOLD",
            "IN",
            "OUT",
            "FLAPS",
            "ANNOUNCED",
        ],
        peers.iter().map(row).collect(),
    )
}

fn wide(peers: &[PeerStatus], style: Style) -> String {
    let row = |peer: &PeerStatus| {
        let routes: Vec<String> = peer.announced.iter().map(ToString::to_string).collect();
        [
            Cell::new(peer.address),
            number(peer.asn),
            optional(peer.router_id.map(|id| id.to_string()).as_deref()),
            state(peer),
            number(span(peer.since_secs)),
            number(hold_time(peer)),
            number(total(&peer.received)),
            number(total(&peer.sent)),
            number(total(&peer.flaps)),
            or_dash(peer.capabilities.join(", ")),
            or_dash(routes.join(", ")),
        ]
    };
    style.table(
        [
            "PEER",
            "AS",
            "ROUTER ID",
            "STATE",
            "SINCE",
            "HOLD",
            "IN",
            "OUT",
            "FLAPS",
            "CAPABILITIES",
            "ANNOUNCED",
        ],
        peers.iter().map(row).collect(),
    )
}

fn state(peer: &PeerStatus) -> Cell {
    verdict(&peer.state, peer.state == "Established")
}

fn hold_time(peer: &PeerStatus) -> String {
    peer.hold_time_secs
        .map_or_else(|| "-".to_string(), |secs| format!("{secs}s"))
}

fn total(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

fn or_dash(text: String) -> Cell {
    optional(Some(text.as_str()).filter(|text| !text.is_empty()))
}

fn reset(peer: &PeerStatus) -> Option<String> {
    let reason = peer.last_reset.as_ref()?;
    Some(format!("{}: last reset: {reason}\n", peer.address))
}
