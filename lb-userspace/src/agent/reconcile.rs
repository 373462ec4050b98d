//! The reconcile loop: a thread of its own, since map updates wait for the kernel and must not hold up BGP or checks.
//!
//! Level-triggered: an event only says that something may differ. Each round derives the desired state, plans against what
//! the kernel holds, applies, probes the loaded program, and only then publishes what may be announced.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::core::{Core, Servable};
use super::pool::World;
use super::report::{self, Facts};
use super::state::{StateError, StateFile};
use crate::bgp::{Route, RouteSet};
use crate::dataplane::{Dataplane, DataplaneError, release_heap};
use crate::health::{Checker, Verdicts};
use crate::model::{Service, Settings};
use crate::netlink::{NextHops, Resolver};
use crate::plan::{Observed, PlanError, plan};
use crate::status::{
    Command, ConfigStatus, Counters, Envelope, ExplainRequest, Explanation, NodeStatus, Refusal,
};

/// RFC 8326.
const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;
/// How long a withdrawn VIP stays in the datapath: routers take a moment to follow.
const WITHDRAW_WAIT: Duration = Duration::from_secs(2);
/// How long a starting agent waits for next hops and checks to report at all.
const START_WAIT: Duration = Duration::from_secs(5);

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
    /// Where the state is kept.
    pub state_file: StateFile,
    /// Reads the configuration again.
    pub reload: Box<dyn Fn() -> Result<Settings, String> + Send>,
    /// What may be announced.
    pub routes: watch::Sender<Option<Arc<RouteSet>>>,
    /// What is told.
    pub status: watch::Sender<Arc<Envelope<NodeStatus>>>,
}

/// Announcing, and the two steps of leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Serving,
    Draining,
    Withdrawn,
}

/// A configuration that removes VIPs: withdrawn first, applied a moment later.
struct Pending {
    settings: Settings,
    at: Instant,
    reply: oneshot::Sender<Result<String, Refusal>>,
}

/// The loop's state.
pub struct Reconciler {
    parts: Parts,
    mode: Mode,
    pending: Option<Pending>,
    config: ConfigStatus,
    started: Instant,
    start_time_secs: u64,
    ready: bool,
    problems: BTreeMap<&'static str, String>,
    verdicts: watch::Receiver<Arc<Verdicts>>,
    next_hops: Option<watch::Receiver<Arc<NextHops>>>,
}

#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    #[error(transparent)]
    Members(#[from] crate::rows::input::TooManyMembers),
}

impl Reconciler {
    /// Ready to run.
    pub fn new(parts: Parts) -> Self {
        let now_secs = wall_secs();
        Self {
            mode: Mode::Serving,
            pending: None,
            config: ConfigStatus {
                last_reload_successful: true,
                last_success_time_secs: now_secs,
                ..ConfigStatus::default()
            },
            started: Instant::now(),
            start_time_secs: now_secs,
            ready: false,
            problems: BTreeMap::new(),
            verdicts: parts.checker.watch(),
            next_hops: parts.resolver.as_ref().map(Resolver::watch),
            parts,
        }
    }

    /// Runs until told to end.
    pub fn run(mut self, mut events: mpsc::Receiver<Event>) {
        self.parts.checker.update(self.parts.core.targets());
        self.round();
        while let Some(event) = events.blocking_recv() {
            match event {
                Event::Changed => {}
                Event::Counters(reply) => {
                    // A caller that went away needs no answer, here and below.
                    let _ = reply.send(self.counters());
                    continue;
                }
                Event::Explain(request, reply) => {
                    let _ = reply.send(self.explain(request));
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
        self.finish_pending();
        let (verdicts, next_hops) = self.snapshot();
        let world = World {
            verdicts: &verdicts,
            next_hops: &next_hops,
            now: Instant::now(),
            now_secs: wall_secs(),
        };
        if !self.ready && !self.is_ready(world) {
            return;
        }
        self.ready = true;
        let before = self.parts.core.state.generation;
        let applied = self.apply(world);
        self.note("datapath", applied.map_err(|error| error.to_string()));
        if self.parts.core.state.generation != before {
            info!(
                generation = self.parts.core.state.generation,
                "inputs changed"
            );
        }
        self.publish(world);
    }

    fn apply(&mut self, world: World<'_>) -> Result<(), RoundError> {
        let mut changed = self.parts.core.update(world)?;
        if let Some(resolver) = &self.parts.resolver {
            resolver.set_targets(self.parts.core.next_hop_targets());
        }
        let desired = self.parts.core.desired(world);
        if let (Some(plane), Some(desired)) = (&mut self.parts.plane, desired) {
            let slots = self.parts.core.state.slots.clone();
            let (image, mut ops) = desired.image(&mut self.parts.core.state.slots)?;
            changed |= slots != self.parts.core.state.slots;
            ops.extend(plan(&image, &self.parts.observed)?);
            if !ops.is_empty() {
                let result = plane.apply(&ops);
                self.parts.observed = plane.observed()?;
                result?;
                release_heap();
            }
        }
        if changed {
            let saved = self.parts.state_file.save(&self.parts.core.state);
            self.note(
                "state",
                saved.map_err(|error: StateError| {
                    format!("{error}: a restart would forget inputs and overrides")
                }),
            );
        }
        Ok(())
    }

    /// Until checks and next hops have reported, nothing is applied: an adopted datapath knows more than we do.
    fn is_ready(&mut self, world: World<'_>) -> bool {
        if let Some(resolver) = &self.parts.resolver {
            resolver.set_targets(self.parts.core.next_hop_targets());
        }
        let targets = self.parts.core.targets();
        let checked = targets
            .keys()
            .all(|target| world.verdicts.by_target.contains_key(target));
        let needed = self.parts.core.next_hop_targets();
        let settled = |address: &IpAddr| {
            use crate::netlink::Unresolved::{Incomplete, Pending};
            !matches!(
                world.next_hops.get(address),
                None | Some(Err(Pending | Incomplete(_)))
            )
        };
        let resolved = self.parts.resolver.is_none() || needed.iter().all(settled);
        (checked && resolved) || self.started.elapsed() > START_WAIT
    }

    fn publish(&mut self, world: World<'_>) {
        let services: Vec<(Service, Servable)> = self
            .parts
            .core
            .settings
            .services
            .iter()
            .map(|service| {
                let mut servable = self.parts.core.servable(service, world);
                servable.obstacle = servable
                    .obstacle
                    .or_else(|| self.datapath_obstacle(service));
                (service.clone(), servable)
            })
            .collect();
        let announced = self.announced(&services);
        let judged = self
            .parts
            .core
            .settings
            .services
            .iter()
            .all(|service| self.parts.core.judged(service, world));
        let routes = self.route_set(&announced, judged);
        self.parts.routes.send_if_modified(|current| {
            let differs = current.as_deref() != Some(&routes);
            if differs {
                *current = Some(Arc::new(routes));
            }
            differs
        });
        let facts = Facts {
            core: &self.parts.core,
            world,
            services: &services,
            announced: &announced,
            attached: self.parts.plane.as_ref().map(Dataplane::attached),
            adopted: self.parts.plane.as_ref().is_some_and(Dataplane::adopted),
            config: &self.config,
            start_time_secs: self.start_time_secs,
            problems: self.problems.values().cloned().collect(),
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

    /// VIPs that may be announced, with the reason of those that may not: all services of a VIP must be servable.
    fn announced(&self, services: &[(Service, Servable)]) -> BTreeMap<IpAddr, Result<(), String>> {
        let mut vips = BTreeMap::new();
        for (service, servable) in services {
            let vip = vips.entry(service.vip).or_insert(Ok(()));
            if let (Ok(()), Some(obstacle)) = (&vip, &servable.obstacle) {
                *vip = Err(format!("{}: {obstacle}", service.name));
            }
        }
        for (vip, state) in &mut vips {
            let leaving = self
                .pending
                .as_ref()
                .is_some_and(|pending| pending.settings.services.iter().all(|s| s.vip != *vip));
            if self.mode == Mode::Withdrawn {
                *state = Err("this node is stopping".into());
            } else if leaving {
                *state = Err("it is being removed".into());
            }
        }
        vips
    }

    fn route_set(
        &self,
        announced: &BTreeMap<IpAddr, Result<(), String>>,
        judged: bool,
    ) -> RouteSet {
        let bgp = self.parts.core.settings.bgp.as_ref();
        let mut communities = bgp.map_or_else(Vec::new, |bgp| bgp.communities.clone());
        if self.mode == Mode::Draining {
            communities.push(GRACEFUL_SHUTDOWN);
        }
        let routes = announced
            .iter()
            .filter(|(_, state)| state.is_ok())
            .map(|(&vip, _)| {
                let prefix = ipnet::IpNet::from(vip);
                (
                    prefix,
                    Route {
                        prefix,
                        communities: communities.clone(),
                        med: None,
                    },
                )
            });
        RouteSet {
            routes: routes.collect(),
            complete: judged || announced.values().all(Result::is_ok),
        }
    }

    /// Why the datapath cannot serve this service now, found by running the loaded program.
    fn datapath_obstacle(&self, service: &Service) -> Option<String> {
        let plane = self.parts.plane.as_ref()?;
        if !plane.attached() {
            return Some("the XDP program is not attached".into());
        }
        service.ports.iter().find_map(|&port| {
            let source = match service.vip {
                IpAddr::V4(_) => SocketAddr::from(([192, 0, 2, 1], 50_000)),
                IpAddr::V6(_) => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 50_000)),
            };
            let packet = Dataplane::probe_syn(source, SocketAddr::new(service.vip, port));
            match plane.probe(&packet) {
                Ok(result) if result.sent() => None,
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
            } => {
                let answer = self.parts.core.set_admin(pool.as_ref(), &backend, admin);
                self.round();
                answer
            }
            Command::Reload => return self.reload(reply),
            // The handover itself is the main task's: it owns the BGP sessions.
            Command::Handover => Ok("handing over: routes and datapath stay".into()),
        };
        let _ = reply.send(answer);
    }

    fn reload(&mut self, reply: oneshot::Sender<Result<String, Refusal>>) {
        let outcome = (self.parts.reload)()
            .map_err(Refusal::invalid)
            .and_then(|settings| self.check_reload(settings));
        let settings = match outcome {
            Ok(settings) => settings,
            Err(refusal) => {
                self.config.last_reload_successful = false;
                self.config.reloads_rejected += 1;
                let _ = reply.send(Err(refusal));
                return;
            }
        };
        let gone = |service: &Service| settings.services.iter().all(|kept| kept.vip != service.vip);
        let removes_vip = self.parts.core.settings.services.iter().any(gone);
        let wait = if removes_vip {
            WITHDRAW_WAIT
        } else {
            Duration::ZERO
        };
        self.pending = Some(Pending {
            settings,
            at: Instant::now() + wait,
            reply,
        });
        self.round();
    }

    /// What a running agent cannot change is refused before anything is touched.
    fn check_reload(&self, settings: Settings) -> Result<Settings, Refusal> {
        let current = &self.parts.core.settings;
        if self.pending.is_some() {
            return Err(Refusal::refused(
                "the reload before this one is not finished: try again in a moment",
            ));
        }
        let fixed = [
            ("[node]", current.node != settings.node),
            ("[bgp]", current.bgp != settings.bgp),
            ("[metrics]", current.metrics != settings.metrics),
        ];
        let changed: Vec<_> = fixed
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(section, _)| section)
            .collect();
        if changed.is_empty() {
            return Ok(settings);
        }
        let sections = changed.join(", ");
        Err(Refusal::refused(format!(
            "{sections} cannot be changed by a reload in this version: run `anylb restart`; nothing changed"
        )))
    }

    fn finish_pending(&mut self) {
        if !self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.at <= Instant::now())
        {
            return;
        }
        let Some(pending) = self.pending.take() else {
            return;
        };
        let before = self.parts.core.settings.services.len();
        self.parts.core.settings = pending.settings;
        self.parts.checker.update(self.parts.core.targets());
        self.config.last_reload_successful = true;
        self.config.reloads_applied += 1;
        self.config.last_success_time_secs = wall_secs();
        let after = self.parts.core.settings.services.len();
        let (verdicts, next_hops) = self.snapshot();
        let world = World {
            verdicts: &verdicts,
            next_hops: &next_hops,
            now: Instant::now(),
            now_secs: wall_secs(),
        };
        let result = self.apply(world).map_err(|error| error.to_string());
        self.publish(world);
        info!(services = after, "configuration applied");
        let answer = result
            .map(|()| format!("applied: {after} services, {before} before"))
            .map_err(Refusal::failed);
        let _ = pending.reply.send(answer);
    }

    fn leave(&mut self, mode: Mode, reply: oneshot::Sender<()>) {
        info!(?mode, "leaving");
        self.mode = mode;
        self.round();
        let _ = reply.send(());
    }

    fn counters(&self) -> Result<Counters, Refusal> {
        report::counters(
            &self.parts.core,
            self.parts.plane.as_ref(),
            &self.parts.checker.stats(),
        )
        .map_err(|error| Refusal::failed(error.to_string()))
    }

    fn explain(&self, request: ExplainRequest) -> Result<Explanation, Refusal> {
        let plane = self.parts.plane.as_ref().ok_or_else(|| {
            Refusal::refused("this node has no datapath: node.interfaces is empty")
        })?;
        let packet = Dataplane::probe_syn(request.source, request.destination);
        let result = plane
            .probe(&packet)
            .map_err(|error| Refusal::failed(error.to_string()))?;
        let (verdicts, _) = self.snapshot();
        Ok(report::explanation(
            &self.parts.core,
            &verdicts,
            request,
            &result,
        ))
    }

    fn snapshot(&self) -> (Arc<Verdicts>, Arc<NextHops>) {
        let verdicts = Arc::clone(&self.verdicts.borrow());
        let next_hops = self
            .next_hops
            .as_ref()
            .map(|watch| Arc::clone(&watch.borrow()))
            .unwrap_or_default();
        (verdicts, next_hops)
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
