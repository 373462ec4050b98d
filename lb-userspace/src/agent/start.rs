//! Starting: everything that can be refused comes before anything that a packet or a router sees.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tracing::{info, warn};

use super::adopt::Adopted;
use super::bfd::Detection;
use super::core::Core;
use super::leave::{Running, Signals};
use super::node::AgentNode;
use super::reconcile::{Parts, Reconciler, wall_secs};
use super::state::{State, StateFile};
use super::wake::Bell;
use super::{Error, announce, load};
use crate::api::admin::AdminSocket;
use crate::api::{admin, scrape};
use crate::backend;
use crate::bgp::{PeerName, Speaker};
use crate::dataplane::{BpfLog, Dataplane, Next, Options, layout, privileges};
use crate::health::Checker;
use crate::model::{Bgp, Settings};
use crate::netlink::{Own, Resolver};
use crate::path_mtu::Listener;
use crate::plan::Observed;
use crate::status::{Envelope, NodeStatus};

/// Events that wait for the loop: commands and questions; changes wait as one.
const QUEUE: usize = 64;

/// What was read, bound and opened.
struct Ground {
    signals: Signals,
    socket: AdminSocket,
    metrics: Option<TcpListener>,
    state_file: StateFile,
    state: State,
    plane: Option<Dataplane>,
    problems: Vec<String>,
}

/// Starts the agent. An error leaves a running datapath as it was, and nothing where there was none.
pub async fn start(path: PathBuf, settings: Settings, log: BpfLog) -> Result<Running, Error> {
    let mut ground = prepare(&settings, log).await?;
    let observed = match &ground.plane {
        Some(plane) => plane.observed()?,
        None => Observed::default(),
    };
    let preserved = ground
        .plane
        .as_ref()
        .is_some_and(|plane| plane.adopted() && plane.attached());
    let (routes, routes_seen) = watch::channel(None);
    let speaker =
        announce::start(&settings, &ground.state.shut_down, preserved, routes_seen).await?;
    match &mut ground.plane {
        Some(plane) if plane.is_beside() => info!(
            layout = layout::name(),
            "the pinned maps are of another layout: its program forwards until this agent's maps hold everything"
        ),
        Some(plane) => plane.attach()?,
        None => {}
    }
    let (probes, probes_seen) = watch::channel(Vec::new());
    let bfd = Detection::start(&settings, probes_seen, speaker.as_ref()).await;
    let backend = match &settings.backend {
        Some(_) => Some(backend::beside(path.clone(), settings.clone()).await?),
        None => {
            if ground.plane.is_some() {
                backend::undo_left(&settings).await?;
            }
            None
        }
    };
    let (backend, backend_task) = backend.unzip();
    info!(
        node = settings.node.name,
        adopted = preserved,
        "datapath ready"
    );

    let adopted = adopted(&settings, &ground.state, &observed, preserved);
    let start_time_secs = wall_secs();
    let (status, status_seen) = watch::channel(Arc::new(Envelope::new(
        ground.state.generation,
        NodeStatus {
            adopted: preserved,
            ..NodeStatus::starting(&settings.node.name, "lb", start_time_secs)
        },
    )));
    let passwords = settings.bgp.as_ref().map(Bgp::passwords);
    let (passwords, passwords_seen) = watch::channel(passwords.unwrap_or_default());
    let (events, queue) = mpsc::channel(QUEUE);
    let bell = Bell::new(events.clone());
    let checker = Checker::start(adopted.verdicts.clone());
    let resolver = (!settings.node.interfaces.is_empty())
        .then(|| Resolver::start(settings.node.interfaces.clone(), own(&settings)));
    bell.on_change(checker.watch());
    if let Some(resolver) = &resolver {
        bell.on_change(resolver.watch());
    }
    let listener = listen(&settings);
    if let Some(listener) = &listener {
        bell.on_change(listener.watch());
    }
    bell.on_time();
    let asker = checker.asker();
    let leaving = (settings.node.drain_wait, settings.node.linger);
    let parts = Parts {
        core: Core::new(settings, ground.state, adopted),
        plane: ground.plane,
        observed,
        checker,
        resolver,
        listener,
        state_file: ground.state_file,
        reload: Box::new(move || load(&path)),
        routes,
        passwords,
        probes,
        status,
        bell,
        problems: ground.problems,
        start_time_secs,
    };
    let reconciler = std::thread::Builder::new()
        .name("reconcile".into())
        .spawn(move || Reconciler::new(parts).run(queue))
        .map_err(|error| Error::Start(format!("cannot start the reconcile thread: {error}")))?;
    let speaker = Arc::new(Mutex::new(speaker));
    if let Some(bfd) = &bfd {
        bfd.follow(Arc::clone(&speaker));
    }
    let node = Arc::new(AgentNode {
        events,
        status: status_seen,
        speaker,
        bfd,
        asker,
        handover: Arc::new(Notify::new()),
        backend,
    });
    tokio::spawn(rekey(Arc::clone(&node.speaker), passwords_seen));
    let stop_servers = serve(&node, ground.socket, ground.metrics);
    let (drain_wait, linger) = leaving;
    Ok(Running {
        node,
        signals: ground.signals,
        reconciler,
        backend: backend_task,
        stop_servers,
        drain_wait,
        linger,
    })
}

/// Signals first: one that comes while the agent starts must find it.
async fn prepare(settings: &Settings, log: BpfLog) -> Result<Ground, Error> {
    let signals = Signals::handle().map_err(start_error)?;
    let interfaces = &settings.node.interfaces;
    if !interfaces.is_empty() {
        privileges::check()?;
    }
    let socket = AdminSocket::bind(&settings.node.runtime_dir).map_err(start_error)?;
    let metrics = match settings.metrics {
        Some(address) => Some(scrape::bind(address).await.map_err(start_error)?),
        None => None,
    };
    let options = Options {
        pin_dir: settings.node.pin_dir.clone(),
        interfaces: interfaces.clone(),
        mode: settings.node.xdp_mode,
        next: match (&settings.backend, &settings.node.xdp_chain) {
            (Some(_), _) => Next::Backend,
            (None, Some(pin)) => Next::Program(pin.clone()),
            (None, None) => Next::Kernel,
        },
        flow_table_entries: settings.node.flow_table_entries,
    };
    let plane = (!interfaces.is_empty())
        .then(|| Dataplane::open_logging(&options, log))
        .transpose()?;
    let running = plane.as_ref().is_some_and(Dataplane::adopted);
    let mut problems = Vec::new();
    let directory = &settings.node.state_dir;
    let state_file = match StateFile::in_directory(directory) {
        // A datapath that runs needs its agent more than its agent needs a memory.
        Err(error) if running => {
            problems.push(error.to_string());
            StateFile::at(directory)
        }
        other => other?,
    };
    let (mut state, unusable) = state_file.load_or_begin();
    if state.go_on(boot_id()) {
        info!("the box has rebooted: overrides of backends without --persist are forgotten");
    }
    problems.extend(unusable.map(|error| error.to_string()));
    for problem in &problems {
        warn!("{problem}");
    }
    Ok(Ground {
        signals,
        socket,
        metrics,
        state_file,
        state,
        plane,
        problems,
    })
}

/// Without what routers say a node works where every link takes what its own takes.
fn listen(settings: &Settings) -> Option<Listener> {
    if settings.node.interfaces.is_empty() {
        return None;
    }
    let listener = Listener::start().inspect_err(|error| {
        warn!(
            "what routers say of packets that are too big for the way to a backend is not heard: {error}; \
             it takes root or CAP_NET_RAW"
        );
    });
    listener.ok()
}

/// What the addresses of this box are as backends.
fn own(settings: &Settings) -> Own {
    match settings.backend {
        Some(_) => Own::Served,
        None => Own::Refused,
    }
}

/// Names this boot of the kernel.
fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// What the datapath says. Next hops only while the program is where they lead out: an interface that was made anew has
/// another number.
fn adopted(settings: &Settings, state: &State, observed: &Observed, attached: bool) -> Adopted {
    let mut adopted = Adopted::read(settings, &state.slots, observed);
    if !attached {
        adopted.ways.next_hops.clear();
    }
    adopted
}

fn serve(
    node: &Arc<AgentNode>,
    socket: AdminSocket,
    metrics: Option<TcpListener>,
) -> watch::Sender<bool> {
    let (stop, stopped) = watch::channel(false);
    let admin = admin::serve(socket, Arc::clone(node), wait_for(stopped.clone()));
    tokio::spawn(admin);
    if let Some(listener) = metrics {
        tokio::spawn(scrape::serve(listener, Arc::clone(node), wait_for(stopped)));
    }
    stop
}

/// Gives the speaker the passwords of every reload, until the reconcile loop ends.
async fn rekey(
    speaker: Arc<Mutex<Option<Speaker>>>,
    mut passwords: watch::Receiver<BTreeMap<PeerName, String>>,
) {
    while passwords.changed().await.is_ok() {
        let passwords = passwords.borrow_and_update().clone();
        let mut speaker = speaker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(speaker) = &mut *speaker {
            speaker.rekey(&passwords);
        }
    }
}

async fn wait_for(mut stopped: watch::Receiver<bool>) {
    // An error means that the agent is gone: time to stop as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn start_error(error: impl std::fmt::Display) -> Error {
    Error::Start(error.to_string())
}
