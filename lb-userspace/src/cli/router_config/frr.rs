//! FRRouting.

use super::plan::{Bfd, Neighbor, NeighborName, Plan};
use super::{PATHS, edge, maps, title, word};
use crate::bgp::Family;

pub(super) fn text(plan: &Plan) -> String {
    let mut text = title(plan, "!");
    text += "! Add it to a running router with `vtysh -f FILE`. Without nexthop objects in the kernel FRR 8 loses a member of an ECMP\n\
             ! route when its link flaps, hence the next line.\n\
             no zebra nexthop kernel enable\n!\n";
    text += &maps::prefix_lists(plan);
    text += "!\n";
    text += &maps::route_maps(plan, "!", None);
    text += &format!(
        "router bgp {}\n no bgp default ipv4-unicast\n",
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
    text += "exit\n!\n";
    text += &bfd_profiles(plan);
    text + &edge::nftables(plan, "!")
}

/// One for each pair of interval and multiplier.
fn bfd_profiles(plan: &Plan) -> String {
    let mut profiles: Vec<String> = plan
        .neighbors
        .iter()
        .filter_map(|node| node.bfd.as_ref())
        .map(|bfd| {
            let ms = bfd.interval_ms;
            format!(
                " profile {}\n  detect-multiplier {}\n  receive-interval {ms}\n  transmit-interval {ms}\n exit\n",
                profile(bfd),
                bfd.multiplier
            )
        })
        .collect();
    profiles.sort_unstable();
    profiles.dedup();
    match profiles.is_empty() {
        true => String::new(),
        false => format!("bfd\n{}exit\n!\n", profiles.concat()),
    }
}

fn profile(bfd: &Bfd) -> String {
    format!("anylb-{}x{}", bfd.interval_ms, bfd.multiplier)
}

fn neighbor(plan: &Plan, node: &Neighbor) -> String {
    let address = &node.name;
    let kind = match address {
        NeighborName::Address(_) => "remote-as",
        NeighborName::Interface(_) => "interface remote-as",
    };
    let mut lines = vec![format!("neighbor {address} {kind} {}", plan.node_asn)];
    lines.extend(node.dials.then(|| format!("neighbor {address} passive")));
    lines.push(format!(
        "neighbor {address} timers {} {}",
        plan.keepalive_secs(),
        plan.hold_time_secs
    ));
    if let Some(hops) = node.ttl_security {
        // FRR has it for eBGP alone.
        let comment = if plan.internal() { "! " } else { "" };
        lines.push(format!(
            "{comment}neighbor {address} ttl-security hops {hops}"
        ));
    }
    if plan.graceful_restart {
        lines.push(format!("neighbor {address} graceful-restart-helper"));
    }
    if let Some(password) = &node.password {
        lines.push(password.line("!", |secret| {
            format!("neighbor {address} password {secret}")
        }));
    }
    if let Some(bfd) = &node.bfd {
        lines.push(format!("neighbor {address} bfd profile {}", profile(bfd)));
    }
    if let Some(port) = node.odd_port {
        lines.push(format!(
            "! The node dials port {port}: bgpd takes it with `-p {port}`."
        ));
    }
    lines.iter().map(|line| format!(" {line}\n")).collect()
}

fn address_family(plan: &Plan, family: Family) -> String {
    let (word, name) = (word(family), maps::name(family));
    let paths = if plan.internal() {
        "maximum-paths ibgp"
    } else {
        "maximum-paths"
    };
    let mut text = format!(" !\n address-family {word} unicast\n  {paths} {PATHS}\n");
    for node in &plan.neighbors {
        let address = &node.name;
        text += &format!(
            "  neighbor {address} activate\n  neighbor {address} route-map {name}-IN in\n  \
             neighbor {address} route-map ANYLB-OUT out\n  neighbor {address} maximum-prefix {}\n",
            plan.prefix_limit(family)
        );
    }
    text + " exit-address-family\n"
}
