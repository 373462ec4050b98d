//! A node without a kernel, for the tests of API and commands.

mod counters;
mod peers;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) use counters::{backend_counters, lb_counters};
use peers::{established, idle, range, routes};

use super::node::Node;
use crate::bgp::PeerName;
use crate::model::{AdminState, PoolName, Ports, Protocol};
use crate::status::{
    BackendDiff, BackendHealth, BackendStatus, BpfMap, BpfProgram, BpfState, Command, Compared,
    ConfigDiff, ConfigStatus, Counters, DiffRequest, Envelope, ExplainRequest, Explanation, Fate,
    FilterDecision, Health, HealthList, HopStatus, InterfaceStatus, KernelDifference, LastCheck,
    ListStatus, NodeStatus, PeerStatus, PoolDiff, PoolStatus, ProbeReport, ProbeRequest, Refusal,
    Reloaded, RememberedFlow, RouteDiff, RouteList, RowsDiff, ServiceDiff, ServiceLimits,
    ServiceStatus, Strangers, TraceBatch, TraceNext, TraceRequest, TraceStarted, TracedPacket,
    ValueDiff, Verification,
};

/// When the fake agents started, seconds since the epoch.
pub(crate) const START_TIME_SECS: u64 = 1_700_000_000;

/// Answers from values; a command changes them.
pub(crate) struct FakeNode {
    status: Mutex<Arc<Envelope<NodeStatus>>>,
    counters: Option<Result<Counters, Refusal>>,
}

impl FakeNode {
    /// A node at generation 12 with this status; without counters it never answers a question for them.
    pub(crate) fn new(status: NodeStatus, counters: Option<Result<Counters, Refusal>>) -> Self {
        Self {
            status: Mutex::new(Arc::new(Envelope::new(12, status))),
            counters,
        }
    }

    /// [`lb`] with [`lb_counters`].
    pub(crate) fn lb() -> Self {
        Self::new(lb(), Some(Ok(lb_counters())))
    }

    /// [`backend`] with [`backend_counters`].
    pub(crate) fn backend() -> Self {
        Self::new(backend(), Some(Ok(backend_counters())))
    }

    fn set(
        &self,
        pool: Option<PoolName>,
        backend: &str,
        what: &str,
        change: impl Fn(&mut BackendStatus),
    ) -> Result<String, Refusal> {
        let mut status = self.status.lock().unwrap();
        let mut next = Envelope::clone(&status);
        let mut changed = 0;
        for (name, of_pool) in &mut next.body.pools {
            for entry in &mut of_pool.backends {
                let named = entry.name.as_deref() == Some(backend);
                let here = pool.as_ref().is_none_or(|pool| pool == name);
                if here && (named || entry.address.to_string() == backend) {
                    change(entry);
                    changed += 1;
                }
            }
        }
        if changed == 0 {
            return Err(Refusal::not_found(format!(
                "there is no backend {backend}: see `anylb backend list`"
            )));
        }
        next.generation += 1;
        *status = Arc::new(next);
        Ok(format!(
            "{backend} is {what} in {changed} pool, on this node only"
        ))
    }
}

impl FakeNode {
    fn set_service(
        &self,
        name: &str,
        what: &str,
        change: impl Fn(&mut ServiceStatus),
    ) -> Result<String, Refusal> {
        let mut status = self.status.lock().unwrap();
        let mut next = Envelope::clone(&status);
        let mut services = next.body.services.iter_mut();
        let Some(service) = services.find(|service| service.name == name) else {
            return Err(Refusal::not_found(format!(
                "there is no service {name}: see `anylb service list`"
            )));
        };
        change(service);
        next.generation += 1;
        *status = Arc::new(next);
        Ok(format!("{name} is {what}, on this node only"))
    }

    fn set_withdrawn(&self, name: &str, withdrawn: bool) -> Result<String, Refusal> {
        let state = if withdrawn { "withdrawn" } else { "announced" };
        self.set_service(name, state, |service| {
            service.withdrawn = withdrawn;
            service.announced = !withdrawn;
            service.reason = withdrawn.then(|| format!("{name}: withdrawn by operator"));
        })
    }

    fn set_peer(
        &self,
        peer: PeerName,
        what: &str,
        set: impl FnOnce(&mut PeerStatus),
    ) -> Result<String, Refusal> {
        let mut status = self.status.lock().unwrap();
        let mut envelope = Envelope::clone(&status);
        let mut peers = envelope.body.peers.iter_mut();
        let found = peers.find(|found| found.address == peer);
        set(found.ok_or_else(|| Refusal::no_peer(peer, &[]))?);
        envelope.generation += 1;
        *status = Arc::new(envelope);
        Ok(format!("{peer} is {what}; this node only"))
    }

    fn set_attack(&self, name: &str, on: bool) -> Result<String, Refusal> {
        let state = if on { "attacked" } else { "not attacked" };
        self.set_service(name, state, |service| service.limits.attack = on)
    }
}

impl Node for FakeNode {
    fn status(&self) -> Arc<Envelope<NodeStatus>> {
        self.status.lock().unwrap().clone()
    }

    fn routes(&self) -> RouteList {
        let peers = self.status().body.peers.clone();
        RouteList {
            peers: peers.into_iter().map(routes).collect(),
        }
    }

    async fn counters(&self) -> Result<Counters, Refusal> {
        match &self.counters {
            Some(counters) => counters.clone(),
            None => std::future::pending().await,
        }
    }

    async fn explain(&self, request: ExplainRequest) -> Result<Explanation, Refusal> {
        if request.source.ip().to_string() == "203.0.113.9" {
            return Ok(denied(&request));
        }
        Ok(Explanation {
            source: request.source.to_string(),
            destination: request.destination.to_string(),
            exit: "sent".into(),
            action: "tx".into(),
            service: Some("web-v4".into()),
            filter: None,
            row: Some(40_961),
            hops: vec![
                hop("10.1.0.2", Some("b2"), Health::Up, AdminState::Ready),
                hop("10.1.0.1", Some("b1"), Health::Up, AdminState::Draining),
                hop("10.1.0.3", None, Health::Down, AdminState::Ready),
            ],
            remembered: match request.source.ip().to_string().as_str() {
                "192.0.2.77" => vec![RememberedFlow {
                    cpu: 3,
                    address: "10.1.0.1".parse().unwrap(),
                    name: Some("b1".into()),
                    silent_secs: 2,
                }],
                _ => Vec::new(),
            },
            interface: Some("eth0".into()),
            because: "row 40961 of pool web is owned by 10.1.0.2".into(),
        })
    }

    async fn health(&self) -> Result<HealthList, Refusal> {
        let status = self.status();
        let pools = status.body.pools.iter();
        let backends = pools.flat_map(|(pool, of)| of.backends.iter().map(|b| checked(pool, b)));
        Ok(HealthList {
            backends: backends.collect(),
        })
    }

    async fn probe(&self, request: ProbeRequest) -> Result<ProbeReport, Refusal> {
        let down = request.backend == "10.1.0.3";
        Ok(ProbeReport {
            pool: request.pool,
            address: if down { [10, 1, 0, 3] } else { [10, 1, 0, 1] }.into(),
            name: (!down).then(|| "b1".into()),
            result: if down { "failure" } else { "success" }.into(),
            reason: down.then(|| "connection refused".into()),
            duration_ms: 1.25,
            timeout_ms: 1_000,
            health: Health::Up,
        })
    }

    async fn bpf(&self) -> Result<BpfState, Refusal> {
        Ok(bpf())
    }

    async fn verify(&self) -> Result<Verification, Refusal> {
        let mut verification = Verification {
            compared: Compared {
                addresses: 7,
                services: 3,
                backends: 4,
                tables: 2,
                probes: 3,
            },
            differences: Vec::new(),
        };
        // The node that is well has one service.
        if self.status().body.services.len() > 1 {
            verification.differences = vec![KernelDifference {
                subject: "table 1".into(),
                difference: "2 of 65536 rows differ".into(),
            }];
        }
        Ok(verification)
    }

    async fn trace(&self, request: TraceRequest) -> Result<TraceStarted, Refusal> {
        match request.vip {
            Some(vip) if vip.to_string() == "198.51.100.99" => Err(Refusal::not_found(format!(
                "there is no VIP {vip}: see `anylb service list`"
            ))),
            _ => Ok(TraceStarted {
                trace: 7,
                lease_secs: 5,
                packets_per_sec: 10_000,
            }),
        }
    }

    /// Two packets a time, and something lost.
    async fn trace_next(&self, request: TraceNext) -> Result<TraceBatch, Refusal> {
        if request.trace != 7 {
            return Err(Refusal::not_found("this trace is over"));
        }
        Ok(TraceBatch {
            packets: match request.last {
                true => Vec::new(),
                false => vec![traced_v4(), traced_v6()],
            },
            more: false,
            limited: 3,
            lost: 1,
        })
    }

    async fn diff(&self, request: DiffRequest) -> Result<ConfigDiff, Refusal> {
        match request.file {
            None => Ok(config_diff()),
            Some(file) if file.text.is_empty() => Ok(ConfigDiff::default()),
            Some(file) => Err(Refusal::invalid(format!(
                "error: unknown key `vipp`\n --> {}:1:1\n",
                file.path.display()
            ))),
        }
    }

    async fn reload(&self, force: bool) -> Result<Reloaded, Refusal> {
        let diff = config_diff();
        match force {
            true => Ok(Reloaded {
                message: "applied: 2 services".into(),
                diff,
            }),
            false => Err(Refusal::refused(format!(
                "{}; nothing changed: `anylb reload --force` does it",
                diff.objections.join("; ")
            ))),
        }
    }

    async fn told(&self, time: Duration) -> Result<(), Refusal> {
        match time.as_secs() {
            1 => Err(Refusal::timeout("applied, but one peer was not told")),
            _ => Ok(()),
        }
    }

    async fn command(&self, command: Command) -> Result<String, Refusal> {
        match command {
            Command::SetAdmin {
                pool,
                backend,
                admin,
                persist,
            } => self.set(pool, &backend, &admin.to_string(), |entry| {
                entry.admin = admin;
                entry.admin_until_reboot = admin != AdminState::Ready && !persist;
            }),
            Command::SetWeight {
                pool,
                backend,
                weight,
                persist,
            } => self.set(pool, &backend, "weighed", |entry| {
                let configured = entry.configured_weight.unwrap_or_default();
                entry.weight = weight.unwrap_or(configured);
                entry.weight_until_reboot = weight.is_some() && !persist;
            }),
            Command::Withdraw { service } => self.set_withdrawn(&service, true),
            Command::Announce { service } => self.set_withdrawn(&service, false),
            Command::Attack { service, on } => self.set_attack(&service, on),
            Command::ShutDownPeer { peer, message } => self.set_peer(peer, "shut down", |status| {
                status.shutdown = Some(message);
                status.state = "Idle".into();
            }),
            Command::EnablePeer { peer } => {
                self.set_peer(peer, "no longer shut down", |status| status.shutdown = None)
            }
            Command::RefreshPeer { peer } => self.set_peer(peer, "sent everything again", |_| ()),
            Command::Reload => Err(Refusal::invalid(
                "error: unknown key `vipp`\n --> anylb.toml:3:1\n",
            )),
            Command::Handover => Ok("handing over: routes and datapath stay".into()),
        }
    }
}

fn denied(request: &ExplainRequest) -> Explanation {
    Explanation {
        source: request.source.to_string(),
        destination: request.destination.to_string(),
        exit: "denied".into(),
        action: "drop".into(),
        service: Some("web-v4".into()),
        filter: Some(FilterDecision {
            list: "deny".into(),
            prefix: Some("203.0.113.0/24".parse().unwrap()),
            file: Some("/etc/anylb/drop.txt".into()),
        }),
        row: None,
        hops: Vec::new(),
        remembered: Vec::new(),
        interface: None,
        because: "the source is in a `deny` list".into(),
    }
}

/// A bit of everything.
pub(crate) fn config_diff() -> ConfigDiff {
    let value = |key: &str, before: Option<&str>, after: Option<&str>| ValueDiff {
        key: key.into(),
        before: before.map(str::to_string),
        after: after.map(str::to_string),
    };
    let rows = |moved, uncovered, newly_uncovered| RowsDiff {
        total: 65_536,
        moved,
        inputs: 3,
        uncovered,
        newly_uncovered,
        has_flows: true,
    };
    let service = |name: &str, vip: &str, fate| ServiceDiff {
        name: name.into(),
        vip: vip.parse().unwrap(),
        fate,
        changes: Vec::new(),
        rows: None,
    };
    let backend = |address: &str, name: Option<&str>, fate| BackendDiff {
        address: address.parse().unwrap(),
        name: name.map(str::to_string),
        fate,
        changes: Vec::new(),
    };
    let pool = |name: &str, fate| PoolDiff {
        name: PoolName(name.into()),
        fate,
        changes: Vec::new(),
        backends: Vec::new(),
        rows: None,
    };
    let route = |prefix: &str, fate, peers: &[&str]| RouteDiff {
        prefix: prefix.parse().unwrap(),
        fate,
        peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
        changes: Vec::new(),
        reason: None,
    };
    ConfigDiff {
        services: vec![
            ServiceDiff {
                changes: vec![
                    value("ports", Some("80"), Some("80, 443")),
                    value("pool", Some("web"), Some("spare")),
                ],
                rows: Some(rows(60_000, 40, 40)),
                ..service("web-v4", "198.51.100.10", Fate::Changed)
            },
            service("dns", "198.51.100.53", Fate::Added),
            service(
                "web-v6",
                "2001:db8:ffff:ffff:ffff:ffff:ffff:10",
                Fate::Removed,
            ),
        ],
        pools: vec![
            pool("spare", Fate::Added),
            PoolDiff {
                changes: vec![
                    value("hops", Some("4"), Some("1")),
                    value("check", None, None),
                ],
                backends: vec![
                    BackendDiff {
                        changes: vec![value("weight", Some("100"), Some("50"))],
                        ..backend("10.1.0.1", Some("b1"), Fate::Changed)
                    },
                    backend("10.1.0.4", None, Fate::Added),
                    backend("10.1.0.3", None, Fate::Removed),
                ],
                rows: Some(rows(16_300, 16_300, 16_290)),
                ..pool("web", Fate::Changed)
            },
            pool("web6", Fate::Removed),
        ],
        bgp: vec![value("bgp.peer 10.0.0.1 med", None, Some("5"))],
        routes: vec![
            RouteDiff {
                changes: vec![value("med", None, Some("5"))],
                ..route("198.51.100.10/32", Fate::Changed, &["10.0.0.1"])
            },
            route("198.51.100.53/32", Fate::Added, &["10.0.0.1", "eth1"]),
            RouteDiff {
                reason: Some("it leaves the configuration".into()),
                ..route(
                    "2001:db8:ffff:ffff:ffff:ffff:ffff:10/128",
                    Fate::Removed,
                    &["10.0.0.1", "eth1"],
                )
            },
        ],
        restart: vec![value("node.flow_memory", Some("24h"), Some("1h"))],
        objections: vec!["pool web: up to 24.86 % of its flows would lose their backend".into()],
    }
}

/// An LB node with an IPv4 service that is well and an IPv6 one that is not.
pub(crate) fn lb() -> NodeStatus {
    NodeStatus {
        node: "lb1".into(),
        version: "0.1.0".into(),
        role: "lb".into(),
        start_time_secs: START_TIME_SECS,
        adopted: true,
        config: ConfigStatus {
            last_reload_successful: true,
            last_success_time_secs: START_TIME_SECS + 60,
            reloads_applied: 1,
            reloads_rejected: 0,
        },
        interfaces: vec![InterfaceStatus {
            name: "eth0".into(),
            mode: "native".into(),
            attached: true,
        }],
        services: vec![
            service("web-v4", "198.51.100.10", &[80, 443], "web", (2, 3), None),
            service(
                "web-v6",
                "2001:db8:ffff:ffff:ffff:ffff:ffff:10",
                &[80],
                "web6",
                (0, 1),
                Some("0 of 1 needed backends are healthy"),
            ),
        ],
        pools: BTreeMap::from([
            (PoolName("web".into()), web()),
            (PoolName("web6".into()), web6()),
        ]),
        peers: vec![established(), idle()],
        ranges: vec![range()],
        strangers: Strangers {
            connections: 2,
            last: Some("10.0.0.66".parse().unwrap()),
        },
        problems: vec![
            "state: cannot write /var/lib/anylb: a restart would forget inputs and overrides"
                .into(),
        ],
    }
}

/// The same node when all is well.
pub(crate) fn healthy() -> NodeStatus {
    let mut node = lb();
    node.services.truncate(1);
    node.pools.remove(&PoolName("web6".into()));
    node.peers.truncate(1);
    node.ranges.clear();
    node.problems.clear();
    node
}

/// A backend.
pub(crate) fn backend() -> NodeStatus {
    NodeStatus {
        node: "b1".into(),
        version: "0.1.0".into(),
        role: "backend".into(),
        start_time_secs: START_TIME_SECS,
        interfaces: vec![InterfaceStatus {
            name: "eth0".into(),
            mode: "native".into(),
            attached: true,
        }],
        services: vec![ServiceStatus {
            pool: None,
            ..service("web-v4", "198.51.100.10", &[80], "", (0, 0), None)
        }],
        ..NodeStatus::default()
    }
}

fn web() -> PoolStatus {
    let down = Some("connection refused by 10.1.0.3 port 8080");
    PoolStatus {
        table_hash: "0123456789abcdef0123456789abcdef".into(),
        remembered_inputs: 1,
        rows_moved_total: 21_845,
        backends: vec![
            backend_status("10.1.0.1", Some("b1"), AdminState::Draining, 0.0),
            backend_status("10.1.0.2", Some("b2"), AdminState::Ready, 1.0),
            BackendStatus {
                health: Health::Down,
                path_mtu: Some(1400),
                reason: down.map(str::to_string),
                ..backend_status("10.1.0.3", None, AdminState::Ready, 0.0)
            },
        ],
    }
}

fn web6() -> PoolStatus {
    PoolStatus {
        table_hash: "fedcba9876543210fedcba9876543210".into(),
        backends: vec![BackendStatus {
            health: Health::Unknown,
            reachable: false,
            ..backend_status("2001:db8:1::1", None, AdminState::Ready, 1.0 / 3.0)
        }],
        ..PoolStatus::default()
    }
}

fn backend_status(
    address: &str,
    name: Option<&str>,
    admin: AdminState,
    row_ratio: f64,
) -> BackendStatus {
    BackendStatus {
        address: address.parse().unwrap(),
        name: name.map(str::to_string),
        weight: 100,
        admin,
        configured_weight: Some(100),
        admin_until_reboot: admin != AdminState::Ready,
        weight_until_reboot: false,
        health: Health::Up,
        reason: None,
        row_ratio,
        reachable: true,
        path_mtu: None,
    }
}

fn service(
    name: &str,
    vip: &str,
    ports: &[u16],
    pool: &str,
    (healthy, configured): (usize, usize),
    reason: Option<&str>,
) -> ServiceStatus {
    ServiceStatus {
        name: name.into(),
        vip: vip.parse().unwrap(),
        protocol: Protocol::Tcp,
        ports: ports.iter().copied().map(Ports::one).collect(),
        pool: Some(PoolName(pool.into())),
        healthy,
        configured,
        need: 1,
        announced: reason.is_none(),
        withdrawn: false,
        reason: reason.map(str::to_string),
        limits: match (name, pool) {
            ("web-v4", "web") => web_limits(),
            _ => ServiceLimits::default(),
        },
    }
}

fn web_limits() -> ServiceLimits {
    ServiceLimits {
        deny: Some(ListStatus {
            prefixes: 1400,
            file: Some("/etc/anylb/drop.txt".into()),
        }),
        filter_bytes: 12_800,
        ..ServiceLimits::default()
    }
}

/// Two tables, and a program that runs are counted of.
pub(crate) fn bpf() -> BpfState {
    let map = |name: &str, kind: &str, entries, value_bytes, memory_bytes| BpfMap {
        name: name.into(),
        kind: kind.into(),
        id: 17,
        entries,
        key_bytes: 4,
        value_bytes,
        memory_bytes: Some(memory_bytes),
    };
    BpfState {
        maps: vec![
            map("ROOT", "array", 1, 8, 4_096),
            map("BANKS", "array", 2, 3_409_008, 6_819_840),
            map("COUNTS", "array", 4, 2_359_296, 9_437_184),
            map("table 0", "array", 1, 524_288, 528_384),
            map("table 1", "array", 1, 524_288, 528_384),
        ],
        programs: vec![BpfProgram {
            name: "lb".into(),
            kind: "xdp".into(),
            id: 42,
            tag: "0123456789abcdef".into(),
            loaded_time_secs: Some(START_TIME_SECS),
            code_bytes: 9_001,
            runs: Some(1_000_000),
            run_time_ns: Some(38_000_000),
        }],
        stats_enabled: true,
    }
}

/// A SYN that was sent on.
pub(crate) fn traced_v4() -> TracedPacket {
    let mut bytes = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00];
    bytes.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
    bytes.extend([192, 0, 2, 7, 198, 51, 100, 10]);
    bytes.extend([0x0f, 0xa1, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0]);
    bytes.extend([0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    TracedPacket {
        time_ns: START_TIME_SECS * 1_000_000_000 + 123_456_789,
        interface: "eth0".into(),
        length: 54,
        action: "tx".into(),
        exit: "sent".into(),
        bytes,
    }
}

/// A datagram to a port that no service has, of which not all is told.
fn traced_v6() -> TracedPacket {
    let mut bytes = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x86, 0xdd];
    bytes.extend([0x60, 0, 0, 0, 0x02, 0x58, 17, 64]);
    bytes.extend("2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend("2001:db8:1::10".parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend([0x0f, 0xa1, 0, 53, 0x02, 0x58, 0, 0]);
    TracedPacket {
        time_ns: START_TIME_SECS * 1_000_000_000 + 623_456_789,
        interface: "eth1".into(),
        length: 654,
        action: "drop".into(),
        exit: "no_service".into(),
        bytes,
    }
}

/// Up: one failure, not the first; down: one success; unknown: not asked yet.
fn checked(pool: &PoolName, backend: &BackendStatus) -> BackendHealth {
    let last = |result: &str, reason: Option<&str>| {
        Some(LastCheck {
            result: result.into(),
            reason: reason.map(str::to_string),
            ago_ms: 300,
        })
    };
    let (successes, failures, last) = match backend.health {
        Health::Up => (0, 1, last("failure", Some("timeout after 1s"))),
        Health::Down => (1, 0, last("success", None)),
        Health::Unknown => (0, 0, None),
    };
    BackendHealth {
        pool: pool.clone(),
        address: backend.address,
        name: backend.name.clone(),
        health: backend.health,
        judged: last.is_some(),
        since_secs: 7_500,
        successes,
        rise: 2,
        failures,
        fall: 3,
        next_ms: last.is_some().then_some(1_700),
        last,
    }
}

fn hop(address: &str, name: Option<&str>, health: Health, admin: AdminState) -> HopStatus {
    HopStatus {
        address: address.parse().unwrap(),
        name: name.map(str::to_string),
        health,
        admin,
    }
}
