//! A steady stream of new connections with one request each: what a client that arrives now experiences.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use hyper::body::Bytes;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::client::Client;

/// One request of the stream.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When the connection was begun.
    pub start: Instant,
    /// Until the answer, or the failure.
    pub took: Duration,
    /// The server's name, or what went wrong.
    pub result: Result<String, String>,
}

/// A running stream.
#[derive(Debug)]
pub struct Stream {
    stop: watch::Sender<bool>,
    task: JoinHandle<Vec<Sample>>,
}

impl Stream {
    /// Begins a request every `every`, to the targets in turn, each given `patience`.
    pub fn start(
        runtime: &Handle,
        targets: Vec<SocketAddr>,
        every: Duration,
        patience: Duration,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = runtime.spawn(run(targets, every, patience, stopped));
        Self { stop, task }
    }

    /// Begins no more, waits for those under way and returns all in the order of their start.
    pub async fn finish(self) -> Result<Vec<Sample>> {
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}

async fn run(
    targets: Vec<SocketAddr>,
    every: Duration,
    patience: Duration,
    mut stopped: watch::Receiver<bool>,
) -> Vec<Sample> {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tasks = JoinSet::new();
    let mut samples = Vec::new();
    for (sequence, target) in (0..).zip(targets.into_iter().cycle()) {
        // Both branches are cancel-safe: a tick not taken is taken next time, a change stays visible.
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => break,
        }
        tasks.spawn(one(target, sequence, patience));
        while let Some(done) = tasks.try_join_next() {
            samples.extend(done);
        }
    }
    samples.extend(tasks.join_all().await);
    samples.sort_by_key(|sample: &Sample| sample.start);
    samples
}

async fn one(target: SocketAddr, sequence: u64, patience: Duration) -> Sample {
    let start = Instant::now();
    let exchange = async {
        let mut client = Client::connect(target).await?;
        Ok(client.request(sequence, Bytes::new()).await?.name)
    };
    let result = timeout(patience, exchange)
        .await
        .unwrap_or_else(|_| Err(anyhow!("timeout")));
    Sample {
        start,
        took: start.elapsed(),
        result: result.map_err(|error: anyhow::Error| format!("{error:#}")),
    }
}
