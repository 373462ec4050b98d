//! Arista EOS.

use super::plan::{Neighbor, Plan};
use super::{PATHS, edge, maps, odd_port, title, word};
use crate::bgp::Family;

pub(super) fn text(plan: &Plan) -> String {
    let mut text = title(plan, "!") + "!\n";
    text += &maps::prefix_lists(plan);
    text += "!\nip community-list ANYLB-GSHUT permit 65535:0\n!\n";
    let drained = ["match community ANYLB-GSHUT", "set local-preference 0"];
    text += &maps::route_maps(plan, "!", Some(&drained));
    text += &format!(
        "router bgp {}\n no bgp default ipv4-unicast\n maximum-paths {PATHS} ecmp {PATHS}\n",
        plan.router_asn
    );
    if !plan.internal() {
        text += " bgp bestpath as-path multipath-relax\n";
    }
    for node in &plan.neighbors {
        text += &neighbor(plan, node);
    }
    for family in plan.families() {
        text += &address_family(plan, family);
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
    lines.extend(node.dials.then(|| "passive".to_owned()));
    lines.push(format!(
        "timers {} {}",
        plan.keepalive_secs(),
        plan.hold_time_secs
    ));
    lines.extend(
        node.ttl_security
            .map(|hops| format!("ttl maximum-hops {hops}")),
    );
    lines.extend(
        plan.graceful_restart
            .then(|| "graceful-restart-helper".to_owned()),
    );
    lines.extend(node.bfd.as_ref().map(|_| "bfd".to_owned()));
    // EOS counts what comes, of all families.
    let limit: usize = plan
        .families()
        .iter()
        .map(|family| plan.prefix_limit(*family))
        .sum();
    lines.push(format!("maximum-routes {limit}"));
    let own = |line: &String| format!(" neighbor {} {line}\n", node.name);
    let mut text: String = lines.iter().map(own).collect();
    if let Some(password) = &node.password {
        let line = |secret: &str| format!("neighbor {} password 0 {secret}", node.name);
        text += &format!(" {}\n", password.line("!", line));
    }
    if let Some(bfd) = &node.bfd {
        let ms = bfd.interval_ms;
        text += &format!(
            " ! Intervals of BFD are the interface's: `bfd interval {ms} min-rx {ms} multiplier {}`.\n",
            bfd.multiplier
        );
    }
    text.extend(odd_port(node, "!").map(|line| format!(" {line}\n")));
    text
}

fn address_family(plan: &Plan, family: Family) -> String {
    let (word, name) = (word(family), maps::name(family));
    let mut text = format!(" !\n address-family {word}\n");
    for node in &plan.neighbors {
        let address = &node.name;
        text += &format!(
            "  neighbor {address} activate\n  neighbor {address} route-map {name}-IN in\n  \
             neighbor {address} route-map ANYLB-OUT out\n"
        );
    }
    text
}
