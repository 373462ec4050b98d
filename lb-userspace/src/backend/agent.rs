//! The agent: starts and ends the role, and waits for what changes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::datapath;
use super::error::Error;
use super::keeper::{Keeper, load};
use super::node::{BackendNode, Request};
use super::role::Role;
use crate::api::{admin, scrape};
use crate::model::Settings;
use crate::netlink::address::OwnAddresses;
use crate::status::Command;

/// How often the host is looked at: a listener that starts is known so soon.
const LOOK: Duration = Duration::from_secs(1);
/// Requests that wait for the loop.
const REQUESTS_MAX: usize = 16;

/// Runs until it is told to stop or to hand over.
pub async fn run(config: PathBuf) -> Result<(), Error> {
    let role = load(&config)?;
    if role.is_both() {
        return Err(Error::BothRoles(config));
    }
    // Everything that can be refused comes first, so that a refusal leaves nothing behind.
    let socket = admin::AdminSocket::bind(&role.settings.node.runtime_dir)?;
    let metrics = match role.settings.metrics {
        Some(address) => Some(scrape::bind(address).await?),
        None => None,
    };
    let signals = Signals::new()?;
    let (requests, queue) = mpsc::channel(REQUESTS_MAX);
    let mut keeper = Keeper::start(config, role).await?;
    let node = Arc::new(BackendNode {
        requests: requests.clone(),
        status: keeper.status.subscribe(),
    });
    let (stop, stopped) = watch::channel(false);
    let mut servers = vec![
        tokio::spawn(signals.pass_on(requests)),
        tokio::spawn(admin::serve(
            socket,
            Arc::clone(&node),
            told(stopped.clone()),
        )),
    ];
    if let Some(listener) = metrics {
        servers.push(tokio::spawn(scrape::serve(listener, node, told(stopped))));
    }
    let ended = serve(&mut keeper, queue).await;
    // The servers hold the receiver until they have ended; signals find nobody who listens.
    let _ = stop.send(true);
    servers.swap_remove(0).abort();
    for server in servers {
        // A server that panicked has nothing left to end.
        let _ = server.await;
    }
    end(keeper, ended?).await
}

/// Starts the role beside the LB node's agent of the same box, which has the signals, the admin socket and the metrics: the way
/// to ask it, and its task. `settings` are what the file at `config` says.
pub async fn beside(
    config: PathBuf,
    settings: Settings,
) -> Result<(BackendNode, JoinHandle<Result<(), Error>>), Error> {
    let role = Role::of(settings, &config)?;
    let (requests, queue) = mpsc::channel(REQUESTS_MAX);
    let mut keeper = Keeper::start(config, role).await?;
    let node = BackendNode {
        requests,
        status: keeper.status.subscribe(),
    };
    let task = tokio::spawn(async move {
        let ended = serve(&mut keeper, queue).await;
        end(keeper, ended?).await
    });
    Ok((node, task))
}

/// Undoes what an agent of this LB node has left that was a backend as well: by `settings` it is one no more.
pub async fn undo_left(settings: &Settings) -> Result<(), Error> {
    let node = &settings.node;
    if !datapath::remove_left(&node.pin_dir, &node.interfaces)? {
        return Ok(());
    }
    info!("a backend no more: what an agent before has left goes away");
    for failed in OwnAddresses::on("lo").await?.set(&BTreeSet::new()).await {
        warn!("{failed}");
    }
    Ok(())
}

async fn end(keeper: Keeper, intent: Intent) -> Result<(), Error> {
    match intent {
        Intent::Stop => keeper.stop().await,
        Intent::HandOver => {
            info!("handed over: datapath and VIPs stay");
            Ok(())
        }
    }
}

async fn told(mut stopped: watch::Receiver<bool>) {
    // An error means that the agent is gone, which is as good a reason to end.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// How the agent ends.
enum Intent {
    /// The host is no backend any more.
    Stop,
    /// Another agent will come: the datapath goes on.
    HandOver,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let on = |kind| signal(kind).map_err(Error::io("cannot handle signals"));
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// Makes requests of them.
    async fn pass_on(mut self, requests: mpsc::Sender<Request>) {
        loop {
            // All cancel-safe: a signal stays pending.
            let request = tokio::select! {
                _ = self.terminate.recv() => Request::Stop,
                _ = self.interrupt.recv() => Request::Stop,
                _ = self.hangup.recv() => Request::Hangup,
            };
            if requests.send(request).await.is_err() {
                return;
            }
        }
    }
}

/// What woke the loop.
enum Wake {
    Request(Request),
    NextHops,
    Wanted,
    Look,
}

/// Answers and adapts until told to end.
async fn serve(keeper: &mut Keeper, mut queue: mpsc::Receiver<Request>) -> Result<Intent, Error> {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // All cancel-safe: requests stay queued, a watch remembers what was seen, a ring stays readable.
        let wake = tokio::select! {
            Some(request) = queue.recv() => Wake::Request(request),
            Ok(()) = keeper.next_hops.changed() => Wake::NextHops,
            ready = keeper.ring.readable() => {
                ready.map_err(Error::io("cannot wait for the datapath"))?.clear_ready();
                Wake::Wanted
            }
            _ = ticks.tick() => Wake::Look,
        };
        match wake {
            Wake::Request(Request::Stop) => return Ok(Intent::Stop),
            Wake::Request(Request::Hangup) => match keeper.reload().await {
                Ok(done) => info!("reload: {done}"),
                Err(refusal) => error!("reload: {}", refusal.message),
            },
            Wake::Request(Request::Counters(reply)) => {
                // Whoever asked may be gone.
                let _ = reply.send(keeper.counters().await);
            }
            Wake::Request(Request::Bpf(reply)) => {
                let _ = reply.send(keeper.inventory());
            }
            Wake::Request(Request::Verify(reply)) => {
                let _ = reply.send(keeper.verify());
            }
            Wake::Request(Request::Command(Command::Handover, reply)) => {
                let _ = reply.send(Ok(
                    "this node only: datapath and VIPs stay, the agent ends".into()
                ));
                return Ok(Intent::HandOver);
            }
            Wake::Request(Request::Command(command, reply)) => {
                let _ = reply.send(keeper.command(command).await);
            }
            Wake::NextHops => keeper.set_next_hops(),
            Wake::Wanted => keeper.take_wanted(),
            Wake::Look => keeper.look().await,
        }
    }
}
