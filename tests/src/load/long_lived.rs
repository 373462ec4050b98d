//! Long-lived connections that exchange data steadily and must not break.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use hyper::body::Bytes;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::client::Client;

/// What to open.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Addresses; each gets the same number of connections.
    pub targets: Vec<SocketAddr>,
    /// Connections to each target.
    pub per_target: usize,
    /// The time over which they are opened.
    pub opening: Duration,
    /// Time between two requests of one connection.
    pub every: Duration,
    /// How long a request may be unanswered at the end before its connection counts as broken.
    pub patience: Duration,
}

/// What became of one connection.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whom it was opened to.
    pub target: SocketAddr,
    /// The server that answered first; none where none did.
    pub server: Option<String>,
    /// Requests answered, in sequence.
    pub answered: u64,
    /// Longest wait for an answer that came.
    pub worst_stall: Duration,
    /// Why it broke.
    pub broken: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    answering: usize,
    broken: usize,
}

/// Open connections, each with its own task.
#[derive(Debug)]
pub struct LongLived {
    stop: watch::Sender<Option<Instant>>,
    patience: Duration,
    progress: watch::Receiver<Progress>,
    tasks: Vec<JoinHandle<Outcome>>,
}

impl LongLived {
    /// Starts to open them all, spread over the plan's time so that they do not beat as one.
    pub fn open(runtime: &Handle, plan: &Plan) -> Self {
        let (stop, stopped) = watch::channel(None);
        let (report, progress) = watch::channel(Progress::default());
        let total = plan.targets.len() * plan.per_target;
        let tasks = (0..total).map(|number| {
            let connection = Connection {
                target: plan.targets[number % plan.targets.len()],
                begin: Instant::now() + plan.opening.mul_f64(number as f64 / total as f64),
                every: plan.every,
                stopped: stopped.clone(),
                progress: report.clone(),
            };
            runtime.spawn(connection.run())
        });
        Self {
            stop,
            patience: plan.patience,
            progress,
            tasks: tasks.collect(),
        }
    }

    /// Waits until every connection has had an answer; none may have broken.
    pub async fn all_answering(&mut self, deadline: Duration) -> Result<()> {
        self.all_settled(deadline).await?;
        let broken = self.progress.borrow().broken;
        ensure!(
            broken == 0,
            "{broken} of {} connections broke at once",
            self.tasks.len()
        );
        Ok(())
    }

    /// Waits until every connection has had an answer or has broken.
    pub async fn all_settled(&mut self, deadline: Duration) -> Result<()> {
        let total = self.tasks.len();
        let settled = self
            .progress
            .wait_for(|progress| progress.answering + progress.broken >= total);
        let waited = timeout(deadline, settled).await;
        ensure!(
            waited.is_ok_and(|settled| settled.is_ok()),
            "of {total} connections: {:?}",
            *self.progress.borrow()
        );
        Ok(())
    }

    /// Sends one last request on each, gives it the plan's patience and returns what became of each.
    pub async fn finish(self) -> Result<Vec<Outcome>> {
        self.stop.send_replace(Some(Instant::now() + self.patience));
        let mut outcomes = Vec::with_capacity(self.tasks.len());
        for task in self.tasks {
            outcomes.push(task.await?);
        }
        Ok(outcomes)
    }
}

struct Connection {
    target: SocketAddr,
    begin: Instant,
    every: Duration,
    /// Set at the end, to the time up to which answers count.
    stopped: watch::Receiver<Option<Instant>>,
    progress: watch::Sender<Progress>,
}

impl Connection {
    async fn run(self) -> Outcome {
        let mut outcome = Outcome {
            target: self.target,
            server: None,
            answered: 0,
            worst_stall: Duration::ZERO,
            broken: None,
        };
        let deadline = end_of_patience(self.stopped.clone());
        // The exchange is dropped half-way only when it counts as broken.
        let result = tokio::select! {
            result = self.exchange(&mut outcome) => result,
            () = deadline => Err(anyhow!("no answer until the end")),
        };
        outcome.broken = result.err().map(|error| format!("{error:#}"));
        if outcome.broken.is_some() && outcome.server.is_none() {
            self.progress.send_modify(|progress| progress.broken += 1);
        }
        outcome
    }

    async fn exchange(&self, outcome: &mut Outcome) -> Result<()> {
        let mut ticks = interval_at(self.begin, self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut client = Client::connect_to_abort(self.target).await?;
        loop {
            // The last request begins after the stop: a connection that broke while it was idle is noticed, too.
            let last = self.stopped.borrow().is_some();
            let sent = Instant::now();
            let answer = client.request(outcome.answered, Bytes::new()).await?;
            outcome.worst_stall = outcome.worst_stall.max(sent.elapsed());
            outcome.answered += 1;
            match &outcome.server {
                None => {
                    outcome.server = Some(answer.name);
                    self.progress
                        .send_modify(|progress| progress.answering += 1);
                }
                Some(server) if *server != answer.name => {
                    bail!("answers from {server} and {}", answer.name)
                }
                Some(_) => {}
            }
            if last {
                return Ok(());
            }
            ticks.tick().await;
        }
    }
}

async fn end_of_patience(mut stopped: watch::Receiver<Option<Instant>>) {
    let stop = match stopped.wait_for(Option::is_some).await {
        Ok(stop) => *stop,
        // The owner is gone, and nobody wants the outcome any more.
        Err(_) => None,
    };
    if let Some(deadline) = stop {
        sleep_until(deadline).await;
    }
}

/// Connections that broke.
pub fn broken<'a>(
    outcomes: impl IntoIterator<Item = &'a Outcome>,
) -> impl Iterator<Item = &'a Outcome> {
    outcomes
        .into_iter()
        .filter(|outcome| outcome.broken.is_some())
}

/// Longest wait of a connection that did not break.
pub fn worst_stall<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Duration {
    let whole = outcomes
        .into_iter()
        .filter(|outcome| outcome.broken.is_none());
    whole
        .map(|outcome| outcome.worst_stall)
        .max()
        .unwrap_or_default()
}

/// Reasons of the broken ones, with their counts.
pub fn reasons(outcomes: &[Outcome]) -> BTreeMap<&str, u64> {
    let mut reasons = BTreeMap::new();
    for reason in outcomes
        .iter()
        .filter_map(|outcome| outcome.broken.as_deref())
    {
        *reasons.entry(reason).or_default() += 1;
    }
    reasons
}
