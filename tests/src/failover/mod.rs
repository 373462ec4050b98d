//! `cargo xtask bench failover`: how long a router goes on sending packets to a node that cannot serve them any more.
//!
//! A node announces a VIP to a router, FRR or BIRD. Each run makes one fault and takes the time from it to the moment when the route has left the
//! router's kernel, as the kernel tells it; then everything is put back.
//!
//! | file | holds |
//! |---|---|
//! | this | the faults, their limits and the runs |
//! | [`watch`] | the kernel's word about routes |
//! | [`report`] | the figures as JSON and as a table |

pub mod report;
pub mod watch;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::harness::poll;
use crate::interop::daemon::{self, Kind, Side};
use crate::interop::site::{File, NODE, NODE_ASN, ROUTER, ROUTER_ASN, SOON, Site, VIPS};
use crate::lab::agent::Agent;
use report::Row;
use watch::{Gone, Watch};

/// A fault, and how long it may take, the median of the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operator withdraws the service.
    Withdraw,
    /// The node is stopped; its drain wait is none.
    Stop,
    /// Nothing leaves or reaches the node any more, and no link goes down.
    Silence,
    /// The server of the only backend dies; from the verdict of the checks on.
    Verdict,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Withdraw, Self::Stop, Self::Silence, Self::Verdict];

    /// As the report has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Withdraw => "withdraw",
            Self::Stop => "stop",
            Self::Silence => "silence, BFD 100 ms x 3",
            Self::Verdict => "verdict of the checks",
        }
    }

    /// What the median may be at most.
    pub const fn limit(self, router: Kind) -> Duration {
        let node = Duration::from_millis(match self {
            Self::Withdraw => 50,
            Self::Stop | Self::Verdict => 100,
            Self::Silence => 350,
        });
        match (self, router) {
            (Self::Withdraw, Kind::Frr) => node.saturating_add(FRR_HOLDS),
            _ => node,
        }
    }
}

/// Routers that have a kernel's table and BFD.
pub const ROUTERS: [Kind; 2] = [Kind::Frr, Kind::Bird];

/// What FRR waits for more changes before it acts on one: bgpd 50 ms before it chooses, zebra 10 ms before it tells the kernel
/// (`process_main_queue` in bgpd/bgp_route.c, `ZEBRA_RIB_PROCESS_HOLD_TIME`). No router that does so is within 50 ms.
const FRR_HOLDS: Duration = Duration::from_millis(60);

const VIP: &str = VIPS[0];

/// Makes each fault so many times. `lab` is the program of that name, beside which `anylb` is.
pub async fn run(lab: &Path, router: Kind, faults: &[Fault], runs: usize) -> Result<Vec<Row>> {
    let mut site = Site::build(lab).await?;
    let side = side();
    let _router = daemon::start(router, &site.lone.star.r1, &side, site.dir()).await?;
    let file = File {
        peer: "bfd = { interval = \"100ms\", multiplier = 3 }\n".into(),
        ..File::opposite(&side)
    };
    let mut watch = Watch::start(&site.lone.star.r1, VIP)?;
    let mut agent = Some(serving(&site, &file, &mut watch, None).await?);
    let mut rows = Vec::new();
    for &fault in faults {
        let mut times = Vec::new();
        for run in 1..=runs {
            let what = format!("{}: {}", router.name(), fault.name());
            eprintln!("failover: {what}: run {run} of {runs}");
            let running = agent.take().context("an agent")?;
            watch.forget();
            let (time, left) = happen(fault, &mut site, running, &mut watch).await?;
            times.push(time);
            agent = Some(serving(&site, &file, &mut watch, left).await?);
        }
        rows.push(Row::new(router, fault, times));
    }
    agent.context("an agent")?.stop(SOON).await?;
    Ok(rows)
}

fn side() -> Side {
    let address = |text: &str| text.parse().expect("an address of this program");
    Side {
        graceful_restart: true,
        bfd: true,
        ..Side::plain(address(ROUTER[0]), ROUTER_ASN, address(NODE[0]), NODE_ASN)
    }
}

/// Waits until the router sends packets to the node and BFD watches it; starts an agent where there is none.
async fn serving(
    site: &Site,
    file: &File,
    watch: &mut Watch,
    left: Option<Agent>,
) -> Result<Agent> {
    let agent = match left {
        Some(agent) => agent,
        None => site.start(file).await?,
    };
    poll::until("a node that serves", SOON, async || {
        let status = agent.status()?;
        let peer = status.peers.first().context("a peer")?;
        let bfd = peer.bfd.as_ref().context("a peer with BFD")?;
        ensure!(peer.established() && bfd.up(), "{peer:?}");
        ensure!(
            status.services.iter().all(|service| service.announced),
            "{status:?}"
        );
        let routes = site.lone.star.r1.ip_json(&format!("route show {VIP}"))?;
        ensure!(
            routes.as_array().is_some_and(|all| !all.is_empty()),
            "no route"
        );
        Ok(())
    })
    .await?;
    watch.forget();
    Ok(agent)
}

/// Makes the fault and undoes it: the time to the end of the route, and the agent that still runs.
async fn happen(
    fault: Fault,
    site: &mut Site,
    agent: Agent,
    watch: &mut Watch,
) -> Result<(Duration, Option<Agent>)> {
    let begin = Instant::now();
    match fault {
        Fault::Withdraw => {
            agent.tell(&["service", "withdraw", "v4"])?;
            let gone = watch.gone(SOON)?;
            agent.tell(&["service", "announce", "v4"])?;
            Ok((gone.at - begin, Some(agent)))
        }
        Fault::Stop => {
            agent.terminate()?;
            let gone = watch.gone(SOON)?;
            agent.ended(SOON).await?;
            Ok((gone.at - begin, None))
        }
        Fault::Silence => {
            // The node is silent from the first rule on.
            let silent = site.node().silence()?;
            let gone = watch.gone(SOON)?;
            drop(silent);
            Ok((gone.at - begin, Some(agent)))
        }
        Fault::Verdict => {
            site.lone.kill_web(1)?;
            let gone = watch.gone(SOON)?;
            let time = since_verdict(site, &gone)?;
            site.lone.start_web(1).await?;
            Ok((time, Some(agent)))
        }
    }
}

/// Time from the last verdict of the agent's log to the end of the route.
fn since_verdict(site: &Site, gone: &Gone) -> Result<Duration> {
    let log = std::fs::read_to_string(site.node().dir.join("agent.log"))?;
    let verdict = |line: &&str| line.contains("verdict pool=v4") && line.contains("health=Down");
    let line = log.lines().rfind(verdict).context("a verdict in the log")?;
    let told = time_of_day(line).with_context(|| line.to_owned())?;
    Ok(gone.since(told))
}

/// Time since midnight UTC at the beginning of a line, `2026-11-28T04:07:01.760475Z`.
fn time_of_day(line: &str) -> Option<Duration> {
    let (_, time) = line.split_once('T')?;
    let (time, _) = time.split_once('Z')?;
    let mut parts = time.split(':');
    let hours: u64 = parts.next()?.parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.parse().ok()?;
    Some(Duration::from_secs(3600 * hours + 60 * minutes) + Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_log() {
        let line = "2026-11-28T04:07:01.760475Z  INFO anylb: verdict";
        let expected = Duration::from_micros((4 * 3600 + 7 * 60 + 1) * 1_000_000 + 760_475);
        assert_eq!(time_of_day(line), Some(expected));
        assert_eq!(time_of_day("no time"), None);
    }
}
