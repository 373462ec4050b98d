//! What must not come in from outside: packets that say they are from a VIP or a node.

use std::net::IpAddr;

use ipnet::IpNet;

use super::plan::Plan;
use crate::bgp::Family;

/// Why there is a filter, and `first` what it is, in comments.
pub(super) fn why(first: &str, comment: &str) -> String {
    format!(
        "{comment} The edge: {first},\n{comment} on the interfaces where the internet comes in, of every router that has one. \
         Backends trust what comes from a\n{comment} node, and nobody outside is a VIP. Leave the VIPs out where clients of this \
         site may be served by another one.\n"
    )
}

/// Sources of one family to drop: VIPs, then nodes.
pub(super) fn sources(plan: &Plan, family: Family) -> Vec<IpNet> {
    let mut sources = plan.prefixes_of(family);
    let nodes = plan.neighbors.iter().filter_map(|node| node.name.address());
    let nodes = nodes.map(IpNet::from);
    sources.extend(nodes.filter(|node| Family::of(node) == family));
    let mut seen = Vec::new();
    for source in sources {
        if !seen.contains(&source) {
            seen.push(source);
        }
    }
    seen
}

/// The same for nftables, each line a comment of the router's file.
pub(super) fn nftables(plan: &Plan, comment: &str) -> String {
    let mut lines = vec![
        "table inet anylb_edge {".to_owned(),
        "  chain sources {".to_owned(),
        "    type filter hook prerouting priority raw; policy accept;".to_owned(),
    ];
    for (family, name) in [(Family::Ipv4, "ip"), (Family::Ipv6, "ip6")] {
        let sources: Vec<String> = sources(plan, family).iter().map(written).collect();
        if !sources.is_empty() {
            lines.push(format!(
                "    iifname \"upstream*\" {name} saddr {{ {} }} drop",
                sources.join(", ")
            ));
        }
    }
    lines.extend(["  }".to_owned(), "}".to_owned()]);
    let lines = lines.iter().map(|line| format!("{comment} {line}\n"));
    why("a file for nftables", comment) + &lines.collect::<String>()
}

/// An access list as EOS, NX-OS and IOS XR have it: first what is dropped. `word` is what the platform calls the family.
pub(super) fn access_list(plan: &Plan, family: Family, word: &str) -> String {
    let mut text = format!("{word} access-list ANYLB-EDGE\n");
    let sources = sources(plan, family);
    for (number, source) in (1..).zip(&sources) {
        text += &format!(" {} deny {word} {} any\n", 10 * number, endpoint(source));
    }
    text += &format!(" {} permit {word} any any\n", 10 * (sources.len() + 1));
    text
}

/// `host A` or `A/L`.
fn endpoint(source: &IpNet) -> String {
    match single(source) {
        Some(address) => format!("host {address}"),
        None => source.to_string(),
    }
}

fn written(source: &IpNet) -> String {
    single(source).map_or_else(|| source.to_string(), |address| address.to_string())
}

fn single(source: &IpNet) -> Option<IpAddr> {
    (source.prefix_len() == source.max_prefix_len()).then(|| source.addr())
}
