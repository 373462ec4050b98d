//! Running until told otherwise, and the two ways to end.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::{error, info};

use super::Error;
use super::node::AgentNode;
use super::reconcile::Event;
use crate::api::Node as _;
use crate::backend;
use crate::backend::node::Request;
use crate::bgp::Speaker;
use crate::status::Command;

/// Without a packet for so long, a node is quiet.
const QUIET: Duration = Duration::from_secs(1);
/// How long peers have for the last withdrawals.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// A running agent.
pub struct Running {
    /// The agent as others see it.
    pub node: Arc<AgentNode>,
    /// What may end it.
    pub signals: Signals,
    /// The loop.
    pub reconciler: std::thread::JoinHandle<()>,
    /// The backend on the same box.
    pub backend: Option<JoinHandle<Result<(), backend::Error>>>,
    /// Ends the admin socket and the metrics listener.
    pub stop_servers: watch::Sender<bool>,
    /// `node.drain_wait`.
    pub drain_wait: Duration,
    /// `node.linger`.
    pub linger: Duration,
}

/// Signals that are handled from now on.
pub struct Signals {
    end: EndSignals,
    hangup: Signal,
}

struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Handles them; needs a tokio runtime.
    pub fn handle() -> io::Result<Self> {
        let end = EndSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        Ok(Self {
            end,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

impl EndSignals {
    /// SIGTERM or SIGINT. Cancel-safe: a signal stays pending.
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Why it ends.
enum Intent {
    Stop,
    Handover,
}

impl Running {
    /// Until told to stop or to hand over. SIGHUP reads the configuration again.
    pub async fn run(mut self) -> Result<(), Error> {
        match self.intent().await? {
            Intent::Stop => self.stop().await,
            Intent::Handover => self.hand_over().await,
        }
        // Nobody waits for an answer to this.
        let _ = self.stop_servers.send(true);
        if let Some(backend) = self.backend {
            backend.await.map_err(|_| panicked("backend's task"))??;
        }
        let joined = tokio::task::spawn_blocking(|| self.reconciler.join()).await;
        match joined {
            Ok(Ok(())) => Ok(()),
            _ => Err(panicked("reconcile thread")),
        }
    }

    async fn intent(&mut self) -> Result<Intent, Error> {
        loop {
            // All cancel-safe: a signal stays pending, a notification is kept as a permit.
            tokio::select! {
                () = self.signals.end.wait() => return Ok(Intent::Stop),
                () = self.node.handover.notified() => return Ok(Intent::Handover),
                _ = self.signals.hangup.recv() => reload(Arc::clone(&self.node)),
                () = self.node.events.closed() => {
                    return Err(Error::Start("the reconcile thread ended: please report the log".into()));
                }
            }
        }
    }

    async fn stop(&mut self) {
        info!("stopping: asking routers to move the traffic away");
        self.tell(Event::Drain).await;
        self.wait_until_quiet(self.drain_wait).await;
        self.tell(Event::Withdraw).await;
        if let Some(speaker) = self.take_speaker() {
            speaker.flushed(FLUSH_WAIT).await;
            speaker.stop("anylb is stopping").await;
        }
        // After the sessions it was for: a router that lost BFD first would end them with another reason.
        if let Some(bfd) = &self.node.bfd {
            bfd.stop().await;
        }
        info!("withdrawn: forwarding what still comes");
        self.wait_until_quiet(self.linger).await;
        if let Some(backend) = &self.node.backend {
            // Fails only where it has ended already.
            let _ = backend.requests.send(Request::Stop).await;
        }
        self.tell(Event::Remove).await;
        info!("stopped: the datapath is removed");
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

    /// Until no packet for a VIP has come for a second, at most `limit`, or until the next signal to end.
    async fn wait_until_quiet(&mut self, limit: Duration) {
        // Both cancel-safe: a signal stays pending, and of the waiting nothing is kept.
        tokio::select! {
            () = quiet(&self.node, limit) => {}
            () = self.signals.end.wait() => info!("told again: waiting no longer"),
        }
    }
}

fn panicked(what: &str) -> Error {
    Error::Start(format!("the {what} panicked: please report the log"))
}

async fn quiet(node: &AgentNode, limit: Duration) {
    let deadline = Instant::now() + limit;
    let (mut last, mut since) = (vip_packets(node).await, Instant::now());
    while Instant::now() < deadline && since.elapsed() < QUIET {
        sleep(QUIET / 10).await;
        let packets = vip_packets(node).await;
        if packets != last {
            (last, since) = (packets, Instant::now());
        }
    }
}

async fn vip_packets(node: &AgentNode) -> u64 {
    let counters = node.counters().await.unwrap_or_default();
    counters
        .services
        .values()
        .map(|service| service.count.packets)
        .sum()
}

/// In a task of its own: it may take a moment, and a signal to end must not wait for it.
fn reload(node: Arc<AgentNode>) {
    tokio::spawn(async move {
        match node.command(Command::Reload).await {
            Ok(done) => info!("reload: {done}"),
            Err(refusal) => error!("reload: {}", refusal.message),
        }
    });
}
