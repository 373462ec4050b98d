//! What the agent tells: status, counters, explanations. Pure but for the counters' map reads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::exit::Action;
use lb_common::lb::icmp::ERRORS;

use super::capacity::Servable;
use super::core::Core;
use super::pool::World;
use super::serving::{Standing, Vips};
use crate::dataplane::probe::{ProbeResult, Remembered};
use crate::dataplane::{DatapathCounters, Dataplane, DataplaneError};
use crate::filter::{Decides, PrefixList};
use crate::health::{Stats, Target, Verdicts};
use crate::model::{AdminState, Backend, Encap, Mode, Pool, PoolName, Service};
use crate::rows::ROWS;
use crate::status::{
    BackendCount, BackendStatus, CheckCount, ConfigStatus, Count, Counters, ExitCount,
    ExplainRequest, Explanation, FilterDecision, FlowTableCount, Histogram, HopStatus,
    IcmpErrorCount, InterfaceStatus, ListStatus, NodeStatus, PoolStatus, RememberedFlow,
    ServiceCount, ServiceLimits, ServiceStatus, Strangers,
};

/// What a status is made from.
pub struct Facts<'a> {
    /// Configuration, state, rows.
    pub core: &'a Core,
    /// Health and next hops.
    pub world: World<'a>,
    /// Services with what they can.
    pub services: &'a [(Service, Servable)],
    /// Per VIP: announced, or why not.
    pub announced: &'a Vips,
    /// The interfaces that carry the program, and how.
    pub attached: BTreeMap<String, &'static str>,
    /// Whether the datapath was taken over.
    pub adopted: bool,
    /// The file's fate.
    pub config: &'a ConfigStatus,
    /// When the agent started.
    pub start_time_secs: u64,
    /// One line each.
    pub problems: Vec<String>,
}

/// `anylb status`, without the BGP sessions.
pub fn node_status(facts: &Facts<'_>) -> NodeStatus {
    let node = &facts.core.settings.node;
    let interfaces = node.interfaces.iter().map(|name| InterfaceStatus {
        name: name.clone(),
        mode: facts.attached.get(name).copied().unwrap_or("native").into(),
        attached: facts.attached.contains_key(name),
    });
    NodeStatus {
        node: node.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        role: "lb".into(),
        start_time_secs: facts.start_time_secs,
        adopted: facts.adopted,
        config: facts.config.clone(),
        interfaces: interfaces.collect(),
        services: facts
            .services
            .iter()
            .map(|(service, servable)| service_status(facts, service, servable))
            .collect(),
        pools: facts
            .core
            .settings
            .pools
            .iter()
            .map(|(name, pool)| (name.clone(), pool_status(facts, pool)))
            .collect(),
        peers: Vec::new(),
        ranges: Vec::new(),
        strangers: Strangers::default(),
        problems: facts.problems.clone(),
    }
}

fn service_status(facts: &Facts<'_>, service: &Service, servable: &Servable) -> ServiceStatus {
    let announced = facts.announced.get(&service.vip);
    ServiceStatus {
        name: service.name.clone(),
        vip: service.vip,
        protocol: service.protocol,
        ports: service.ports.clone(),
        pool: service.pool.clone(),
        healthy: servable.healthy,
        configured: servable.configured,
        need: servable.need,
        announced: facts.core.settings.bgp.is_some() && announced.is_some_and(Result::is_ok),
        withdrawn: facts.core.withdrawal(service).is_some(),
        reason: match announced {
            Some(Err(reason)) => Some(reason.clone()),
            _ if facts.core.settings.bgp.is_none() => Some("the configuration has no [bgp]".into()),
            Some(Ok(Standing::LastResort(reason))) => Some(reason.clone()),
            _ => None,
        },
        limits: limits(facts.core, service),
    }
}

fn limits(core: &Core, service: &Service) -> ServiceLimits {
    let filter = service.filter.as_ref();
    let list = |list: Option<&Arc<PrefixList>>| {
        list.map(|list| ListStatus {
            prefixes: list.prefixes.len(),
            file: list.file.clone(),
        })
    };
    ServiceLimits {
        attack: core.is_attacked(service),
        attack_configured: service.attack,
        allow: list(filter.and_then(|filter| filter.allow.as_ref())),
        deny: list(filter.and_then(|filter| filter.deny.as_ref())),
        rate: service.rate.map(|rate| rate.to_string()),
        source_rate: service.source_rate.map(|rate| rate.to_string()),
        filter_bytes: filter.map_or(0, |filter| filter.tree.bytes()),
    }
}

fn pool_status(facts: &Facts<'_>, pool: &Pool) -> PoolStatus {
    let rows = facts.core.rows(&pool.name);
    let table = rows.and_then(|rows| rows.table());
    let shares: BTreeMap<IpAddr, usize> = table
        .map(|table| {
            table
                .members
                .iter()
                .copied()
                .zip(table.first_hops())
                .collect()
        })
        .unwrap_or_default();
    let history = facts.core.state.histories.get(&pool.name);
    let one = |address: IpAddr, configured: Option<&Backend>| {
        let verdict = facts.world.verdicts.by_target.get(&Target {
            pool: pool.name.clone(),
            address,
        });
        let said = facts.core.override_of(&pool.name, address);
        BackendStatus {
            address,
            name: configured.and_then(|backend| backend.name.clone()),
            // One that left the configuration drains, unless it was disabled.
            weight: configured.map_or(0, |backend| said.weight(backend.weight)),
            admin: match (configured, said.admin()) {
                (None, AdminState::Ready) => AdminState::Draining,
                (_, admin) => admin,
            },
            configured_weight: configured.map(|backend| backend.weight),
            admin_until_reboot: said.admin.is_some_and(|said| !said.persist),
            weight_until_reboot: said.weight.is_some_and(|said| !said.persist),
            health: verdict.map(|verdict| verdict.health).unwrap_or_default(),
            reason: verdict
                .and_then(|verdict| verdict.reason.clone())
                .or_else(|| unreached(facts, pool.encap, address)),
            row_ratio: shares.get(&address).copied().unwrap_or(0) as f64 / ROWS as f64,
            reachable: facts.core.reaches(pool.encap, address),
            path_mtu: facts.core.path_mtu(address),
        }
    };
    let backends = pool.backends.iter();
    let configured = backends.map(|backend| one(backend.address, Some(backend)));
    let removed = table
        .iter()
        .flat_map(|table| &table.members)
        .filter(|&&address| {
            pool.backends
                .iter()
                .all(|backend| backend.address != address)
        })
        .map(|&address| one(address, None));
    PoolStatus {
        table_hash: table.map(|table| table.hash()).unwrap_or_default(),
        remembered_inputs: history.map_or(0, |history| history.previous().len()),
        rows_moved_total: rows.map_or(0, |rows| rows.rows_moved()),
        backends: configured.chain(removed).collect(),
    }
}

/// Why packets do not find their way to a backend.
fn unreached(facts: &Facts<'_>, encap: Encap, address: IpAddr) -> Option<String> {
    if facts.core.reaches(encap, address) {
        return None;
    }
    match facts.world.next_hops.get(&address)? {
        Err(reason) => Some(reason.to_string()),
        Ok(hop) => Some(format!(
            "is behind router {}, and encap = \"l2\" needs it on a link of this node",
            hop.gateway
        )),
    }
}

/// Everything that is counted.
pub fn counters(
    core: &Core,
    plane: Option<&Dataplane>,
    stats: &Stats,
) -> Result<Counters, DataplaneError> {
    let mut counters = Counters {
        checks: checks(stats),
        health_state_changes: stats.state_changes_total,
        ..Counters::default()
    };
    let Some(plane) = plane else {
        return Ok(counters);
    };
    let counted = plane.counters()?;
    for (exit, count) in &counted.exits {
        let advice = exit.advice();
        counters.exits.push(ExitCount {
            name: exit.name().into(),
            action: action_name(exit.action()).into(),
            packets: count.packets,
            advice: (!advice.is_empty()).then(|| advice.into()),
        });
    }
    let errors = ERRORS.iter().zip(&counted.icmp_errors);
    counters.icmp_errors = errors
        .map(|((family, kind), packets)| IcmpErrorCount {
            family: (*family).into(),
            kind: (*kind).into(),
            packets: *packets,
        })
        .collect();
    let flows = &counted.flows;
    counters.flow_table = Some(FlowTableCount {
        entries: flows.entered,
        capacity_entries: plane.flow_capacity(),
        hits: flows.known,
        misses: flows.noted + flows.entered + flows.replaced + flows.evicted,
        evictions: flows.evicted,
        expirations: flows.expired,
        releases: flows.released,
    });
    let received = counted.received.iter().map(|(name, count)| {
        let count = Count {
            packets: count.packets,
            bytes: count.bytes,
        };
        (name.clone(), count)
    });
    counters.received.extend(received);
    for service in &core.settings.services {
        let (Some((counter, block)), Some(pool)) =
            (core.state.slots.of_service(&service.name), &service.pool)
        else {
            continue;
        };
        let count = counted.service(counter, block);
        let all = Count {
            packets: count.packets,
            bytes: count.bytes,
        };
        counters.services.insert(
            service.name.clone(),
            ServiceCount {
                count: all,
                new_flows: counted.new_flows(counter),
            },
        );
        let backends = backend_counts(core, &counted, &service.name, pool, block.first);
        counters.backends.extend(backends);
    }
    Ok(counters)
}

fn backend_counts(
    core: &Core,
    counted: &DatapathCounters,
    service: &str,
    pool: &PoolName,
    first: u32,
) -> Vec<BackendCount> {
    let Some(slots) = core.state.slots.of_pool(pool) else {
        return Vec::new();
    };
    let length = slots.values().max().map_or(0, |&last| u32::from(last) + 1);
    let counts = counted.backends(first, length);
    let of = |(&backend, &slot): (&IpAddr, &u16)| {
        let count = counts[usize::from(slot)];
        let count = Count {
            packets: count.packets,
            bytes: count.bytes,
        };
        BackendCount {
            service: service.to_owned(),
            backend,
            count,
        }
    };
    slots.iter().map(of).collect()
}

fn checks(stats: &Stats) -> BTreeMap<String, CheckCount> {
    let mut checks: BTreeMap<String, CheckCount> = BTreeMap::new();
    for ((kind, result), &count) in &stats.checks_total {
        checks
            .entry((*kind).to_owned())
            .or_default()
            .results
            .insert(result.name().to_owned(), count);
    }
    for (kind, histogram) in &stats.duration {
        checks.entry((*kind).to_owned()).or_default().duration = Histogram {
            buckets: histogram.cumulative().collect(),
            sum_secs: histogram.sum_secs,
            count: histogram.count(),
        };
    }
    checks
}

/// `anylb explain`, but for the interface.
pub fn explanation(
    core: &Core,
    verdicts: &Verdicts,
    request: ExplainRequest,
    result: &ProbeResult,
) -> Explanation {
    let destination = request.destination;
    let service = Service::at(
        &core.settings.services,
        destination.ip(),
        request.protocol,
        destination.port(),
    );
    let pool = service.and_then(|service| core.settings.pools.get(service.pool.as_ref()?));
    let hops: Vec<_> = result
        .hops
        .iter()
        .map(|&address| hop(core, verdicts, pool, address))
        .collect();
    Explanation {
        source: request.source.to_string(),
        destination: request.destination.to_string(),
        exit: result.exit.name().into(),
        action: action_name(result.action).into(),
        service: service.map(|service| service.name.clone()),
        filter: service.and_then(|service| decision(service, request.source.ip())),
        row: result.sent().then_some(result.row),
        because: because(result, pool, &hops),
        hops,
        remembered: result
            .remembered
            .iter()
            .map(|one| remembered(pool, one))
            .collect(),
        interface: None,
    }
}

fn decision(service: &Service, source: IpAddr) -> Option<FilterDecision> {
    let (name, list, prefix) = match service.filter.as_ref()?.decides(source)? {
        Decides::Allow(list, prefix) => ("allow", list, Some(prefix)),
        Decides::NotAllowed(list) => ("allow", list, None),
        Decides::Deny(list, prefix) => ("deny", list, Some(prefix)),
    };
    Some(FilterDecision {
        list: name.into(),
        prefix,
        file: list.file.clone(),
    })
}

fn hop(core: &Core, verdicts: &Verdicts, pool: Option<&Pool>, address: IpAddr) -> HopStatus {
    let configured = pool.and_then(|pool| {
        pool.backends
            .iter()
            .find(|backend| backend.address == address)
    });
    HopStatus {
        address,
        name: configured.and_then(|backend| backend.name.clone()),
        health: pool
            .map(|pool| {
                verdicts.health(&Target {
                    pool: pool.name.clone(),
                    address,
                })
            })
            .unwrap_or_default(),
        admin: match (pool, configured) {
            (Some(pool), Some(_)) => core.override_of(&pool.name, address).admin(),
            _ => AdminState::Draining,
        },
    }
}

fn remembered(pool: Option<&Pool>, flow: &Remembered) -> RememberedFlow {
    let backends = pool.map_or(&[][..], |pool| &pool.backends);
    let backend = backends.iter().find(|one| one.address == flow.backend);
    RememberedFlow {
        cpu: flow.cpu,
        address: flow.backend,
        name: backend.and_then(|backend| backend.name.clone()),
        silent_secs: flow.silent.as_secs(),
    }
}

fn because(result: &ProbeResult, pool: Option<&Pool>, hops: &[HopStatus]) -> String {
    if !result.agrees {
        return "the loaded program and the agent's copy of it disagree: restart the agent".into();
    }
    match (hops.first(), pool) {
        (Some(first), Some(pool)) => format!(
            "row {} of pool {} goes to {}; {}",
            result.row,
            pool.name,
            first.address,
            elsewhere(result, pool.mode, hops.len() - 1)
        ),
        (None, Some(pool)) if result.sent() => format!(
            "row {} of pool {} goes to the MAC address of its backend",
            result.row, pool.name
        ),
        _ => match result.exit.advice() {
            "" => "it is not for a VIP of this node: left to the kernel".into(),
            advice => advice.into(),
        },
    }
}

/// Who else may have the flow, where its packet is not the first.
fn elsewhere(result: &ProbeResult, mode: Mode, others: usize) -> String {
    match mode {
        Mode::Rows => match others {
            0 => "no other backend may hold the flow already".to_owned(),
            1 => "one other backend may hold the flow already".to_owned(),
            others => format!("{others} other backends may hold the flow already"),
        },
        Mode::Stateless => "packets of the flow that come later go by the row as well".to_owned(),
        Mode::FlowTable => {
            let known = result.remembered.iter();
            let known: Vec<_> = known
                .map(|one| format!("CPU {} remembers the flow with {}", one.cpu, one.backend))
                .collect();
            match known.is_empty() {
                true => "no CPU remembers the flow".to_owned(),
                false => format!("{}, and sends what is no SYN there", known.join(", ")),
            }
        }
    }
}

pub(super) fn action_name(action: Action) -> &'static str {
    match action {
        Action::Pass => "pass",
        Action::Drop => "drop",
        Action::Transmit => "tx",
        Action::Redirect => "redirect",
        Action::Local => "local",
    }
}

#[cfg(test)]
mod tests {
    use lb_common::lb::Exit;

    use super::*;
    use crate::agent::adopt::Adopted;
    use crate::agent::state::State;
    use crate::agent::testing::{self, Surroundings, address, settings};
    use crate::netlink::Unresolved;
    use crate::status::Health;

    fn core(backends: &[u8], surroundings: impl FnOnce(&mut Surroundings)) -> (Core, Surroundings) {
        let settings = settings(&testing::pool("web", "198.51.100.1", backends, "need = 1"));
        let mut world = Surroundings::of(&settings);
        surroundings(&mut world);
        let mut core = Core::new(settings, State::default(), Adopted::default());
        core.update(world.world()).expect("few members");
        (core, world)
    }

    fn status(
        core: &Core,
        surroundings: &Surroundings,
        vip: Result<Standing, String>,
    ) -> NodeStatus {
        let world = surroundings.world();
        let services = core.settings.services.iter();
        let services: Vec<_> = services
            .map(|service| {
                let pool = service.pool.as_ref().expect("a pool in a test");
                (
                    service.clone(),
                    core.capacities(world)[pool].servable(service.need, service.below_need),
                )
            })
            .collect();
        node_status(&Facts {
            core,
            world,
            services: &services,
            announced: &[(address("198.51.100.1").into(), vip)].into(),
            attached: BTreeMap::from([("eth0".into(), "native")]),
            adopted: true,
            config: &ConfigStatus::default(),
            start_time_secs: 7,
            problems: vec!["a problem".into()],
        })
    }

    #[test]
    fn the_node_and_its_service() {
        let (core, surroundings) =
            core(&[1, 2], |world| world.say("web", "10.1.0.2", Health::Down));
        let status = status(&core, &surroundings, Err("web: why not".into()));
        assert_eq!((status.node.as_str(), status.role.as_str()), ("lb1", "lb"));
        assert!(status.adopted && status.interfaces[0].attached);
        assert_eq!(status.problems, ["a problem"]);
        let service = &status.services[0];
        assert_eq!(
            (service.healthy, service.configured, service.need),
            (1, 2, 1)
        );
        assert!(!service.announced);
        assert_eq!(service.reason.as_deref(), Some("web: why not"));
    }

    #[test]
    fn without_bgp_nothing_is_announced_and_the_reason_says_so() {
        let (core, surroundings) = core(&[1], |_| {});
        let status = status(&core, &surroundings, Ok(Standing::Full));
        assert!(!status.services[0].announced);
        let reason = status.services[0].reason.as_deref();
        assert_eq!(reason, Some("the configuration has no [bgp]"));
    }

    #[test]
    fn backends_with_their_share_and_the_removed_last() {
        let (mut core, mut surroundings) = core(&[1, 2, 3], |_| {});
        core.set_admin(None, "be1", AdminState::Draining, false)
            .expect("known");
        core.update(surroundings.world()).expect("few members");
        core.settings = settings(&testing::pool("web", "198.51.100.1", &[3, 1], "need = 1"));
        surroundings.route("10.1.0.3", Err(Unresolved::NoRoute));
        core.update(surroundings.world()).expect("few members");
        let status = status(&core, &surroundings, Ok(Standing::Full));
        let pool = &status.pools[&testing::name("web")];
        let seen: Vec<_> = pool
            .backends
            .iter()
            .map(|b| {
                (
                    b.address.to_string(),
                    b.admin,
                    b.reachable,
                    b.reason.as_deref(),
                )
            })
            .collect();
        use AdminState::{Draining, Ready};
        let expected = [
            ("10.1.0.3".to_owned(), Ready, false, Some("no route")),
            ("10.1.0.1".to_owned(), Draining, true, None),
            ("10.1.0.2".to_owned(), Draining, true, None),
        ];
        assert_eq!(seen, expected);
        assert_eq!(pool.remembered_inputs, 2);
        assert_eq!(pool.table_hash.len(), 16);
        assert!(pool.rows_moved_total > 0);
        let shares: f64 = pool.backends.iter().map(|b| b.row_ratio).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    }

    fn probed(exit: Exit, hops: &[&str], agrees: bool) -> ProbeResult {
        ProbeResult {
            action: exit.action(),
            exit,
            row: 17,
            hops: hops.iter().map(|hop| address(hop)).collect(),
            remembered: Vec::new(),
            packet: Vec::new(),
            agrees,
        }
    }

    fn explained(result: &ProbeResult, destination: &str) -> Explanation {
        let (core, surroundings) = core(&[1, 2], |_| {});
        let request = ExplainRequest {
            source: "192.0.2.7:4001".parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            protocol: crate::model::Protocol::Tcp,
        };
        explanation(&core, surroundings.world().verdicts, request, result)
    }

    #[test]
    fn a_packet_that_is_sent_is_explained_by_row_and_hops() {
        let hops = ["10.1.0.2", "10.1.0.1", "10.1.0.9"];
        let explained = explained(&probed(Exit::Sent, &hops, true), "198.51.100.1:80");
        assert_eq!(explained.service.as_deref(), Some("web-service"));
        assert_eq!((explained.action.as_str(), explained.row), ("tx", Some(17)));
        assert_eq!(
            explained.because,
            "row 17 of pool web goes to 10.1.0.2; 2 other backends may hold the flow already"
        );
        let names: Vec<_> = explained
            .hops
            .iter()
            .map(|hop| hop.name.as_deref())
            .collect();
        assert_eq!(names, [Some("be2"), Some("be1"), None]);
        assert_eq!(explained.hops[0].health, Health::Up);
        assert_eq!(
            explained.hops[2].admin,
            AdminState::Draining,
            "left the configuration"
        );
    }

    #[test]
    fn a_flow_of_plain_backends_is_with_whom_a_cpu_remembers() {
        let of = |mode, result: &ProbeResult| elsewhere(result, mode, 0);
        let mut result = probed(Exit::Sent, &["10.1.0.2"], true);
        assert_eq!(
            of(Mode::Stateless, &result),
            "packets of the flow that come later go by the row as well"
        );
        assert_eq!(of(Mode::FlowTable, &result), "no CPU remembers the flow");
        result.remembered = vec![Remembered {
            cpu: 3,
            backend: address("10.1.0.1"),
            silent: std::time::Duration::from_millis(2400),
        }];
        assert_eq!(
            of(Mode::FlowTable, &result),
            "CPU 3 remembers the flow with 10.1.0.1, and sends what is no SYN there"
        );
        let explained = explained(&result, "198.51.100.1:80");
        let known = RememberedFlow {
            cpu: 3,
            address: address("10.1.0.1"),
            name: Some("be1".into()),
            silent_secs: 2,
        };
        assert_eq!(explained.remembered, [known]);
        let unnamed = probed(Exit::Sent, &[], true);
        let (core, _) = core(&[1], |_| {});
        let pool = core.settings.pools.values().next();
        assert_eq!(
            because(&unnamed, pool, &[]),
            "row 17 of pool web goes to the MAC address of its backend"
        );
    }

    #[test]
    fn the_prefix_that_decides_is_named() {
        let lists = "allow = [\"192.0.2.0/24\"]\ndeny = [\"192.0.2.7\", \"0.0.0.0/0\"]";
        let settings = settings(&testing::pool("web", "198.51.100.1", &[1], lists));
        let service = &settings.services[0];
        let decided = |source| {
            let found = decision(service, address(source)).expect("lists");
            (found.list, found.prefix.map(|prefix| prefix.to_string()))
        };
        let named = |list: &str, prefix: &str| (list.to_owned(), Some(prefix.to_owned()));
        assert_eq!(decided("192.0.2.7"), named("deny", "192.0.2.7/32"));
        assert_eq!(decided("192.0.2.8"), named("allow", "192.0.2.0/24"));
        assert_eq!(decided("203.0.113.1"), named("deny", "0.0.0.0/0"));
        assert_eq!(decided("2001:db8::1"), ("allow".to_owned(), None));
    }

    #[test]
    fn a_packet_that_is_not_sent_is_explained_by_its_exit() {
        let dropped = explained(&probed(Exit::NoService, &[], true), "198.51.100.1:81");
        assert_eq!(
            (dropped.service, dropped.row, dropped.interface),
            (None, None, None)
        );
        assert_eq!(dropped.action, "drop");
        assert_eq!(dropped.because, Exit::NoService.advice());
        let foreign = explained(&probed(Exit::NotVip, &[], true), "203.0.113.1:80");
        assert_eq!(
            foreign.because,
            "it is not for a VIP of this node: left to the kernel"
        );
        let broken = explained(&probed(Exit::Sent, &["10.1.0.1"], false), "198.51.100.1:80");
        assert!(broken.because.contains("disagree"), "{}", broken.because);
        assert_eq!(broken.row, None, "not to be believed");
    }
}
