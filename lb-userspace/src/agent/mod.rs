//! The node agent: joins configuration, checks, next hops, datapath and BGP, and ends in one of two ways.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | [`core`] | decisions: desired state, what can be served, the operator's word | yes |
//! | [`pool`] | one pool: inputs and health to rows | yes |
//! | [`state`] | what survives a reboot | the type |
//! | [`reconcile`] | the loop: derive, plan, apply, probe, publish | no |
//! | [`report`] | status, counters, explanations | yes, but for map reads |
//! | [`announce`] | the speaker from the configuration | no |
//! | [`node`] | the agent as the API sees it | no |
//!
//! *Stop* (SIGTERM, SIGINT): graceful shutdown community, wait until the routers have moved the traffic, withdraw, Cease, forward
//! what still comes, remove the datapath. *Handover* (`anylb restart`): everything just ends, the datapath stays and BGP
//! graceful restart keeps the routes; a crash is the same without the order.

pub mod announce;
pub mod core;
pub mod node;
pub mod pool;
pub mod reconcile;
pub mod report;
pub mod state;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::info;

use self::core::Core;
use self::node::AgentNode;
use self::reconcile::{Event, Parts, Reconciler, wall_secs};
use self::state::{StateError, StateFile};
use crate::api::{admin, scrape};
use crate::bgp::{Speaker, SpeakerError};
use crate::config;
use crate::dataplane::{Dataplane, DataplaneError, Options};
use crate::health::{Checker, Target};
use crate::model::Settings;
use crate::netlink::Resolver;
use crate::plan::Observed;
use crate::plan::desired::address_of;
use crate::status::{Envelope, Exit, Health, NodeStatus};

/// How often the loop looks without being told to: for holds, and for what nobody reports.
const TICK: Duration = Duration::from_secs(1);
/// How long a stopping node waits for its traffic to leave.
const DRAIN_WAIT: Duration = Duration::from_secs(10);
/// How long it forwards after the last withdrawal.
const LINGER: Duration = Duration::from_secs(30);
/// Without a packet for so long, a node is quiet.
const QUIET: Duration = Duration::from_secs(1);
/// How long peers have for the last withdrawals.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// Why the agent did not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has errors; all of them, rendered.
    #[error("{0}")]
    Config(String),
    /// The file is for another role.
    #[error(
        "{0}: there is nothing for `anylb run` in it: no [[pool]]; a backend runs `anylb backend run`"
    )]
    NoPools(PathBuf),
    /// The datapath.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// The remembered state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The speaker.
    #[error(transparent)]
    Speaker(#[from] SpeakerError),
    /// A socket, a signal handler, a thread.
    #[error("{0}")]
    Start(String),
}

impl Error {
    /// How the process ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::NoPools(_) => Exit::ConfigInvalid,
            Self::Dataplane(_) | Self::State(_) | Self::Speaker(_) | Self::Start(_) => Exit::Failed,
        }
    }
}

/// Runs until it is told to stop or to hand over.
pub async fn run(config: PathBuf) -> Result<(), Error> {
    let settings = load(&config).map_err(Error::Config)?;
    if settings.pools.is_empty() {
        return Err(Error::NoPools(config));
    }
    Agent::start(config, settings).await?.run().await
}

fn load(path: &Path) -> Result<Settings, String> {
    config::load(path).map_err(|diagnostics| diagnostics.render(false))
}

/// A running agent.
struct Agent {
    node: Arc<AgentNode>,
    reconciler: std::thread::JoinHandle<()>,
    stop_servers: watch::Sender<bool>,
}

/// Why it ends.
enum Intent {
    Stop,
    Handover,
}

impl Agent {
    async fn start(path: PathBuf, settings: Settings) -> Result<Self, Error> {
        // Everything that can be refused comes first, so that a refusal leaves nothing behind.
        let socket = admin_socket(&settings)?;
        let metrics = match settings.metrics {
            Some(address) => Some(scrape::bind(address).await.map_err(start_error)?),
            None => None,
        };
        let state_file = StateFile::in_directory(&settings.node.state_dir)?;
        let state = state_file.load()?;
        let interface = settings.node.interfaces.first().cloned();
        let plane = interface
            .clone()
            .map(|name| {
                Dataplane::open(&Options {
                    pin_dir: settings.node.pin_dir.clone(),
                    interface: Some(name),
                })
            })
            .transpose()?;
        let observed = match &plane {
            Some(plane) => plane.observed()?,
            None => Observed::default(),
        };
        let adopted = plane
            .as_ref()
            .is_some_and(|plane| plane.adopted() && plane.attached());
        info!(node = settings.node.name, adopted, "datapath ready");

        let (routes, routes_seen) = watch::channel(None);
        let speaker = announce::start(&settings, adopted, routes_seen).await?;
        let (status, status_seen) = watch::channel(Arc::new(Envelope::new(
            state.generation,
            NodeStatus {
                adopted,
                ..NodeStatus::starting(&settings.node.name, "lb", wall_secs())
            },
        )));
        let (events, queue) = mpsc::channel(64);
        let checker = Checker::start(adopted_verdicts(&settings, &observed));
        let resolver = interface.map(Resolver::start);
        wake_on_change(&events, checker.watch());
        if let Some(resolver) = &resolver {
            wake_on_change(&events, resolver.watch());
        }
        wake_on_time(&events);

        let core = Core::new(settings, state);
        let reload = Box::new(move || load(&path));
        let parts = Parts {
            core,
            plane,
            observed,
            checker,
            resolver,
            state_file,
            reload,
            routes,
            status,
        };
        let reconciler = std::thread::Builder::new()
            .name("reconcile".into())
            .spawn(move || Reconciler::new(parts).run(queue))
            .map_err(|error| Error::Start(format!("cannot start the reconcile thread: {error}")))?;
        let speaker = Arc::new(Mutex::new(speaker));
        let node = Arc::new(AgentNode {
            events,
            status: status_seen,
            speaker,
            handover: Arc::new(Notify::new()),
        });
        let (stop_servers, stopped) = watch::channel(false);
        tokio::spawn(admin::serve(
            socket,
            Arc::clone(&node),
            wait_for(stopped.clone()),
        ));
        if let Some(listener) = metrics {
            tokio::spawn(scrape::serve(
                listener,
                Arc::clone(&node),
                wait_for(stopped),
            ));
        }
        Ok(Self {
            node,
            reconciler,
            stop_servers,
        })
    }

    async fn run(self) -> Result<(), Error> {
        let intent = self.intent().await?;
        match intent {
            Intent::Stop => self.stop().await,
            Intent::Handover => self.hand_over().await,
        }
        // Nobody waits for an answer to this.
        let _ = self.stop_servers.send(true);
        let joined = tokio::task::spawn_blocking(|| self.reconciler.join()).await;
        match joined {
            Ok(Ok(())) => Ok(()),
            _ => Err(Error::Start(
                "the reconcile thread panicked: please report the log".into(),
            )),
        }
    }

    /// Waits for the word to end. SIGHUP reads the configuration again.
    async fn intent(&self) -> Result<Intent, Error> {
        let on = |kind| {
            signal(kind).map_err(|error| Error::Start(format!("cannot handle signals: {error}")))
        };
        let (mut terminate, mut interrupt, mut hangup) = (
            on(SignalKind::terminate())?,
            on(SignalKind::interrupt())?,
            on(SignalKind::hangup())?,
        );
        loop {
            // All cancel-safe: a signal stays pending, a notification is kept as a permit.
            tokio::select! {
                _ = terminate.recv() => return Ok(Intent::Stop),
                _ = interrupt.recv() => return Ok(Intent::Stop),
                () = self.node.handover.notified() => return Ok(Intent::Handover),
                _ = hangup.recv() => self.reload().await,
                () = self.loop_ended() => {
                    return Err(Error::Start("the reconcile thread ended: please report the log".into()));
                }
            }
        }
    }

    async fn loop_ended(&self) {
        self.node.events.closed().await;
    }

    async fn reload(&self) {
        use crate::api::Node as _;
        match self.node.command(crate::status::Command::Reload).await {
            Ok(done) => info!("reload: {done}"),
            Err(refusal) => tracing::error!("reload: {}", refusal.message),
        }
    }

    async fn stop(&self) {
        info!("stopping: asking routers to move the traffic away");
        self.tell(Event::Drain).await;
        self.wait_until_quiet(DRAIN_WAIT).await;
        self.tell(Event::Withdraw).await;
        let speaker = self.take_speaker();
        if let Some(speaker) = speaker {
            speaker.flushed(FLUSH_WAIT).await;
            speaker.stop("anylb is stopping").await;
        }
        info!("withdrawn: forwarding what still comes");
        self.wait_until_quiet(LINGER).await;
        self.tell(Event::Remove).await;
    }

    async fn hand_over(&self) {
        info!("handing over: routes and datapath stay");
        if let Some(speaker) = self.take_speaker() {
            speaker.abandon();
        }
        // Fails only where the loop has ended already.
        let _ = self.node.events.send(Event::Leave).await;
    }

    fn take_speaker(&self) -> Option<Speaker> {
        self.node
            .speaker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    async fn tell(&self, event: impl FnOnce(oneshot::Sender<()>) -> Event) {
        let (reply, done) = oneshot::channel();
        if self.node.events.send(event(reply)).await.is_ok() {
            // An error means that the loop has ended: there is nothing left to wait for.
            let _ = done.await;
        }
    }

    /// Until no packet for a VIP has come for a second, at most `limit`.
    async fn wait_until_quiet(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let (mut last, mut since) = (self.vip_packets().await, Instant::now());
        while Instant::now() < deadline && since.elapsed() < QUIET {
            sleep(QUIET / 10).await;
            let packets = self.vip_packets().await;
            if packets != last {
                (last, since) = (packets, Instant::now());
            }
        }
    }

    async fn vip_packets(&self) -> u64 {
        use crate::api::Node as _;
        let counters = self.node.counters().await.unwrap_or_default();
        counters
            .services
            .values()
            .map(|service| service.count.packets)
            .sum()
    }
}

fn admin_socket(settings: &Settings) -> Result<admin::AdminSocket, Error> {
    admin::AdminSocket::bind(&settings.node.runtime_dir).map_err(start_error)
}

fn start_error(error: impl std::fmt::Display) -> Error {
    Error::Start(error.to_string())
}

/// What the live bank says of the configured backends.
fn adopted_verdicts(settings: &Settings, observed: &Observed) -> BTreeMap<Target, Health> {
    let backends = observed.image.iter().flat_map(|image| &image.backends);
    let verdicts: BTreeMap<_, _> = backends
        .filter(|backend| backend.flags & lb_common::abi::backend_flags::JUDGED != 0)
        .map(|backend| {
            let up = backend.flags & lb_common::abi::backend_flags::UP != 0;
            (
                address_of(backend.address),
                if up { Health::Up } else { Health::Down },
            )
        })
        .collect();
    let targets = settings.pools.values().flat_map(|pool| {
        pool.backends.iter().map(|backend| Target {
            pool: pool.name.clone(),
            address: backend.address,
        })
    });
    targets
        .filter_map(|target| Some((target.clone(), *verdicts.get(&target.address)?)))
        .collect()
}

/// Tells the loop whenever `watch` changes.
fn wake_on_change<T: Send + Sync + 'static>(
    events: &mpsc::Sender<Event>,
    mut watch: watch::Receiver<T>,
) {
    let events = events.clone();
    tokio::spawn(async move {
        while watch.changed().await.is_ok() && events.send(Event::Changed).await.is_ok() {}
    });
}

fn wake_on_time(events: &mpsc::Sender<Event>) {
    let events = events.clone();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::spawn(async move {
        loop {
            ticks.tick().await;
            if events.send(Event::Changed).await.is_err() {
                return;
            }
        }
    });
}

async fn wait_for(mut stopped: watch::Receiver<bool>) {
    // An error means that the agent is gone: time to stop as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
