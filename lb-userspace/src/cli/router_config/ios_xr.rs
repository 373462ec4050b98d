//! Cisco IOS XR.

use super::plan::{Neighbor, Plan};
use super::{PATHS, edge, maps, odd_port, title, word};
use crate::bgp::Family;

pub(super) fn text(plan: &Plan) -> String {
    let mut text = title(plan, "!") + "!\n";
    for family in plan.families() {
        text += &policy(plan, family);
    }
    text += "! The nodes drop what they are told, so that telling them is waste.\n\
             route-policy ANYLB-OUT\n  drop\nend-policy\n!\n";
    text += &format!("router bgp {}\n", plan.router_asn);
    if plan.graceful_restart {
        text += " bgp graceful-restart\n";
    }
    if !plan.internal() {
        text += " bgp bestpath as-path multipath-relax\n";
    }
    let paths = if plan.internal() { "ibgp" } else { "ebgp" };
    for family in plan.families() {
        text += &format!(
            " address-family {} unicast\n  maximum-paths {paths} {PATHS}\n !\n",
            word(family)
        );
    }
    for node in &plan.neighbors {
        text += &neighbor(plan, node);
    }
    text += "!\n";
    text += &edge::why("the filter ANYLB-EDGE", "!");
    for family in Family::ALL {
        text += &edge::access_list(plan, family, word(family));
        text += "!\n";
    }
    text
}

fn policy(plan: &Plan, family: Family) -> String {
    let name = maps::name(family);
    let prefixes: Vec<String> = plan
        .prefixes_of(family)
        .iter()
        .map(|prefix| format!("  {prefix}"))
        .collect();
    format!(
        "prefix-set {name}\n{}\nend-set\n!\nroute-policy {name}-IN\n  if destination in {name} then\n    \
         # A node that is being drained asks to be avoided (RFC 8326).\n    \
         if community matches-any (65535:0) then\n      set local-preference 0\n    endif\n    pass\n  else\n    drop\n  \
         endif\nend-policy\n!\n",
        prefixes.join(",\n")
    )
}

fn neighbor(plan: &Plan, node: &Neighbor) -> String {
    let mut lines = vec![
        format!("remote-as {}", plan.node_asn),
        format!("timers {} {}", plan.keepalive_secs(), plan.hold_time_secs),
    ];
    lines.extend(
        node.dials
            .then(|| "session-open-mode passive-only".to_owned()),
    );
    match node.ttl_security {
        Some(1) => lines.push("ttl-security".to_owned()),
        Some(_) => {
            lines.push("! The node drops what has passed too many hops; IOS XR itself checks neighbours on the link alone.".to_owned());
            lines.push("ebgp-multihop 255".to_owned());
        }
        None => {}
    }
    if let Some(bfd) = &node.bfd {
        lines.push("bfd fast-detect".to_owned());
        lines.push(format!("bfd minimum-interval {}", bfd.interval_ms));
        lines.push(format!("bfd multiplier {}", bfd.multiplier));
    }
    if let Some(password) = &node.password {
        lines.push(password.line("!", |secret| format!("password clear {secret}")));
    }
    lines.extend(odd_port(node, "!"));
    for family in plan.families() {
        let name = maps::name(family);
        lines.push(format!("address-family {} unicast", word(family)));
        lines.push(format!(" route-policy {name}-IN in"));
        lines.push(" route-policy ANYLB-OUT out".to_owned());
        lines.push(format!(" maximum-prefix {}", plan.prefix_limit(family)));
        lines.push("!".to_owned());
    }
    let lines = lines.iter().map(|line| format!("  {line}\n"));
    format!(" neighbor {}\n{} !\n", node.name, lines.collect::<String>())
}
