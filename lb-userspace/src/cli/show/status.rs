//! `anylb status`.

use comfy_table::Cell;

use super::super::output::{Style, number, optional, span, verdict};
use crate::model::AdminState;
use crate::status::{Health, InterfaceStatus, NodeStatus, PeerStatus, PoolStatus, ServiceStatus};

/// The node in sections, each only if there is something in it; what is wrong comes last, nearest to the prompt.
pub(in super::super) fn table(
    node: &NodeStatus,
    generation: u64,
    now_secs: u64,
    style: Style,
) -> String {
    let mut sections = vec![head(node, generation, now_secs)];
    let mut push = |lines: usize, section: String| {
        if lines > 0 {
            sections.push(section);
        }
    };
    push(node.interfaces.len(), interfaces(&node.interfaces, style));
    push(node.services.len(), services(&node.services, style));
    push(node.pools.len(), pools(node, style));
    push(node.peers.len(), peers(&node.peers, style));
    let problems = problems(node);
    push(problems.lines().count(), problems);
    sections.join("\n")
}

fn head(node: &NodeStatus, generation: u64, now_secs: u64) -> String {
    format!(
        "{}: {}, anylb {}, generation {generation}, up {}{}\n",
        node.node,
        match node.role.as_str() {
            "lb" => "LB node",
            other => other,
        },
        node.version,
        span(now_secs.saturating_sub(node.start_time_secs)),
        if node.adopted {
            ", adopted a running datapath"
        } else {
            ""
        },
    )
}

fn interfaces(interfaces: &[InterfaceStatus], style: Style) -> String {
    let row = |interface: &InterfaceStatus| {
        [
            Cell::new(&interface.name),
            Cell::new(&interface.mode),
            match interface.attached {
                true => verdict("attached", true),
                false => verdict("not attached", false),
            },
        ]
    };
    style.table(
        ["INTERFACE", "MODE", "DATAPATH"],
        interfaces.iter().map(row).collect(),
    )
}

fn services(services: &[ServiceStatus], style: Style) -> String {
    // On a backend there is nothing to balance or announce, only to accept.
    if services.iter().all(|service| service.pool.is_none()) {
        let row = |service: &ServiceStatus| {
            [
                Cell::new(&service.name),
                Cell::new(service.vip),
                Cell::new(ports(service)),
            ]
        };
        return style.table(
            ["SERVICE", "VIP", "PORTS"],
            services.iter().map(row).collect(),
        );
    }
    let row = |service: &ServiceStatus| {
        [
            Cell::new(&service.name),
            Cell::new(service.vip),
            Cell::new(ports(service)),
            optional(service.pool.as_ref().map(|pool| pool.0.as_str())),
            verdict(
                format!("{}/{}", service.healthy, service.configured),
                service.healthy >= service.need,
            ),
            number(service.need),
            match service.announced {
                true => verdict("yes", true),
                false => verdict("no", false),
            },
        ]
    };
    style.table(
        [
            "SERVICE",
            "VIP",
            "PORTS",
            "POOL",
            "HEALTHY",
            "NEED",
            "ANNOUNCED",
        ],
        services.iter().map(row).collect(),
    )
}

fn ports(service: &ServiceStatus) -> String {
    let ports: Vec<String> = service.ports.iter().map(u16::to_string).collect();
    format!("{}/{}", ports.join(","), service.protocol)
}

fn pools(node: &NodeStatus, style: Style) -> String {
    let count = |pool: &PoolStatus, health| {
        pool.backends
            .iter()
            .filter(|backend| backend.health == health)
            .count()
    };
    let draining = |pool: &PoolStatus| {
        pool.backends
            .iter()
            .filter(|backend| backend.admin == AdminState::Draining)
            .count()
    };
    let down = |pool| match count(pool, Health::Down) {
        0 => number(0),
        some => number(some).fg(comfy_table::Color::Red),
    };
    let rows = node.pools.iter().map(|(name, pool)| {
        [
            Cell::new(name),
            number(pool.backends.len()),
            number(count(pool, Health::Up)),
            down(pool),
            number(draining(pool)),
            number(pool.remembered_inputs),
            Cell::new(shorten(&pool.table_hash, style)),
        ]
    });
    style.table(
        [
            "POOL",
            "BACKENDS",
            "UP",
            "DOWN",
            "DRAINING",
            "REMEMBERED",
            "TABLE HASH",
        ],
        rows.collect(),
    )
}

/// Enough of a digest to see by eye that two nodes agree.
fn shorten(hash: &str, style: Style) -> &str {
    const DIGITS: usize = 16;
    match style.wide() {
        true => hash,
        false => hash.get(..DIGITS).unwrap_or(hash),
    }
}

fn peers(peers: &[PeerStatus], style: Style) -> String {
    let row = |peer: &PeerStatus| {
        [
            Cell::new(peer.address),
            number(peer.asn),
            verdict(&peer.state, peer.state == "Established"),
            number(span(peer.since_secs)),
            number(peer.announced.len()),
        ]
    };
    style.table(
        ["PEER", "AS", "STATE", "SINCE", "ANNOUNCED"],
        peers.iter().map(row).collect(),
    )
}

fn problems(node: &NodeStatus) -> String {
    let mut lines: Vec<String> = node.not_serving();
    lines.extend(node.problems.iter().cloned());
    lines.iter().map(|line| format!("! {line}\n")).collect()
}
