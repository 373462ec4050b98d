//! LB node and backend on one box: what both tell, as one. Pure.

use crate::status::{BpfState, Compared, Counters, NodeStatus, Verification};

/// Adds what the backend has to say to the LB node's status.
pub fn status(node: &mut NodeStatus, backend: &NodeStatus) {
    node.role = "combined".to_owned();
    node.problems.extend(backend.problems.iter().cloned());
}

/// The LB node's counters with those of the backend behind it. Each packet is counted where it ends: what the LB node's program
/// has handed on is told by the backend's.
pub fn counters(mut node: Counters, backend: Counters) -> Counters {
    const PROBE: &str = "probe";
    node.exits
        .retain(|exit| exit.name == PROBE || !matches!(exit.action.as_str(), "pass" | "local"));
    for exit in backend.exits {
        let same = |other: &&mut crate::status::ExitCount| other.name == exit.name;
        match node.exits.iter_mut().find(same) {
            Some(known) => known.packets += exit.packets,
            None => node.exits.push(exit),
        }
    }
    Counters {
        vip_connections: backend.vip_connections,
        second_chance: backend.second_chance,
        ..node
    }
}

/// Maps and programs of both, in the order in which a packet meets them. The two have maps of the same name.
pub fn bpf(node: BpfState, backend: BpfState) -> BpfState {
    let maps = backend.maps.into_iter().map(|mut map| {
        map.name = format!("backend {}", map.name);
        map
    });
    BpfState {
        maps: node.maps.into_iter().chain(maps).collect(),
        programs: [node.programs, backend.programs].concat(),
        stats_enabled: node.stats_enabled,
    }
}

/// What was compared in both, and all that differs.
pub fn verification(node: Verification, backend: Verification) -> Verification {
    let (a, b) = (node.compared, backend.compared);
    Verification {
        compared: Compared {
            addresses: a.addresses + b.addresses,
            services: a.services + b.services,
            backends: a.backends + b.backends,
            tables: a.tables + b.tables,
            probes: a.probes + b.probes,
        },
        differences: [node.differences, backend.differences].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{ExitCount, SecondChanceCount};

    fn exit(name: &str, action: &str, packets: u64) -> ExitCount {
        ExitCount {
            name: name.into(),
            action: action.into(),
            packets,
            advice: None,
        }
    }

    #[test]
    fn every_packet_counts_where_it_ends() {
        let node = Counters {
            exits: vec![
                exit("not_vip", "pass", 100),
                exit("probe", "pass", 7),
                exit("sent", "tx", 20),
                exit("malformed", "drop", 1),
                exit("local", "local", 30),
                exit("no_local_backend", "drop", 0),
            ],
            ..Counters::default()
        };
        let backend = Counters {
            exits: vec![
                exit("not_tunnel", "pass", 90),
                exit("accepted_socket", "pass", 35),
                exit("forwarded_ipv4", "tx", 3),
                exit("malformed", "drop", 2),
            ],
            second_chance: Some(SecondChanceCount::default()),
            ..Counters::default()
        };
        let all = counters(node, backend);
        let told: Vec<_> = all
            .exits
            .iter()
            .map(|exit| (exit.name.as_str(), exit.packets))
            .collect();
        assert_eq!(
            told,
            [
                ("probe", 7),
                ("sent", 20),
                ("malformed", 3),
                ("no_local_backend", 0),
                ("not_tunnel", 90),
                ("accepted_socket", 35),
                ("forwarded_ipv4", 3),
            ]
        );
        assert!(all.second_chance.is_some());
    }
}
