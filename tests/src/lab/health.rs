//! Backends that die, and nodes that think one has.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::status::Health;
use tokio::time::Instant;

use super::files::{BACKENDS_FIRST, Pools};
use super::report::{Check, Report};
use super::site::{IN_A_WHILE, PORT, SOON, Site};
use super::trial::{self, Event, Excused, Ground};
use crate::harness::filter::Filter;
use crate::harness::poll;
use crate::load::long_lived;
use crate::load::stream::Stream;

/// As the nodes' files have it: interval x fall + timeout + jitter of a tenth, and half a second.
const NOTICED: Duration = Duration::from_millis(500 * 3 + 300 + 150 + 500);
/// The same and the time a withdraw takes to reach the router's kernel.
const WITHDRAWN: Duration = Duration::from_millis(500 * 3 + 300 + 150 + 500 + 200);
/// Rise, and the 10 s for which a VIP that went away is held back.
const ANNOUNCED_AGAIN: Duration = Duration::from_secs(15);
const STALL: Duration = Duration::from_millis(250);
/// How long backends are told to drop unknown flows and not to reset them (interval x fall + timeout), and two
/// retransmissions of a flow that was dropped: from then on the control shows.
const UNSETTLED: Duration = Duration::from_millis(4500);
/// A new request that takes longer has met the dead backend: its SYN was lost.
const SLOW: Duration = Duration::from_millis(500);
const NEW_EVERY: Duration = Duration::from_millis(5);
const NEW_PATIENCE: Duration = Duration::from_secs(8);

/// Only lb1's checks of one live backend fail, and the router moves flows between the nodes.
pub async fn disagreement(site: &mut Site, report: &mut Report) -> Result<()> {
    let backend = any_backend(site);
    let seeds = [site.dice.multipath_seed(), site.dice.multipath_seed()];
    let happens = async |site: &mut Site, _| {
        let rules = checks_of(site, backend);
        let filter = Filter::dropping(&site.star.r1, "checks", "forward", &rules)?;
        wait_health(site, 1, backend, Health::Down).await?;
        site.star.reseed_multipath(seeds[0])?;
        site.observe(UNSETTLED).await?;
        ensure!(
            health_at(site, 2, backend)? == [Health::Up; 2],
            "lb2 finds be{backend} down as well"
        );
        site.star.reseed_multipath(seeds[1])?;
        site.observe(STALL).await?;
        filter.lift();
        wait_health(site, 1, backend, Health::Up).await?;
        Ok(Excused::new())
    };
    Event {
        name: "health-disagreement",
        start: Pools::full(),
        stall_limit: STALL,
        happens,
    }
    .run(site, report)
    .await
}

/// lb1's checks of a backend, in both families.
fn checks_of(site: &Site, backend: u8) -> Vec<String> {
    let (lb, backend) = (site.lb(1), site.backend(backend));
    vec![
        format!(
            "ip saddr {} ip daddr {} tcp dport {PORT}",
            lb.v4, backend.v4
        ),
        format!(
            "ip6 saddr {} ip6 daddr {} tcp dport {PORT}",
            lb.v6, backend.v6
        ),
    ]
}

/// One backend goes silent: its link is up, nothing comes through.
pub async fn backend_dies(site: &mut Site, report: &mut Report) -> Result<()> {
    let backend = any_backend(site);
    let name = site.backend(backend).name.clone();
    let mut load = trial::open(site)?;
    load.all_answering(SOON).await?;
    let stream = Stream::start(
        site.client.handle(),
        Site::targets(),
        NEW_EVERY,
        NEW_PATIENCE,
    );
    site.observe(STALL).await?;
    let filter = Filter::dropping(&site.star.r1, "silence", "forward", &silence(&name))?;
    let death = Instant::now();
    for number in 1..=site.star.lbs.len() {
        wait_health(site, number, backend, Health::Down).await?;
    }
    site.observe(SLOW * 2).await?;
    let samples = stream.finish().await?;
    let outcomes = load.finish().await?;
    filter.lift();

    let broken = long_lived::broken(&outcomes);
    let (own, others): (Vec<_>, Vec<_>) =
        broken.partition(|outcome| outcome.server.as_deref() == Some(&name));
    report.check(
        Check::none("backend-dies-others-broken", others.len(), "connections")
            .with_control(own.len()),
    );
    let stall = long_lived::worst_stall(&outcomes);
    report.check(Check::time("backend-dies-worst-stall", stall, STALL));
    let failed = samples
        .iter()
        .filter(|sample| sample.start >= death + NOTICED && sample.result.is_err());
    report.check(Check::none(
        "backend-dies-new-requests-failed",
        failed.count(),
        "requests",
    ));
    let met = samples
        .iter()
        .filter(|sample| sample.start >= death && (sample.took > SLOW || sample.result.is_err()));
    let last = met
        .map(|sample| sample.start - death)
        .max()
        .unwrap_or_default();
    report.check(Check::time("backend-dies-avoided-after", last, NOTICED));
    for number in 1..=site.star.lbs.len() {
        wait_health(site, number, backend, Health::Up).await?;
    }
    Ok(())
}

/// All backends go silent and come back.
pub async fn all_backends_die(site: &mut Site, report: &mut Report) -> Result<()> {
    let rules: Vec<String> = silence("be*");
    let filter = Filter::dropping(&site.star.r1, "silence", "forward", &rules)?;
    let gone = site.wait_serving(&[], IN_A_WHILE).await?;
    report.check(Check::time(
        "all-backends-die-vips-withdrawn",
        gone,
        WITHDRAWN,
    ));
    filter.lift();
    let back = site.wait_serving(&["lb1", "lb2"], IN_A_WHILE).await?;
    report.check(Check::time(
        "all-backends-die-vips-back",
        back,
        ANNOUNCED_AGAIN,
    ));
    site.apply(&Pools::full()).await?;
    Ok(())
}

/// Nothing from or to devices of that name at the router.
fn silence(device: &str) -> Vec<String> {
    vec![
        format!("iifname \"{device}\""),
        format!("oifname \"{device}\""),
    ]
}

fn any_backend(site: &mut Site) -> u8 {
    let all: Vec<u8> = (1..=BACKENDS_FIRST).collect();
    site.dice.pick(&all)
}

/// Waits until an LB node has this verdict on a backend in both families.
async fn wait_health(site: &Site, number: usize, backend: u8, wanted: Health) -> Result<()> {
    poll::until(
        &format!("be{backend} {wanted:?} at lb{number}"),
        SOON,
        async || {
            let health = health_at(site, number, backend)?;
            ensure!(health == [wanted; 2], "it is {health:?}");
            Ok(())
        },
    )
    .await?;
    Ok(())
}

/// An LB node's verdicts on a backend, IPv4 and IPv6.
fn health_at(site: &Site, number: usize, backend: u8) -> Result<[Health; 2]> {
    let status = site.lb_agent(number)?.status()?;
    let verdict = |address: IpAddr| {
        let mut all = status.pools.values().flat_map(|pool| &pool.backends);
        all.find(|backend| backend.address == address)
            .map(|backend| backend.health)
            .context("no such backend")
    };
    let backend = site.backend(backend);
    Ok([verdict(backend.v4.into())?, verdict(backend.v6.into())?])
}
