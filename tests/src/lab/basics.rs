//! Bring-up, plain requests, and what must be true at the end.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::files::BACKENDS_FIRST;
use super::report::{Check, Report};
use super::site::{IN_A_WHILE, PORT, Site, VIPS};
use crate::harness::counters::Counters;
use crate::harness::poll;
use crate::load::many;

/// IPv4 and IPv6 unicast of two nodes.
const SESSIONS: usize = 4;
const REQUESTS: u64 = 4000;
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(5);
/// No backend owns more rows than this many times its share.
const ROWS_BOUND: f64 = 1.05;
/// Standard deviations of a binomial that chance does not exceed in this lifetime.
const SIGMAS: f64 = 5.0;
const RESIDENT_MAX_MIB: f64 = 24.0;

/// Waits for sessions and routes.
pub async fn bring_up(site: &mut Site, report: &mut Report) -> Result<()> {
    let (_, took) = poll::until("sessions", IN_A_WHILE, async || {
        let established = established(site)?;
        ensure!(
            established == SESSIONS,
            "{established} of {SESSIONS} established"
        );
        Ok(())
    })
    .await?;
    report.check(Check::time(
        "bring-up-sessions-established",
        took,
        IN_A_WHILE,
    ));
    let took = site.wait_serving(&["lb1", "lb2"], IN_A_WHILE).await?;
    report.check(Check::time("bring-up-ecmp-routes", took, IN_A_WHILE));
    Ok(())
}

/// Address families of established sessions, as the router sees them.
fn established(site: &Site) -> Result<usize> {
    let summary = site.router.show("bgp summary")?;
    let mut count = 0;
    for family in ["ipv4Unicast", "ipv6Unicast"] {
        let peers = summary[family]["peers"].as_object();
        count += peers
            .into_iter()
            .flatten()
            .filter(|(_, peer)| peer["state"] == "Established")
            .count();
    }
    Ok(count)
}

/// Thousands of requests per family.
pub async fn requests(site: &mut Site, report: &mut Report) -> Result<()> {
    for vip in VIPS {
        let family = if vip.is_ipv4() { "ipv4" } else { "ipv6" };
        requests_to(site, report, vip, family).await?;
    }
    Ok(())
}

async fn requests_to(site: &Site, report: &mut Report, vip: IpAddr, family: &str) -> Result<()> {
    let target = SocketAddr::new(vip, PORT);
    let tally = many::requests(site.client.handle(), target, REQUESTS, AT_ONCE, PATIENCE).await?;
    let unanswered = usize::try_from(REQUESTS - tally.answered())?;
    report.check(Check::none(
        format!("requests-{family}-unanswered"),
        unanswered,
        "requests",
    ));
    let foreign = usize::try_from(tally.foreign_peer)?;
    report.check(Check::none(
        format!("requests-{family}-foreign-peer"),
        foreign,
        "requests",
    ));
    for (reason, count) in &tally.failures {
        report.note(&format!("         {count} x {reason}"));
    }
    let backends = usize::from(BACKENDS_FIRST).max(tally.by_server.len());
    let share = REQUESTS as f64 / backends as f64;
    let most = tally.by_server.values().copied().max().unwrap_or_default();
    let name = format!("requests-{family}-most-on-one-backend");
    report.check(Check::at_most(
        name,
        most as f64,
        "requests",
        load_bound(share).floor(),
    ));
    report.check(Check::none(
        format!("requests-{family}-idle-backends"),
        backends.saturating_sub(tally.by_server.len()),
        "backends",
    ));
    Ok(())
}

/// The most requests that rows within their bound and chance can put on one backend, given its fair share.
fn load_bound(share: f64) -> f64 {
    let expected = share * ROWS_BOUND;
    expected + SIGMAS * expected.sqrt()
}

/// Memory, and nothing that the kernel had to complain about.
pub fn afterwards(site: &Site, report: &mut Report) -> Result<()> {
    let mut resident = 0;
    for number in 1..=site.star.lbs.len() {
        resident = resident.max(site.lb_agent(number)?.resident_bytes()?);
    }
    let mib = (resident as f64 / 1024.0 / 1024.0 * 10.0).round() / 10.0;
    report.check(Check::at_most(
        "agent-resident-memory",
        mib,
        "MiB",
        RESIDENT_MAX_MIB,
    ));
    let mut errors = 0;
    for netns in site.star.namespaces() {
        let counters = Counters::read(netns).with_context(|| netns.name().to_owned())?;
        errors += counters.value("Tcp.InCsumErrors") + counters.value("Udp.InCsumErrors");
    }
    report.check(Check::none(
        "checksum-errors",
        usize::try_from(errors)?,
        "packets",
    ));
    for status in site.statuses()? {
        for problem in &status.problems {
            report.note(&format!("         {}: {problem}", status.node));
        }
    }
    Ok(())
}
