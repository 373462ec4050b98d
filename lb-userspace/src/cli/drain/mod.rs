//! `anylb backend drain --wait`: until the backend says itself that it has no connections.
//!
//! Only the backend knows: an LB node keeps no flows. So its metrics are asked, and where they do not tell, nobody does.
//!
//! | module | holds | pure |
//! |---|---|---|
//! | [`exposition`] | connections out of the text of a backend's metrics | yes |
//! | [`wait`] | what to do after each reading | yes |
//! | [`progress`] | what is shown meanwhile | yes |
//! | [`scrape`] | the text, over HTTP | no |

mod exposition;
mod progress;
mod scrape;
mod wait;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Stderr, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::args::DrainArgs;
use super::client::Client;
use super::error::CliError;
use super::output::{Answer, Style};
use super::show;
use crate::model::{AdminState, PoolName};
use crate::status::{Command, DrainOutcome, Drained, Envelope, Exit, NodeStatus};

use progress::Progress;
use scrape::{Http, Scrape};
use wait::{Step, Wait};

/// What a wait needs of the world.
pub(super) struct World<S, W> {
    /// Where metrics come from.
    scrape: S,
    /// Where progress is shown.
    screen: W,
    /// Whether that is a terminal.
    terminal: bool,
}

impl World<Http, Stderr> {
    /// The network, and standard error: the answer alone goes to standard output.
    pub(super) fn real() -> Self {
        Self {
            scrape: Http,
            screen: io::stderr(),
            terminal: io::stderr().is_terminal(),
        }
    }
}

impl<S, W: Write> World<S, W> {
    fn show(&mut self, text: &str) {
        // Whoever closed standard error does not want to know; the answer comes all the same.
        let _ = self.screen.write_all(text.as_bytes());
    }
}

/// Drains, and waits for the backend to be empty where `args` say so.
pub(super) async fn answer(
    client: &Client,
    args: DrainArgs,
    mut world: World<impl Scrape, impl Write>,
    style: Style,
) -> Result<Answer, CliError> {
    let done = client.command(&command(&args)).await?;
    if !args.wait {
        return Answer::new(style, &done, |done| format!("{}\n", done.message));
    }
    let status = client.status().await?.body;
    let source = Source::of(&status, &args)?;
    let timeout = Duration::from_secs(args.timeout);
    let (outcome, waited) = source
        .wait(&mut world, timeout, &args.backend.backend)
        .await;
    let drained = Drained {
        message: done.body.message,
        waited_secs: waited.as_secs(),
        outcome,
    };
    let exit = match drained.outcome {
        DrainOutcome::Empty => Exit::Ok,
        DrainOutcome::Timeout { .. } => Exit::Timeout,
        DrainOutcome::Unknown { .. } => Exit::Degraded,
    };
    let envelope = Envelope::new(done.generation, drained);
    let answer = Answer::new(style, &envelope, |drained| {
        show::drain::text(drained, &args.backend.backend)
    })?;
    Ok(Answer { exit, ..answer })
}

fn command(args: &DrainArgs) -> Command {
    Command::SetAdmin {
        pool: args.backend.pool.clone().map(PoolName),
        backend: args.backend.backend.clone(),
        admin: AdminState::Draining,
        persist: args.persist,
    }
}

/// Whom to ask, and for what.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    /// One, unless pools give one name to several.
    metrics: Vec<SocketAddr>,
    /// Services of the pool that it drains in; empty: of all pools, so that every connection counts.
    services: Vec<String>,
}

impl Source {
    fn of(status: &NodeStatus, args: &DrainArgs) -> Result<Self, CliError> {
        let pool = args.backend.pool.clone().map(PoolName);
        let wanted = &args.backend.backend;
        let pools = status.pools.iter();
        let pools = pools.filter(|(name, _)| pool.as_ref().is_none_or(|pool| pool == *name));
        let backends = pools.flat_map(|(_, pool)| &pool.backends);
        let addresses: BTreeSet<IpAddr> = backends
            .filter(|one| one.name.as_ref() == Some(wanted) || wanted.parse() == Ok(one.address))
            .map(|one| one.address)
            .collect();
        if addresses.is_empty() {
            let message = format!(
                "{wanted} was told to drain and left the configuration meanwhile: see `anylb backend list`"
            );
            return Err(CliError::new(Exit::NotFound, message));
        }
        let metrics = addresses
            .into_iter()
            .map(|address| SocketAddr::new(address, args.metrics_port))
            .collect();
        let services = status.services.iter();
        let services = services.filter(|service| pool.is_some() && service.pool == pool);
        Ok(Self {
            metrics,
            services: services.map(|service| service.name.clone()).collect(),
        })
    }

    /// Asks until it is over; how it ended and after what time.
    async fn wait(
        &self,
        world: &mut World<impl Scrape, impl Write>,
        timeout: Duration,
        backend: &str,
    ) -> (DrainOutcome, Duration) {
        let start = Instant::now();
        let mut progress = Progress::new(backend, world.terminal);
        let mut wait = Wait::new(timeout);
        let outcome = loop {
            let reading = self.read(&world.scrape).await;
            world.show(&progress.update(&reading, start.elapsed()));
            match wait.take(reading, start.elapsed()) {
                Step::Again(at) => sleep_until(start + at).await,
                Step::End(outcome) => break outcome,
            }
        };
        world.show(progress.end());
        (outcome, start.elapsed())
    }

    /// Connections of all of them together, or why one cannot be counted.
    async fn read(&self, scrape: &impl Scrape) -> Result<u64, String> {
        let mut sum = 0;
        for &address in &self.metrics {
            let count = match scrape.text(address).await {
                Ok(text) => exposition::connections(&text, &self.services),
                Err(reason) => Err(reason),
            };
            sum += count.map_err(|reason| format!("http://{address}/metrics: {reason}"))?;
        }
        Ok(sum)
    }
}
