//! What the agent tells. Pure.

use std::collections::BTreeMap;

use lb_common::abi::ExitCount;
use lb_common::backend::Exit;
use lb_common::exit::Action;

use super::host::Facts;
use super::image::Wanted;
use super::kernel_types::Offsets;
use super::role::{self, Role};
use crate::status::{
    self, Count, Counters, InterfaceStatus, NodeStatus, SecondChanceCount, ServiceLimits,
    ServiceStatus,
};

const ETHERNET_BYTES: u64 = 14;

/// What the status is made of.
pub struct Scene<'a> {
    /// The configuration in force.
    pub role: &'a Role,
    /// What the datapath does.
    pub wanted: &'a Wanted,
    /// What the host was like.
    pub facts: &'a Facts,
    /// What is known of the kernel.
    pub offsets: Offsets,
    /// The programs hang on the interface.
    pub attached: bool,
    /// How the XDP program hangs there.
    pub mode: &'static str,
    /// What went wrong last, and what to do.
    pub failures: &'a [String],
}

/// Fields that the role's state decides; the others stay as they are.
pub fn refresh(status: &mut NodeStatus, scene: &Scene<'_>) {
    status.interfaces = vec![InterfaceStatus {
        name: scene.role.interface.clone(),
        mode: scene.mode.to_owned(),
        attached: scene.attached,
    }];
    let services = scene.role.settings.services.iter();
    status.services = services
        .map(|service| ServiceStatus {
            name: service.name.clone(),
            vip: service.vip,
            protocol: service.protocol,
            ports: service.ports.clone(),
            pool: None,
            healthy: 0,
            configured: 0,
            need: 0,
            announced: false,
            withdrawn: false,
            reason: None,
            limits: ServiceLimits::default(),
        })
        .collect();
    status.problems = problems(scene);
}

fn problems(scene: &Scene<'_>) -> Vec<String> {
    let mut problems = scene.failures.to_vec();
    let services = scene.role.settings.services.iter();
    for service in services.filter(|service| scene.role.serves(service, &scene.wanted.own)) {
        let blind =
            role::endpoints(service).filter(|endpoint| scene.wanted.blind.contains(endpoint));
        problems.extend(blind.map(|endpoint| {
            format!(
                "{}: nothing has listened on {} port {} in this network namespace, so packets are accepted unseen: start \
                 the server, or run the backend agent in the server's network namespace",
                service.name, endpoint.vip, endpoint.ports
            )
        }));
    }
    if scene.facts.rp_filter == 1 {
        problems.push(format!(
            "{}: the reverse path filter is strict and may drop decapsulated packets: set net.ipv4.conf.all.rp_filter and \
             net.ipv4.conf.{}.rp_filter to 2 or 0",
            scene.role.interface, scene.role.interface
        ));
    }
    if scene.offsets.sent_isn == 0 {
        problems.push(
            "the kernel has no type information (/sys/kernel/btf/vmlinux): a handshake that two backends have answered is \
             accepted by the first; use a kernel with CONFIG_DEBUG_INFO_BTF"
                .to_owned(),
        );
    }
    problems
}

/// Counters of the datapath, for metrics and JSON.
pub fn counters(
    interface: &str,
    exits: &[(Exit, ExitCount)],
    wanted: &Wanted,
    connections: Option<BTreeMap<String, u64>>,
) -> Counters {
    let received = exits
        .iter()
        .fold(Count::default(), |sum, (_, count)| Count {
            packets: sum.packets + count.packets,
            bytes: sum.bytes + count.bytes.saturating_sub(ETHERNET_BYTES * count.packets),
        });
    let packets_by = |name: fn(Exit) -> Option<&'static str>| -> BTreeMap<String, u64> {
        let named = exits
            .iter()
            .filter_map(|(exit, count)| Some((name(*exit)?.to_owned(), count.packets)));
        named.collect()
    };
    let accepted = packets_by(Exit::accepted);
    Counters {
        received: BTreeMap::from([(interface.to_owned(), received)]),
        exits: exits
            .iter()
            .map(|(exit, count)| exit_count(*exit, count))
            .collect(),
        vip_connections: connections,
        second_chance: Some(SecondChanceCount {
            decapsulated: accepted.values().sum(),
            forwarded: packets_by(Exit::forwarded),
            accepted,
            blind: wanted.blind.len() as u64,
        }),
        ..Counters::default()
    }
}

fn exit_count(exit: Exit, count: &ExitCount) -> status::ExitCount {
    let action = match exit.action() {
        Action::Pass => "pass",
        Action::Drop => "drop",
        Action::Transmit => "tx",
        Action::Redirect => "redirect",
        Action::Local => "local",
    };
    status::ExitCount {
        name: exit.name().to_owned(),
        action: action.to_owned(),
        packets: count.packets,
        advice: (exit.action() == Action::Drop).then(|| exit.advice().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::image::Endpoint;
    use super::super::role::tests::{facts, role};
    use super::*;

    fn problems_of(change: impl FnOnce(&mut Facts, &mut Offsets, &mut Wanted)) -> Vec<String> {
        let role = role("", "\"auto\"");
        let mut facts = facts();
        let mut offsets = Offsets {
            sent_isn: 1,
            time_wait_substate: 1,
        };
        let mut wanted = role.wanted(&facts, &role.endpoints(), 250).unwrap();
        change(&mut facts, &mut offsets, &mut wanted);
        let mut status = NodeStatus::default();
        let scene = Scene {
            role: &role,
            wanted: &wanted,
            facts: &facts,
            offsets,
            mode: "native",
            attached: true,
            failures: &[],
        };
        refresh(&mut status, &scene);
        status.problems
    }

    #[test]
    fn each_problem_is_told_once_and_only_where_it_is() {
        assert!(problems_of(|_, _, _| {}).is_empty());
        let blind = problems_of(|_, _, wanted| {
            wanted.blind = [Endpoint::tcp("198.51.100.10:443".parse().unwrap())].into();
        });
        assert!(
            blind.len() == 1 && blind[0].contains("198.51.100.10 port 443"),
            "{blind:?}"
        );
        let strict = problems_of(|facts, _, _| facts.rp_filter = 1);
        assert!(
            strict.len() == 1 && strict[0].contains("rp_filter"),
            "{strict:?}"
        );
        let unknown = problems_of(|_, offsets, _| *offsets = Offsets::default());
        assert!(
            unknown.len() == 1 && unknown[0].contains("BTF"),
            "{unknown:?}"
        );
    }

    #[test]
    fn counters_by_reason_and_family() {
        let count = |packets| ExitCount {
            packets,
            bytes: packets * 114,
        };
        let exits = [
            (Exit::NotTunnel, count(1)),
            (Exit::AcceptedSyn, count(2)),
            (Exit::AcceptedSocket, count(3)),
            (Exit::ForwardedV6, count(4)),
            (Exit::Malformed, count(5)),
        ];
        let counters = counters("eth0", &exits, &Wanted::default(), None);
        assert_eq!(
            counters.received["eth0"],
            Count {
                packets: 15,
                bytes: 1500
            }
        );
        let chance = counters.second_chance.unwrap();
        assert_eq!(chance.decapsulated, 5);
        assert_eq!(
            chance.accepted,
            BTreeMap::from([("syn".into(), 2), ("socket".into(), 3)])
        );
        assert_eq!(chance.forwarded, BTreeMap::from([("ipv6".into(), 4)]));
        let malformed = counters
            .exits
            .iter()
            .find(|exit| exit.name == "malformed")
            .unwrap();
        assert!(malformed.action == "drop" && malformed.advice.is_some());
        assert!(
            counters
                .exits
                .iter()
                .all(|exit| (exit.action == "drop") == exit.advice.is_some())
        );
    }
}
