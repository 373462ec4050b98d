//! The reconcile loop: a thread of its own, since map updates wait for the kernel and must not hold up BGP or checks.
//!
//! Level-triggered: an event only says that something may differ. Each round derives the desired state, plans against what
//! the kernel holds, applies, probes the loaded program, and only then publishes what may be announced.

mod reload;
mod trace;
mod verify;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::bandwidth::Shares;
use super::capacity::Servable;
use super::clock::Clock;
use super::core::Core;
use super::hold::Holds;
use super::pool::World;
use super::reload::{Pending, Reply};
use super::report::{self, Facts};
use super::serving::{self, Mode, Standing, Vips};
use super::state::{StateError, StateFile};
use super::wake::Bell;
use super::ways::is_open;
use crate::bgp::{PeerName, RouteSet};
use crate::dataplane::jiffies;
use crate::dataplane::probe::Prober;
use crate::dataplane::{Dataplane, DataplaneError, release_heap};
use crate::health::{Checker, Verdicts};
use crate::model::{Service, Settings};
use crate::netlink::{NextHops, Resolver, interface_name};
use crate::path_mtu::{Listener, PathMtus};
use crate::plan::{Observed, Op, PlanError, plan};
use crate::rows::input::TooManyMembers;
use crate::status::{
    BpfState, Command, ConfigDiff, ConfigStatus, Counters, Envelope, ExplainRequest, Explanation,
    NodeStatus, Refusal, Reloaded, TraceBatch, TraceNext, TraceRequest, TraceStarted, Verification,
};
use trace::Watcher;

/// How long a starting agent waits for next hops and checks to report at all.
const START_WAIT: Duration = Duration::from_secs(5);
/// The same where a program of another layout forwards: nothing tells what its agent knew, so that every check is waited for. Routers
/// keep the routes of a node that is restarting twice as long, where the configuration does not say otherwise.
const BESIDE_WAIT: Duration = Duration::from_secs(60);
/// Source port of self-probes.
const PROBE_PORT: u16 = 50_000;

/// Packets that are kept to probe with; any that is still sent will do.
const PROBES_MAX: usize = 16;

/// What the loop is told.
pub enum Event {
    /// Verdicts, next hops or the time may have changed.
    Changed,
    /// Counters are wanted.
    Counters(oneshot::Sender<Result<Counters, Refusal>>),
    /// An explanation is wanted.
    Explain(
        ExplainRequest,
        oneshot::Sender<Result<Explanation, Refusal>>,
    ),
    /// What is in the kernel is wanted.
    Bpf(oneshot::Sender<Result<BpfState, Refusal>>),
    /// What would this configuration change, or the file as it is now?
    Diff(
        Option<Box<Settings>>,
        oneshot::Sender<Result<ConfigDiff, Refusal>>,
    ),
    /// The file is to be read again, whatever it breaks or not.
    Reload(bool, Reply),
    /// Packets are to be told of.
    Trace(TraceRequest, oneshot::Sender<Result<TraceStarted, Refusal>>),
    /// Which are there?
    TraceNext(TraceNext, oneshot::Sender<Result<TraceBatch, Refusal>>),
    /// Is it as it should be?
    Verify(oneshot::Sender<Result<Verification, Refusal>>),
    /// The operator wants something.
    Command(Command, oneshot::Sender<Result<String, Refusal>>),
    /// The node is to be left by traffic: graceful shutdown.
    Drain(oneshot::Sender<()>),
    /// Nothing is announced from now on.
    Withdraw(oneshot::Sender<()>),
    /// The datapath ends, and the loop.
    Remove(oneshot::Sender<()>),
    /// The loop ends; datapath and pins stay.
    Leave,
}

/// What the loop works with.
pub struct Parts {
    /// Configuration, state, rows.
    pub core: Core,
    /// None for an announcer without interfaces.
    pub plane: Option<Dataplane>,
    /// What the datapath held at the start.
    pub observed: Observed,
    /// Checks.
    pub checker: Checker,
    /// Next hops; none for an announcer.
    pub resolver: Option<Resolver>,
    /// What routers say; none for an announcer, and where it may not listen.
    pub listener: Option<Listener>,
    /// Where the state is kept.
    pub state_file: StateFile,
    /// Reads the configuration again.
    pub reload: Box<dyn Fn() -> Result<Settings, String> + Send>,
    /// What may be announced.
    pub routes: watch::Sender<Option<Arc<RouteSet>>>,
    /// TCP MD5 secrets, by the peer's address.
    pub passwords: watch::Sender<BTreeMap<PeerName, String>>,
    /// Packets that the datapath sends to backends, to probe it with when this agent is gone.
    pub probes: watch::Sender<Vec<Vec<u8>>>,
    /// What is told.
    pub status: watch::Sender<Arc<Envelope<NodeStatus>>>,
    /// To be told that it was heard.
    pub bell: Bell,
    /// What is wrong since the start, one line each.
    pub problems: Vec<String>,
    /// When the agent started, seconds since the epoch.
    pub start_time_secs: u64,
}

/// The loop's state.
pub struct Reconciler {
    parts: Parts,
    mode: Mode,
    pending: Option<Pending>,
    config: ConfigStatus,
    started: Instant,
    clock: Clock,
    ready: bool,
    jiffies_per_sec: u32,
    /// The state in memory is not yet that in the file.
    unsaved: bool,
    /// Who watches packets.
    trace: Option<Watcher>,
    /// Of all traces, packets that the ring had no room for.
    events_lost: u64,
    /// Counters that start anew, to be zeroed before the plan that uses them.
    zeroing: Vec<Op>,
    vips: Vips,
    holds: Holds,
    shares: Shares,
    problems: BTreeMap<&'static str, String>,
    verdicts: watch::Receiver<Arc<Verdicts>>,
    next_hops: Option<watch::Receiver<Arc<NextHops>>>,
    path_mtus: Option<watch::Receiver<Arc<PathMtus>>>,
}

/// What checks, netlink and routers said last.
struct Said {
    verdicts: Arc<Verdicts>,
    next_hops: Arc<NextHops>,
    path_mtus: Arc<PathMtus>,
}

#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    #[error(transparent)]
    Members(#[from] TooManyMembers),
}

impl Reconciler {
    /// Ready to run.
    pub fn new(parts: Parts) -> Self {
        Self {
            mode: Mode::Serving,
            pending: None,
            config: ConfigStatus {
                last_reload_successful: true,
                last_success_time_secs: parts.start_time_secs,
                ..ConfigStatus::default()
            },
            started: Instant::now(),
            clock: Clock::new(wall_secs(), Instant::now()),
            ready: false,
            jiffies_per_sec: jiffies::per_second(),
            unsaved: false,
            trace: None,
            events_lost: 0,
            zeroing: Vec::new(),
            vips: Vips::new(),
            holds: Holds::default(),
            shares: Shares::default(),
            problems: BTreeMap::new(),
            verdicts: parts.checker.watch(),
            next_hops: parts.resolver.as_ref().map(Resolver::watch),
            path_mtus: parts.listener.as_ref().map(Listener::watch),
            parts,
        }
    }

    /// Runs until told to end.
    pub fn run(mut self, mut events: mpsc::Receiver<Event>) {
        self.parts.checker.update(self.parts.core.targets());
        self.round();
        while let Some(event) = events.blocking_recv() {
            match event {
                Event::Changed => self.parts.bell.heard(),
                Event::Counters(reply) => {
                    // A caller that went away needs no answer, here and below.
                    let _ = reply.send(self.counters());
                    continue;
                }
                Event::Explain(request, reply) => {
                    let _ = reply.send(self.explain(request));
                    continue;
                }
                Event::Bpf(reply) => {
                    let _ = reply.send(self.inventory());
                    continue;
                }
                Event::Diff(next, reply) => {
                    let _ = reply.send(self.diff(next));
                    continue;
                }
                Event::Reload(force, reply) => self.reload(force, reply),
                Event::Trace(request, reply) => {
                    let _ = reply.send(self.begin_trace(&request));
                    continue;
                }
                Event::TraceNext(request, reply) => {
                    let _ = reply.send(self.trace_next(request));
                    continue;
                }
                Event::Verify(reply) => {
                    let _ = reply.send(self.verify());
                    continue;
                }
                Event::Command(command, reply) => self.command(command, reply),
                Event::Drain(reply) => self.leave(Mode::Draining, reply),
                Event::Withdraw(reply) => self.leave(Mode::Withdrawn, reply),
                Event::Remove(reply) => {
                    if let Some(Err(error)) = self.parts.plane.take().map(Dataplane::remove) {
                        error!("{error}");
                    }
                    let _ = reply.send(());
                    return;
                }
                Event::Leave => return,
            }
            self.round();
        }
    }

    /// One round, with its errors turned into problems: the loop never ends because of one.
    fn round(&mut self) {
        self.look_at_clock();
        let said = self.said();
        let world = self.world(&said);
        if !self.ready && !self.is_ready(world) {
            return;
        }
        self.ready = true;
        let reloaded = self.take_pending(world.now);
        if !self.is_beside() {
            self.keep_attached();
        }
        self.end_unwatched();
        if let Some(plane) = &mut self.parts.plane {
            plane.flush_log();
        }
        let before = self.parts.core.state.generation;
        let applied = self.apply(world).map_err(|error| error.to_string());
        self.note("datapath", applied.clone());
        if self.is_beside() && applied.is_ok() {
            // The maps hold everything.
            self.attach("took over from another layout: its maps are gone");
        }
        if self.parts.core.state.generation != before {
            info!(
                generation = self.parts.core.state.generation,
                "inputs changed"
            );
        }
        if self.is_beside() && self.mode == Mode::Serving {
            // What could not be applied says nothing about the program that forwards: its routes stay.
            self.tell(world, &[]);
        } else {
            self.publish(world);
        }
        if let Some((diff, reply)) = reloaded {
            self.answer_reload(applied, diff, reply);
        }
    }

    fn look_at_clock(&mut self) {
        if let Some(by_secs) = self.clock.jump(wall_secs(), Instant::now()) {
            warn!(
                by_secs,
                "the clock was set: what is remembered is as old as it was"
            );
            self.parts.core.clock_was_set(by_secs);
            self.unsaved = true;
        }
    }

    /// An interface that went away and came back has lost the program.
    fn keep_attached(&mut self) {
        if self
            .parts
            .plane
            .as_ref()
            .is_some_and(|plane| !plane.attached())
        {
            self.attach("the XDP program is attached again");
        }
    }

    /// Puts the program on the interfaces, in the place of whatever program of ours is there.
    fn attach(&mut self, done: &str) {
        let Some(plane) = &mut self.parts.plane else {
            return;
        };
        let attached = plane.attach();
        if attached.is_ok() {
            info!("{done}");
        }
        self.note("link", attached.map_err(|error| error.to_string()));
    }

    /// Whether a program of another layout forwards.
    fn is_beside(&self) -> bool {
        self.parts.plane.as_ref().is_some_and(Dataplane::is_beside)
    }

    fn apply(&mut self, world: World<'_>) -> Result<(), RoundError> {
        self.unsaved |= self.parts.core.update(world)?;
        self.resolve();
        let planned = self.plan(world);
        // Before the datapath: a crash in between must find the numbers that the datapath will have. What is to be done for health is
        // done all the same, and the status says what is not remembered.
        let _ = self.save();
        let ops = planned?;
        if let Some(plane) = &mut self.parts.plane
            && !ops.is_empty()
        {
            let result = plane.apply(&ops);
            self.parts.observed = plane.observed()?;
            result?;
            self.zeroing.clear();
            release_heap();
        }
        Ok(())
    }

    /// What turns the datapath into what it should be; nothing on a node without one.
    fn plan(&mut self, world: World<'_>) -> Result<Vec<Op>, RoundError> {
        let Some(desired) = self.parts.core.desired(world) else {
            return Ok(Vec::new());
        };
        if self.parts.plane.is_none() {
            return Ok(Vec::new());
        }
        let slots = self.parts.core.state.slots.clone();
        let translated = desired.image(&mut self.parts.core.state.slots);
        self.unsaved |= slots != self.parts.core.state.slots;
        let (mut image, zeroing) = translated?;
        self.zeroing.extend(zeroing);
        let changed = image.changed_pairs(&self.parts.observed);
        self.parts.core.settle(&changed, world.now);
        image.settle(&changed);
        let mut ops = plan(&image, &self.parts.observed)?;
        if !ops.is_empty() {
            ops.splice(0..0, self.zeroing.iter().cloned());
        }
        Ok(ops)
    }

    /// Writes the state down where that is to be done. What fails is tried again in every round.
    fn save(&mut self) -> Result<(), Refusal> {
        if !self.unsaved {
            return Ok(());
        }
        let saved = self.parts.state_file.save(&self.parts.core.state);
        self.unsaved = saved.is_err();
        let refused = saved.as_ref().err().map(|error| {
            Refusal::failed(format!(
                "{error}; what cannot be remembered is not done: nothing changed"
            ))
        });
        self.note(
            "state",
            saved.map_err(|error: StateError| {
                format!("{error}: a restart would forget what is not written")
            }),
        );
        refused.map_or(Ok(()), Err)
    }

    fn resolve(&self) {
        if let Some(resolver) = &self.parts.resolver {
            resolver.set_targets(self.parts.core.next_hop_targets());
        }
        if let Some(listener) = &self.parts.listener {
            listener.set_tunnels(self.parts.core.tunnels());
        }
    }

    /// Until checks and next hops have reported, nothing is applied: an adopted datapath knows more than we do.
    fn is_ready(&self, world: World<'_>) -> bool {
        self.resolve();
        let targets = self.parts.core.targets();
        let checked = targets
            .keys()
            .all(|target| world.verdicts.by_target.contains_key(target));
        let settled = |answer: Option<&Result<_, _>>| match answer {
            Some(Ok(_)) => true,
            Some(Err(reason)) => !is_open(reason),
            None => false,
        };
        let needed = self.parts.core.next_hop_targets();
        let resolved = self.parts.resolver.is_none()
            || needed
                .iter()
                .all(|address| settled(world.next_hops.get(address)));
        let judged = || world.verdicts.judged(targets.keys());
        let (said, limit) = match self.is_beside() {
            true => (checked && judged(), BESIDE_WAIT),
            false => (checked, START_WAIT),
        };
        (said && resolved) || self.started.elapsed() > limit
    }

    fn publish(&mut self, world: World<'_>) {
        let core = &self.parts.core;
        let sources = core.probe_sources();
        let capacities = core.capacities(world);
        let capacity = |service: &Service| {
            let pool = service.pool.as_ref()?;
            capacities.get(pool)
        };
        let plane = self.parts.plane.as_ref();
        let prober = plane.map(|plane| plane.prober().map_err(|error| error.to_string()));
        let mut probes = Vec::new();
        let services: Vec<(Service, Servable)> = core
            .settings
            .services
            .iter()
            .map(|service| {
                // Configurations of this role have a pool for every service.
                let capacity = capacity(service).copied().unwrap_or_default();
                let mut servable = capacity.servable(service.need, service.below_need);
                servable.obstacle = core.withdrawal(service).or(servable.obstacle).or_else(|| {
                    self.datapath_obstacle(service, sources, prober.as_ref()?, &mut probes)
                });
                (service.clone(), servable)
            })
            .collect();
        self.parts.probes.send_if_modified(|known| {
            let differs = *known != probes;
            *known = probes;
            differs
        });
        let next = self.pending.as_ref().map(Pending::services);
        let mut vips = serving::vips(&services, self.mode, next);
        self.holds
            .apply(&mut vips, |vip| core.hold_up(vip), world.now);
        self.log_changes(&vips);
        let judged = core
            .settings
            .services
            .iter()
            .all(|service| capacity(service).is_none_or(|capacity| capacity.judged));
        let settings = &core.settings;
        let mut routes = serving::route_set(
            &vips,
            &settings.services,
            settings.bgp.as_ref(),
            self.mode,
            judged,
        );
        if let Some(bandwidth) = settings.bgp.as_ref().and_then(|bgp| bgp.link_bandwidth) {
            let percents = serving::percents(&services, &vips);
            let tenths = self.shares.follow(&percents, world.now);
            serving::share(&mut routes, bandwidth, &tenths);
        }
        self.parts.routes.send_if_modified(|current| {
            let differs = current.as_deref() != Some(&routes);
            if differs {
                *current = Some(Arc::new(routes));
            }
            differs
        });
        self.vips = vips;
        self.tell(world, &services);
    }

    fn tell(&self, world: World<'_>, services: &[(Service, Servable)]) {
        let problems = self.parts.problems.iter().chain(self.problems.values());
        let facts = Facts {
            core: &self.parts.core,
            world,
            services,
            announced: &self.vips,
            attached: self.attached(),
            adopted: self.parts.plane.as_ref().is_some_and(Dataplane::adopted),
            config: &self.config,
            start_time_secs: self.parts.start_time_secs,
            problems: problems.cloned().collect(),
        };
        let status = report::node_status(&facts);
        let envelope = Envelope::new(self.parts.core.state.generation, status);
        self.parts.status.send_if_modified(|current| {
            let differs = **current != envelope;
            if differs {
                *current = Arc::new(envelope);
            }
            differs
        });
    }

    fn log_changes(&self, vips: &Vips) {
        if self.parts.core.settings.bgp.is_none() {
            return;
        }
        for (vip, state) in serving::changes(&self.vips, vips) {
            match state {
                Ok(Standing::Full) => info!(%vip, "announced"),
                Ok(Standing::LastResort(reason)) => {
                    info!(%vip, reason, "announced as a last resort")
                }
                Err(reason) => info!(%vip, reason, "not announced"),
            }
        }
    }

    /// Why the datapath cannot serve this service now, found by running the loaded program; what that sends goes to `sent`.
    fn datapath_obstacle(
        &self,
        service: &Service,
        (source_v4, source_v6): (Ipv4Addr, Ipv6Addr),
        prober: &Result<Prober<'_>, String>,
        sent: &mut Vec<Vec<u8>>,
    ) -> Option<String> {
        let plane = self.parts.plane.as_ref()?;
        if !plane.attached() {
            return Some("the XDP program is not attached".into());
        }
        let prober = match prober {
            Ok(prober) => prober,
            Err(error) => return Some(error.clone()),
        };
        let target = self.parts.core.probe_target(service)?;
        let source = match target {
            IpAddr::V4(_) => SocketAddr::from((source_v4, PROBE_PORT)),
            IpAddr::V6(_) => SocketAddr::from((source_v6, PROBE_PORT)),
        };
        service.ports.iter().find_map(|ports| {
            // Port 0 belongs to "any" and to nobody's traffic.
            let port = ports.first().max(1);
            let destination = SocketAddr::new(target, port);
            let packet = Dataplane::probe_packet(service.protocol, source, destination);
            match prober.probe(&packet) {
                Ok(result) if result.is_in_order() => {
                    if result.sent() && sent.len() < PROBES_MAX {
                        sent.push(packet);
                    }
                    None
                }
                Ok(result) => Some(format!(
                    "the self-probe of port {port} ended in {}",
                    result.exit.name()
                )),
                Err(error) => Some(error.to_string()),
            }
        })
    }

    fn command(&mut self, command: Command, reply: oneshot::Sender<Result<String, Refusal>>) {
        let answer = match command {
            Command::SetAdmin {
                pool,
                backend,
                admin,
                persist,
            } => {
                self.operators_word(|core| core.set_admin(pool.as_ref(), &backend, admin, persist))
            }
            Command::SetWeight {
                pool,
                backend,
                weight,
                persist,
            } => self
                .operators_word(|core| core.set_weight(pool.as_ref(), &backend, weight, persist)),
            Command::Withdraw { service } => self.operators_word(|core| core.withdraw(&service)),
            Command::Announce { service } => self.operators_word(|core| core.announce(&service)),
            Command::Attack { service, on } => {
                self.operators_word(|core| core.attack(&service, on))
            }
            Command::ShutDownPeer { peer, message } => {
                self.operators_word(|core| core.shut_down_peer(peer, &message))
            }
            Command::EnablePeer { peer } => self.operators_word(|core| core.enable_peer(peer)),
            // The sessions are the main task's; here is who knows the peers.
            Command::RefreshPeer { peer } => {
                self.parts.core.known_peer(peer).map(|()| String::new())
            }
            Command::Reload => {
                // A caller that went away needs no answer.
                let tell = |done: Result<Reloaded, Refusal>| {
                    drop(reply.send(done.map(|done| done.message)))
                };
                return self.reload(false, Box::new(tell));
            }
            // The handover itself is the main task's: it owns the BGP sessions.
            Command::Handover => Ok("handing over: routes and datapath stay".into()),
        };
        let _ = reply.send(answer);
    }

    /// The operator's word is kept, and in force before it is confirmed. One that cannot be kept is not taken.
    fn operators_word(
        &mut self,
        say: impl FnOnce(&mut Core) -> Result<String, Refusal>,
    ) -> Result<String, Refusal> {
        let before = self.parts.core.state.clone();
        let mut answer = say(&mut self.parts.core);
        if self.parts.core.state != before {
            self.unsaved = true;
            if let Err(refusal) = self.save() {
                self.parts.core.state = before;
                answer = Err(refusal);
            }
        }
        self.round();
        answer
    }

    fn leave(&mut self, mode: Mode, reply: oneshot::Sender<()>) {
        info!(?mode, "leaving");
        self.mode = mode;
        self.round();
        let _ = reply.send(());
    }

    fn counters(&self) -> Result<Counters, Refusal> {
        let plane = self.parts.plane.as_ref();
        let counters = report::counters(&self.parts.core, plane, &self.parts.checker.stats());
        let counters = counters.map_err(|error| Refusal::failed(error.to_string()))?;
        Ok(Counters {
            events_lost: plane.map(|_| self.events_lost),
            path_mtu_messages: self.parts.listener.as_ref().map(Listener::messages),
            ..counters
        })
    }

    fn explain(&self, request: ExplainRequest) -> Result<Explanation, Refusal> {
        let plane = self.datapath()?;
        let packet = Dataplane::probe_packet(request.protocol, request.source, request.destination);
        let result = plane
            .probe(&packet)
            .map_err(|error| Refusal::failed(error.to_string()))?;
        let Said { verdicts, .. } = self.said();
        let core = &self.parts.core;
        let way = result.hops.first().and_then(|first| core.way_to(*first));
        Ok(Explanation {
            interface: way.map(|way| interface_name(way.ifindex)),
            ..report::explanation(core, &verdicts, request, &result)
        })
    }

    fn inventory(&self) -> Result<BpfState, Refusal> {
        let inventory = self.datapath()?.inventory();
        inventory.map_err(|error| Refusal::failed(error.to_string()))
    }

    fn datapath(&self) -> Result<&Dataplane, Refusal> {
        let plane = self.parts.plane.as_ref();
        plane.ok_or_else(|| Refusal::refused("this node has no datapath: node.interfaces is empty"))
    }

    fn attached(&self) -> BTreeMap<String, &'static str> {
        let Some(plane) = &self.parts.plane else {
            return BTreeMap::new();
        };
        let interfaces = self.parts.core.settings.node.interfaces.iter();
        interfaces
            .filter(|name| plane.attached_to(name))
            .filter_map(|name| Some((name.clone(), plane.mode_on(name)?)))
            .collect()
    }

    fn world<'a>(&self, said: &'a Said) -> World<'a> {
        World {
            verdicts: &said.verdicts,
            next_hops: &said.next_hops,
            path_mtus: &said.path_mtus,
            now: Instant::now(),
            now_secs: wall_secs(),
            jiffies_per_sec: self.jiffies_per_sec,
        }
    }

    fn said(&self) -> Said {
        Said {
            verdicts: Arc::clone(&self.verdicts.borrow()),
            next_hops: latest(self.next_hops.as_ref()),
            path_mtus: latest(self.path_mtus.as_ref()),
        }
    }

    /// Keeps one line per subject for the status, and logs it when it is new.
    fn note(&mut self, subject: &'static str, result: Result<(), String>) {
        match result {
            Ok(()) => drop(self.problems.remove(subject)),
            Err(problem) => {
                if self.problems.get(subject) != Some(&problem) {
                    warn!("{problem}");
                    self.problems.insert(subject, problem);
                }
            }
        }
    }
}

/// Nothing where nobody watches.
fn latest<T: Default>(watch: Option<&watch::Receiver<Arc<T>>>) -> Arc<T> {
    watch
        .map(|watch| Arc::clone(&watch.borrow()))
        .unwrap_or_default()
}

/// Seconds since the epoch.
pub(super) fn wall_secs() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the reconcile loop is the driver that reads the clock"
    )]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
