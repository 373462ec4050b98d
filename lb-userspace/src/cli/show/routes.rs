//! `anylb bgp routes`.

use comfy_table::Cell;

use super::super::output::{Style, number, optional, text};
use crate::status::{PeerRoutes, RouteList, SentRoute};

/// A table per peer; wide: LOCAL_PREF and link bandwidth as well.
pub(in super::super) fn table(list: &RouteList, style: Style) -> String {
    if list.peers.is_empty() {
        return "this node has no BGP peers\n".to_string();
    }
    let peers: Vec<String> = list.peers.iter().map(|peer| one(peer, style)).collect();
    peers.join("\n")
}

fn one(peer: &PeerRoutes, style: Style) -> String {
    let PeerRoutes {
        address,
        asn,
        state,
        routes,
    } = peer;
    if routes.is_empty() {
        return format!("{address}, AS {asn}, {state}: nothing is announced\n");
    }
    let table = match style.wide() {
        true => wide(routes, style),
        false => narrow(routes, style),
    };
    format!("{address}, AS {asn}, {state}:\n{table}")
}

fn narrow(routes: &[SentRoute], style: Style) -> String {
    let head = [
        text("PREFIX"),
        text("NEXT HOP"),
        number("MED"),
        text("AS PATH"),
        text("COMMUNITIES"),
    ];
    style.table(head, routes.iter().map(cells).collect())
}

fn wide(routes: &[SentRoute], style: Style) -> String {
    let head = [
        text("PREFIX"),
        text("NEXT HOP"),
        number("MED"),
        number("LOCAL PREF"),
        number("BANDWIDTH"),
        text("AS PATH"),
        text("COMMUNITIES"),
    ];
    let row = |route: &SentRoute| {
        let [prefix, next_hop, med, as_path, communities] = cells(route);
        let local_pref = or_dash(route.local_pref);
        let bandwidth = optional(route.link_bandwidth.as_deref());
        [
            prefix,
            next_hop,
            med,
            local_pref,
            bandwidth,
            as_path,
            communities,
        ]
    };
    style.table(head, routes.iter().map(row).collect())
}

fn cells(route: &SentRoute) -> [Cell; 5] {
    let path: Vec<String> = route.as_path.iter().map(ToString::to_string).collect();
    let communities = [&route.communities[..], &route.large_communities].concat();
    [
        Cell::new(route.prefix),
        Cell::new(route.next_hop),
        or_dash(route.med),
        optional(Some(&path.join(" "))),
        optional(Some(&communities.join(" "))),
    ]
}

fn or_dash(number: Option<u32>) -> Cell {
    optional(number.map(|number| number.to_string()).as_deref())
}
