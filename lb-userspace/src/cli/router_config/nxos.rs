//! Cisco NX-OS.

use super::plan::{Neighbor, Plan};
use super::{PATHS, edge, maps, odd_port, title, word};
use crate::bgp::Family;

pub(super) fn text(plan: &Plan) -> String {
    let mut text = title(plan, "!") + "!\nfeature bgp\n";
    if plan.neighbors.iter().any(|node| node.bfd.is_some()) {
        text += "feature bfd\n";
    }
    text += "!\n";
    text += &maps::prefix_lists(plan);
    text += "!\nip community-list standard ANYLB-GSHUT permit 65535:0\n!\n";
    let drained = ["match community ANYLB-GSHUT", "set local-preference 0"];
    text += &maps::route_maps(plan, "!", Some(&drained));
    text += &format!("router bgp {}\n", plan.router_asn);
    if !plan.internal() {
        text += "  bestpath as-path multipath-relax\n";
    }
    let paths = if plan.internal() {
        "maximum-paths ibgp"
    } else {
        "maximum-paths"
    };
    for family in plan.families() {
        text += &format!(
            "  address-family {} unicast\n    {paths} {PATHS}\n",
            word(family)
        );
    }
    for node in &plan.neighbors {
        text += &neighbor(plan, node);
    }
    text += "!\n";
    text += &edge::why("the filter ANYLB-EDGE", "!");
    for family in Family::ALL {
        text += &edge::access_list(plan, family, maps::word(family));
    }
    text
}

fn neighbor(plan: &Plan, node: &Neighbor) -> String {
    let mut lines = vec![format!("remote-as {}", plan.node_asn)];
    lines.extend(
        node.dials
            .then(|| "transport connection-mode passive".to_owned()),
    );
    lines.push(format!(
        "timers {} {}",
        plan.keepalive_secs(),
        plan.hold_time_secs
    ));
    if let Some(hops) = node.ttl_security {
        // NX-OS has it for eBGP alone.
        let comment = if plan.internal() { "! " } else { "" };
        lines.push(format!("{comment}ttl-security hops {hops}"));
    }
    if let Some(bfd) = &node.bfd {
        let ms = bfd.interval_ms;
        lines.push(format!(
            "! Intervals of BFD are the interface's: `bfd interval {ms} min_rx {ms} multiplier {}`.",
            bfd.multiplier
        ));
        lines.push("bfd".to_owned());
    }
    if let Some(password) = &node.password {
        lines.push(password.line("!", |secret| format!("password 0 {secret}")));
    }
    if plan.graceful_restart {
        lines.push("! NX-OS helps with graceful restart unless `no graceful-restart-helper` says otherwise.".to_owned());
    }
    lines.extend(odd_port(node, "!"));
    for family in plan.families() {
        let name = maps::name(family);
        lines.push(format!("address-family {} unicast", word(family)));
        lines.push(format!("  route-map {name}-IN in"));
        lines.push("  route-map ANYLB-OUT out".to_owned());
        lines.push(format!("  maximum-prefix {}", plan.prefix_limit(family)));
    }
    let lines = lines.iter().map(|line| format!("    {line}\n"));
    format!("  neighbor {}\n{}", node.name, lines.collect::<String>())
}
