//! Bring-up, plain requests, and what must be true at the end.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::files::BACKENDS_FIRST;
use super::report::{Check, Report};
use super::site::{IN_A_WHILE, PORT, Site, VIPS};
use crate::harness::counters::{Counters, xdp_errors};
use crate::harness::poll;
use crate::load::many;

/// IPv4 and IPv6 unicast of two nodes.
const SESSIONS: usize = 4;
const REQUESTS: u64 = 4000;
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(5);
/// The most and the least rows of a backend, in fair shares.
const ROWS_MOST: f64 = 1.05;
const ROWS_LEAST: f64 = 0.85;
/// Standard deviations that chance does not exceed in this lifetime.
const SIGMAS: f64 = 5.0;
/// Of a node with six services on two pools of twelve.
const RESIDENT_MAX_MIB: f64 = 24.0;
const DURATION_MAX: Duration = Duration::from_secs(360);

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
    let share = REQUESTS as f64 / f64::from(BACKENDS_FIRST);
    let chance = SIGMAS * share.sqrt();
    // A backend that answered nothing is as far below its share as can be.
    let idle = tally.by_server.len() < usize::from(BACKENDS_FIRST);
    let counts = || tally.by_server.values().map(|count| *count as f64);
    let above = counts().fold(0.0, f64::max) - share;
    let below = share
        - if idle {
            0.0
        } else {
            counts().fold(share, f64::min)
        };
    for (what, value, bound) in [
        ("above", above, (ROWS_MOST - 1.0) * share + chance),
        ("below", below, (1.0 - ROWS_LEAST) * share + chance),
    ] {
        let name = format!("requests-{family}-most-{what}-fair-share");
        report.check(Check::at_most(
            name,
            value.round(),
            "requests",
            bound.floor(),
        ));
    }
    Ok(())
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
    for netns in site.namespaces() {
        let counters = Counters::read(netns).with_context(|| netns.name().to_owned())?;
        errors += counters.value("Tcp.InCsumErrors") + counters.value("Udp.InCsumErrors");
    }
    report.check(Check::none(
        "checksum-errors",
        usize::try_from(errors)?,
        "packets",
    ));
    let mut errors = 0;
    for node in site.star.nodes() {
        errors += xdp_errors(&node.netns, "eth0")? + xdp_errors(&site.star.r1, &node.name)?;
    }
    report.check(Check::none(
        "xdp-transmit-errors",
        usize::try_from(errors)?,
        "packets",
    ));
    report.check(Check::time("lab-duration", report.elapsed(), DURATION_MAX));
    for status in site.statuses()? {
        for problem in &status.problems {
            report.note(&format!("         {}: {problem}", status.node));
        }
    }
    Ok(())
}
