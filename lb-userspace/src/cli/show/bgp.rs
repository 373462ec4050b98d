//! `anylb bgp peers`.

use std::collections::BTreeMap;

use comfy_table::Cell;

use super::super::output::{Style, number, optional, plural, span, text, verdict};
use crate::status::{BfdStatus, PeerList, PeerStatus, Strangers};

/// One line per session, and below what was negotiated and what went wrong; wide: capabilities and routes in the line.
pub(in super::super) fn table(list: &PeerList, style: Style) -> String {
    if list.peers.is_empty() {
        return "this node has no BGP peers\n".to_string();
    }
    let sessions = match style.wide() {
        true => wide(&list.peers, style),
        false => narrow(&list.peers, style),
    };
    let notes: Vec<_> = list
        .peers
        .iter()
        .flat_map(|peer| notes(peer, style))
        .collect();
    let strangers = strangers(&list.strangers);
    match notes.is_empty() && strangers.is_empty() {
        true => sessions,
        false => format!("{sessions}\n{}{strangers}", style.rows(notes)),
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

/// What is to be known of a session beside the numbers: peer, subject, words.
fn notes(peer: &PeerStatus, style: Style) -> Vec<[String; 3]> {
    let negotiated = peer.capabilities.join(", ");
    let negotiated = (!negotiated.is_empty() && !style.wide()).then_some(negotiated);
    let down = peer.shutdown.is_some().then(|| peer.obstacle()).flatten();
    [
        ("negotiated", negotiated),
        ("down", down),
        ("BFD", peer.bfd.as_ref().map(bfd)),
        ("last reset", peer.last_reset.clone()),
        ("last attempt", peer.last_failure.clone()),
    ]
    .into_iter()
    .filter_map(|(what, words)| Some([peer.address.to_string(), what.to_string(), words?]))
    .collect()
}

/// BFD in one line: for how long it is up, and by what it goes down; or why it is not up.
pub(super) fn bfd(bfd: &BfdStatus) -> String {
    let millis = |time: Option<u64>| time.map_or("-".to_owned(), |ms| format!("{ms} ms"));
    bfd.obstacle().unwrap_or_else(|| {
        format!(
            "Up for {}, sends every {}, down after {}",
            span(bfd.since_secs),
            millis(bfd.transmit_interval_ms),
            millis(bfd.detection_time_ms)
        )
    })
}

/// Who came and is no peer.
fn strangers(strangers: &Strangers) -> String {
    match strangers.last {
        Some(last) => format!(
            "! {} refused from addresses of no peer, the last from {last}\n",
            plural(strangers.connections, "connection")
        ),
        None => String::new(),
    }
}
