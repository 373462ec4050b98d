//! `anylb status`.

use comfy_table::Cell;

use super::super::output::{Head, Style, notice, number, optional, span, text, verdict};
use super::service::attacks;
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
    let mut push = |length: usize, section: String| {
        if length > 0 {
            sections.push(section);
        }
    };
    push(node.interfaces.len(), interfaces(&node.interfaces, style));
    push(node.services.len(), services(&node.services, style));
    let attacks = attacks(&node.services);
    push(attacks.len(), attacks);
    push(node.pools.len(), pools(node, style));
    push(node.peers.len(), peers(&node.peers, style));
    let troubles = troubles(node);
    push(troubles.len(), troubles);
    sections.join("\n")
}

fn head(node: &NodeStatus, generation: u64, now_secs: u64) -> String {
    format!(
        "{}: {}, anylb {}, generation {generation}, up {}{}\n",
        node.node,
        match node.role.as_str() {
            "lb" => "LB node",
            "combined" => "LB node and backend",
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
        [text("INTERFACE"), text("MODE"), text("DATAPATH")],
        interfaces.iter().map(row).collect(),
    )
}

/// One line per service.
pub(super) fn services(services: &[ServiceStatus], style: Style) -> String {
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
            [text("SERVICE"), text("VIP"), text("PORTS")],
            services.iter().map(row).collect(),
        );
    }
    style.table(SERVICE_HEAD, services.iter().map(service_cells).collect())
}

pub(super) const SERVICE_HEAD: [Head; 7] = [
    text("SERVICE"),
    text("VIP"),
    text("PORTS"),
    text("POOL"),
    number("HEALTHY"),
    number("NEED"),
    text("ANNOUNCED"),
];

pub(super) fn service_cells(service: &ServiceStatus) -> [Cell; 7] {
    [
        Cell::new(&service.name),
        Cell::new(service.vip),
        Cell::new(ports(service)),
        optional(service.pool.as_ref().map(|pool| pool.0.as_str())),
        verdict(
            format!("{}/{}", service.healthy, service.configured),
            service.healthy >= service.need,
        ),
        Cell::new(service.need),
        announced(service),
    ]
}

/// The operator's own word is no alarm.
pub(super) fn announced(service: &ServiceStatus) -> Cell {
    match (service.announced, service.withdrawn) {
        (true, _) => verdict("yes", true),
        (false, true) => notice("withdrawn"),
        (false, false) => verdict("no", false),
    }
}

/// `80,443/tcp`.
pub(super) fn ports(service: &ServiceStatus) -> String {
    let ports: Vec<String> = service.ports.iter().map(ToString::to_string).collect();
    format!("{}/{}", ports.join(","), service.protocol)
}

fn pools(node: &NodeStatus, style: Style) -> String {
    let count = |pool: &PoolStatus, health| {
        pool.backends
            .iter()
            .filter(|backend| backend.health == health)
            .count()
    };
    let not_ready = |pool: &PoolStatus| {
        pool.backends
            .iter()
            .filter(|backend| backend.admin != AdminState::Ready)
            .count()
    };
    let down = |pool| match count(pool, Health::Down) {
        0 => Cell::new(0),
        some => Cell::new(some).fg(comfy_table::Color::Red),
    };
    let rows = node.pools.iter().map(|(name, pool)| {
        [
            Cell::new(name),
            Cell::new(pool.backends.len()),
            Cell::new(count(pool, Health::Up)),
            down(pool),
            Cell::new(not_ready(pool)),
            Cell::new(pool.remembered_inputs),
            Cell::new(shorten(&pool.table_hash, style)),
        ]
    });
    style.table(
        [
            text("POOL"),
            number("BACKENDS"),
            number("UP"),
            number("DOWN"),
            number("NOT READY"),
            number("REMEMBERED"),
            text("TABLE HASH"),
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
            Cell::new(peer.asn),
            verdict(&peer.state, peer.established()),
            Cell::new(span(peer.since_secs)),
            Cell::new(peer.announced.len()),
        ]
    };
    style.table(
        [
            text("PEER"),
            number("AS"),
            text("STATE"),
            number("SINCE"),
            number("ANNOUNCED"),
        ],
        peers.iter().map(row).collect(),
    )
}

fn troubles(node: &NodeStatus) -> String {
    let line = |trouble: &String| format!("! {trouble}\n");
    node.troubles().iter().map(line).collect()
}
