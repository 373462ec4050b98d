//! Flows that send numbered datagrams all the time and must stay with their server.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};

use super::flows::{connected, receive};
use super::{Answer, raise_descriptors};

/// What to open.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Addresses; each gets the same number of flows.
    pub targets: Vec<SocketAddr>,
    /// Flows to each target.
    pub per_target: usize,
    /// Time between two datagrams of one flow.
    pub every: Duration,
    /// How long a datagram may be unanswered at the end before it counts as lost.
    pub patience: Duration,
}

/// What became of one flow.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whom it was opened to.
    pub target: SocketAddr,
    /// The server that answered first; none where none did.
    pub server: Option<String>,
    /// Another one that answered later, and when.
    pub moved: Option<(String, Instant)>,
    /// Datagrams sent.
    pub sent: usize,
    /// When those were sent that nobody answered.
    pub lost: Vec<Instant>,
}

/// Open flows, each with its own task.
#[derive(Debug)]
pub struct Steady {
    stop: watch::Sender<bool>,
    answering: watch::Receiver<usize>,
    tasks: Vec<JoinHandle<Result<Outcome>>>,
}

impl Steady {
    /// Starts them all, spread over the time between two datagrams.
    pub fn open(runtime: &Handle, plan: &Plan) -> Result<Self> {
        raise_descriptors()?;
        let (stop, stopped) = watch::channel(false);
        let (report, answering) = watch::channel(0);
        let total = plan.targets.len() * plan.per_target;
        let tasks = (0..total).map(|number| {
            let flow = Flow {
                target: plan.targets[number % plan.targets.len()],
                begin: Instant::now() + plan.every.mul_f64(number as f64 / total as f64),
                every: plan.every,
                patience: plan.patience,
                stopped: stopped.clone(),
                answering: report.clone(),
                datagrams: Vec::new(),
                server: None,
                moved: None,
            };
            runtime.spawn(flow.run())
        });
        Ok(Self {
            stop,
            answering,
            tasks: tasks.collect(),
        })
    }

    /// Waits until every flow has had an answer.
    pub async fn all_answering(&mut self, deadline: Duration) -> Result<()> {
        let total = self.tasks.len();
        let all = self.answering.wait_for(|answering| *answering == total);
        let waited = timeout(deadline, all).await;
        ensure!(
            waited.is_ok_and(|all| all.is_ok()),
            "{} of {total} flows were answered",
            *self.answering.borrow()
        );
        Ok(())
    }

    /// Sends no more, gives what is under way the plan's patience and returns what became of each.
    pub async fn finish(self) -> Result<Vec<Outcome>> {
        self.stop.send_replace(true);
        let mut outcomes = Vec::with_capacity(self.tasks.len());
        for task in self.tasks {
            outcomes.push(task.await??);
        }
        Ok(outcomes)
    }
}

struct Flow {
    target: SocketAddr,
    begin: Instant,
    every: Duration,
    patience: Duration,
    stopped: watch::Receiver<bool>,
    answering: watch::Sender<usize>,
    /// When each was sent, until it is answered.
    datagrams: Vec<Option<Instant>>,
    server: Option<String>,
    moved: Option<(String, Instant)>,
}

impl Flow {
    async fn run(mut self) -> Result<Outcome> {
        let socket = connected(self.target).await?;
        self.exchange(&socket).await;
        let deadline = Instant::now() + self.patience;
        while self.datagrams.iter().any(Option::is_some) {
            match timeout_at(deadline, receive(&socket)).await {
                Ok(answer) => self.take(answer),
                Err(_) => break,
            }
        }
        Ok(Outcome {
            target: self.target,
            server: self.server,
            moved: self.moved,
            sent: self.datagrams.len(),
            lost: self.datagrams.into_iter().flatten().collect(),
        })
    }

    /// Until it is stopped.
    async fn exchange(&mut self, socket: &UdpSocket) {
        let mut ticks = interval_at(self.begin, self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopped = self.stopped.clone();
        loop {
            // All three are cancel-safe.
            tokio::select! {
                _ = ticks.tick() => {
                    let sequence = self.datagrams.len() as u64;
                    self.datagrams.push(Some(Instant::now()));
                    // What cannot be sent is lost.
                    let _ = socket.send(&sequence.to_le_bytes()).await;
                }
                answer = receive(socket) => self.take(answer),
                // Also when the owner is gone: nobody wants the outcome any more.
                _ = stopped.changed() => return,
            }
        }
    }

    fn take(&mut self, answer: Option<Answer>) {
        let Some(answer) = answer else { return };
        let index = usize::try_from(answer.sequence).unwrap_or(usize::MAX);
        if let Some(datagram) = self.datagrams.get_mut(index) {
            *datagram = None;
        }
        match &self.server {
            None => {
                self.server = Some(answer.name);
                self.answering.send_modify(|answering| *answering += 1);
            }
            Some(server) if *server != answer.name && self.moved.is_none() => {
                self.moved = Some((answer.name, Instant::now()));
            }
            Some(_) => {}
        }
    }
}
