//! `anylb bgp peers`.

use std::collections::BTreeMap;

use comfy_table::Cell;

use super::super::output::{Style, number, optional, plural, span, text, verdict};
use crate::status::{BfdStatus, EndedMember, PeerList, PeerStatus, RangeStatus};

/// One line per session, and below what was negotiated and what went wrong; wide: capabilities and routes in the line.
pub(in super::super) fn table(list: &PeerList, style: Style) -> String {
    if list.peers.is_empty() && list.ranges.is_empty() {
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
        .chain(list.ranges.iter().map(range))
        .chain(strangers(list))
        .collect();
    match notes.is_empty() {
        true => sessions,
        false => format!("{sessions}\n{}", style.rows(notes)),
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

/// Peers that a prefix alone is known of, in one line.
fn range(range: &RangeStatus) -> [String; 3] {
    let RangeStatus {
        asn,
        members,
        max_peers,
        ..
    } = range;
    let mut words = format!("{members} of {max_peers} peers, AS {asn}");
    if let Some(last) = range.last_refused {
        let refused = plural(range.refused, "connection");
        words += &format!("; {refused} refused for want of room, the last from {last}");
    }
    if let Some(EndedMember { address, reason }) = &range.last_ended {
        words += &format!("; the last to go was {address}: {reason}");
    }
    match range.shutdown.as_deref() {
        Some("") => words += "; shut down by the operator",
        Some(message) => words += &format!("; shut down by the operator: {message}"),
        None => {}
    }
    [range.range.to_string(), "range".to_owned(), words]
}

/// Who came and is no peer, and who is.
fn strangers(list: &PeerList) -> Option<[String; 3]> {
    let last = list.strangers.last?;
    let named = list.peers.iter().filter(|peer| peer.range.is_none());
    let named = named.map(|peer| peer.address.to_string());
    let ranges = list.ranges.iter().map(|range| range.range.to_string());
    let expected: Vec<String> = named.chain(ranges).collect();
    let words = format!(
        "the last of {} that were refused, from addresses of no peer; expected: {}",
        plural(list.strangers.connections, "connection"),
        expected.join(", ")
    );
    Some([last.to_string(), "no peer".to_owned(), words])
}
