//! Many requests, each on a connection of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use hyper::body::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::Client;

/// What became of them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Answers by name of the server.
    pub by_server: BTreeMap<String, u64>,
    /// Failures by their reason.
    pub failures: BTreeMap<String, u64>,
    /// Answers whose server saw another address than the client's.
    pub foreign_peer: u64,
}

impl Tally {
    /// Answers in all.
    pub fn answered(&self) -> u64 {
        self.by_server.values().sum()
    }

    /// Failures in all.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// Sends `count` requests from the runtime's namespace, `at_once` at a time, each given `patience`.
pub async fn requests(
    runtime: &Handle,
    target: SocketAddr,
    count: u64,
    at_once: usize,
    patience: Duration,
) -> Result<Tally> {
    let work = async move {
        let permits = Arc::new(Semaphore::new(at_once));
        let mut tasks = JoinSet::new();
        for sequence in 0..count {
            let permit = permits.clone().acquire_owned().await;
            tasks.spawn(async move {
                let _permit = permit;
                timeout(patience, one(target, sequence))
                    .await
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("timeout")))
            });
        }
        let mut tally = Tally::default();
        while let Some(result) = tasks.join_next().await {
            count_result(&mut tally, result?);
        }
        Ok(tally)
    };
    runtime.spawn(work).await?
}

fn count_result(tally: &mut Tally, result: Result<(String, bool)>) {
    match result {
        Ok((server, peer_is_ours)) => {
            *tally.by_server.entry(server).or_default() += 1;
            tally.foreign_peer += u64::from(!peer_is_ours);
        }
        Err(error) => *tally.failures.entry(format!("{error:#}")).or_default() += 1,
    }
}

async fn one(target: SocketAddr, sequence: u64) -> Result<(String, bool)> {
    let mut client = Client::connect(target).await?;
    let answer = client.request(sequence, Bytes::new()).await?;
    ensure!(!answer.name.is_empty(), "a server without a name");
    let seen = client.is_seen_in(&answer);
    Ok((answer.name, seen))
}
