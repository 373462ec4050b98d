//! Prefix lists and route maps, for FRR, EOS and NX-OS.

use super::plan::Plan;
use crate::bgp::Family;

/// Name of the list and of the map in of a family.
pub(super) fn name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ANYLB-V4",
        Family::Ipv6 => "ANYLB-V6",
    }
}

/// `ip` or `ipv6`.
pub(super) fn word(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ip",
        Family::Ipv6 => "ipv6",
    }
}

/// Exactly the VIPs: a line without `le` or `ge` takes this length alone.
pub(super) fn prefix_lists(plan: &Plan) -> String {
    let mut text = String::new();
    for family in plan.families() {
        for (number, prefix) in (1..).zip(plan.prefixes_of(family)) {
            text += &format!(
                "{} prefix-list {} seq {} permit {prefix}\n",
                word(family),
                name(family),
                10 * number
            );
        }
    }
    text
}

/// A map in for every family, and one out that lets nothing pass. `drained`: lines that find and avoid routes with the
/// community of graceful shutdown, where the router does not do so by itself.
pub(super) fn route_maps(plan: &Plan, comment: &str, drained: Option<&[&str]>) -> String {
    let mut text = String::new();
    for family in plan.families() {
        let (word, name) = (word(family), name(family));
        let address = format!(" match {word} address prefix-list {name}\n");
        if let Some(lines) = drained {
            text +=
                &format!("{comment} A node that is being drained asks to be avoided (RFC 8326).\n");
            text += &format!("route-map {name}-IN permit 10\n{address}");
            text.extend(lines.iter().map(|line| format!(" {line}\n")));
        }
        text += &format!("route-map {name}-IN permit 20\n{address}{comment}\n");
    }
    text += &format!(
        "{comment} The nodes drop what they are told, so that telling them is waste.\nroute-map ANYLB-OUT deny 10\n{comment}\n"
    );
    text
}
