//! Juniper Junos, as `set` lines.

use super::plan::{Neighbor, Plan};
use super::{edge, odd_port, title};
use crate::bgp::Family;

pub(super) fn text(plan: &Plan) -> String {
    let mut text = title(plan, "#");
    text += "# In configuration mode: `load set terminal`.\n";
    let mut lines: Vec<String> = policy(plan);
    lines.extend(group(plan));
    for node in &plan.neighbors {
        lines.extend(neighbor(node));
    }
    text.extend(lines.iter().map(|line| format!("{line}\n")));
    text += &edge::why("the filter ANYLB-EDGE", "#");
    for family in Family::ALL {
        text.extend(filter(plan, family).iter().map(|line| format!("{line}\n")));
    }
    text
}

fn policy(plan: &Plan) -> Vec<String> {
    let set = |rest: String| format!("set policy-options {rest}");
    let prefixes = plan.prefixes.iter();
    let mut lines: Vec<String> = prefixes
        .map(|prefix| set(format!("prefix-list ANYLB {prefix}")))
        .collect();
    let statement = |rest: &str| set(format!("policy-statement {rest}"));
    lines.push(set("community ANYLB-GSHUT members 65535:0".to_owned()));
    lines.push("# A node that is being drained asks to be avoided (RFC 8326).".to_owned());
    lines.extend(
        [
            "ANYLB-IN term drained from prefix-list ANYLB",
            "ANYLB-IN term drained from community ANYLB-GSHUT",
            "ANYLB-IN term drained then local-preference 0",
            "ANYLB-IN term drained then accept",
            "ANYLB-IN term vips from prefix-list ANYLB",
            "ANYLB-IN term vips then accept",
            "ANYLB-IN term rest then reject",
            "ANYLB-OUT then reject",
            "ANYLB-ECMP then load-balance per-packet",
        ]
        .map(statement),
    );
    lines.push("set routing-options forwarding-table export ANYLB-ECMP".to_owned());
    lines
}

fn group(plan: &Plan) -> Vec<String> {
    let mut words = vec![match plan.internal() {
        true => "type internal".to_owned(),
        false => "type external".to_owned(),
    }];
    if !plan.internal() {
        words.push(format!("peer-as {}", plan.node_asn));
        words.push("multipath multiple-as".to_owned());
    } else {
        words.push("multipath".to_owned());
    }
    if plan.hold_time_secs > 0 {
        words.push(format!("hold-time {}", plan.hold_time_secs));
    }
    words.push("import ANYLB-IN".to_owned());
    words.push("export ANYLB-OUT".to_owned());
    for family in plan.families() {
        let name = inet(family);
        words.push(format!(
            "family {name} unicast prefix-limit maximum {}",
            plan.prefix_limit(family)
        ));
    }
    let mut lines: Vec<String> = words
        .into_iter()
        .map(|words| format!("set protocols bgp group ANYLB {words}"))
        .collect();
    if plan.graceful_restart {
        lines.push("# Junos helps with graceful restart unless `graceful-restart helper-disable` says otherwise.".to_owned());
    }
    lines
}

fn neighbor(node: &Neighbor) -> Vec<String> {
    let set = |rest: &str| format!("set protocols bgp group ANYLB neighbor {}{rest}", node.name);
    let mut lines = vec![set("")];
    lines.extend(node.dials.then(|| set(" passive")));
    match node.ttl_security {
        Some(1) => lines.push(set(" ttl 255")),
        Some(_) => lines.push(set(" multihop ttl 255")),
        None => {}
    }
    if node.ttl_security.is_some() {
        lines.push("# TTL security: of what comes to port 179 a filter on lo0 drops what has another TTL than the node's (`ttl-except`).".to_owned());
    }
    if let Some(bfd) = &node.bfd {
        let detection = |rest: String| set(&format!(" bfd-liveness-detection {rest}"));
        lines.push(detection(format!("minimum-interval {}", bfd.interval_ms)));
        lines.push(detection(format!("multiplier {}", bfd.multiplier)));
        let multihop = "session-mode multihop".to_owned();
        lines.extend(bfd.multihop.map(|_| detection(multihop)));
    }
    if let Some(password) = &node.password {
        lines.push(password.line("#", |secret| {
            set(&format!(" authentication-key \"{secret}\""))
        }));
    }
    lines.extend(odd_port(node, "#"));
    lines
}

fn inet(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "inet",
        Family::Ipv6 => "inet6",
    }
}

fn filter(plan: &Plan, family: Family) -> Vec<String> {
    let name = inet(family);
    let set = |rest: String| format!("set firewall family {name} filter ANYLB-EDGE term {rest}");
    let sources = edge::sources(plan, family);
    if sources.is_empty() {
        return Vec::new();
    }
    let mut lines: Vec<String> = sources
        .iter()
        .map(|source| set(format!("sources from source-address {source}")))
        .collect();
    lines.push(set("sources then discard".to_owned()));
    lines.push(set("rest then accept".to_owned()));
    lines
}
