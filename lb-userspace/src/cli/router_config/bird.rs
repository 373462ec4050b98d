//! BIRD 2.

use super::plan::{Neighbor, NeighborName, Plan};
use super::{PATHS, edge, title, word};
use crate::bgp::Family;

pub(super) fn text(plan: &Plan) -> String {
    let mut text = title(plan, "#");
    text += &format!(
        "# Include it in bird.conf. ECMP is the kernel's protocol: `merge paths on limit {PATHS};` in each `protocol kernel`.\n\n"
    );
    if plan.neighbors.iter().any(|node| node.bfd.is_some()) {
        text += "# BFD needs `protocol bfd { }`, which there may be once in bird.conf.\n\n";
    }
    for family in plan.families() {
        text += &filter(plan, family);
    }
    text += &advertisements(plan);
    for (number, node) in (1..).zip(&plan.neighbors) {
        text += &protocol(plan, number, node);
    }
    text + &edge::nftables(plan, "#")
}

fn filter(plan: &Plan, family: Family) -> String {
    let prefixes: Vec<String> = plan
        .prefixes_of(family)
        .iter()
        .map(ToString::to_string)
        .collect();
    format!(
        "# The VIPs, and nothing else.\nfilter anylb_{} {{\n  if net !~ [ {} ] then reject;\n  \
         # A node that is being drained asks to be avoided (RFC 8326).\n  \
         if (65535, 0) ~ bgp_community then bgp_local_pref = 0;\n  accept;\n}}\n\n",
        word(family),
        prefixes.join(", ")
    )
}

/// BIRD learns no neighbor from advertisements, but the node learns BIRD from its.
fn advertisements(plan: &Plan) -> String {
    let mut interfaces = String::new();
    for node in &plan.neighbors {
        if let NeighborName::Interface(name) = &node.name {
            interfaces += &format!(
                "  interface \"{name}\" {{ max ra interval 10; default lifetime 0; prefix ::/0 {{ skip; }}; }};\n"
            );
        }
    }
    match interfaces.is_empty() {
        true => interfaces,
        false => format!(
            "# BIRD learns no neighbor from router advertisements: it takes the one on the interface that connects, and tells the node by\n\
             # its own whom to dial. Where there is a `protocol radv` already, add the interface there.\n\
             protocol radv {{\n{interfaces}}}\n\n"
        ),
    }
}

fn protocol(plan: &Plan, number: usize, node: &Neighbor) -> String {
    let (hold, error_wait) = match plan.hold_time_secs {
        0 => (0, 9),
        secs => (secs, secs),
    };
    // BIRD wants it where BFD runs over several hops.
    let local = node.bfd.as_ref().and_then(|bfd| bfd.multihop);
    let local = local.map_or_else(String::new, |address| format!("{address} "));
    let mut lines = vec![
        format!("local {local}as {}", plan.router_asn),
        match &node.name {
            NeighborName::Address(address) => format!("neighbor {address} as {}", plan.node_asn),
            NeighborName::Interface(_) => format!("neighbor range fe80::/10 as {}", plan.node_asn),
        },
        match node.ttl_security {
            Some(hops @ 2..) => format!("multihop {hops}"),
            _ if !local.is_empty() => "multihop".to_owned(),
            Some(_) | None => "direct".to_owned(),
        },
    ];
    match &node.name {
        NeighborName::Interface(interface) => lines.push(format!("interface \"{interface}\"")),
        NeighborName::Address(_) => lines.extend(node.dials.then(|| "passive on".to_owned())),
    }
    lines.push(format!("hold time {hold}"));
    // 240 s and a minute to five unless told: after a flap the node would be turned away for so long.
    lines.push(format!("startup hold time {}", error_wait.max(3)));
    lines.push(format!("error wait time 1, {error_wait}"));
    lines.extend(
        plan.graceful_restart
            .then(|| "graceful restart aware".to_owned()),
    );
    lines.extend(node.ttl_security.map(|_| "ttl security on".to_owned()));
    lines.extend(node.bfd.as_ref().map(|bfd| {
        format!(
            "bfd {{ interval {} ms; multiplier {}; }}",
            bfd.interval_ms, bfd.multiplier
        )
    }));
    let mut text = format!("protocol bgp anylb{number} {{\n");
    text.extend(lines.iter().map(|line| format!("  {line};\n")));
    if let Some(password) = &node.password {
        text += &format!(
            "  {}\n",
            password.line("#", |secret| format!("password \"{secret}\";"))
        );
    }
    if let Some(port) = node.odd_port {
        text += &format!("  # The node dials port {port}: `local port {port};` listens there.\n");
    }
    for family in plan.families() {
        let name = word(family);
        let over_ipv6 = match (&node.name, family) {
            (NeighborName::Interface(_), Family::Ipv4) => " extended next hop on;",
            _ => "",
        };
        text += &format!(
            "  {name} {{ import filter anylb_{name}; export none;{over_ipv6} receive limit {} action disable; }};\n",
            plan.prefix_limit(family)
        );
    }
    text + "}\n\n"
}
