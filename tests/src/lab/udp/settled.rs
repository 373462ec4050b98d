//! Where new flows begin, and that nothing is passed on afterwards.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::status::SecondChanceCount;

use super::rows::Rows;
use crate::harness::poll;
use crate::lab::files::Pools;
use crate::lab::report::{Check, Report};
use crate::lab::site::{SOON, Site, UDP_CONNECTED, UDP_STATELESS, VIPS};
use crate::lab::trial::Ground as _;
use crate::load::udp::flows::{Flows, Round};

/// New flows to each VIP.
const FLOWS: usize = 10_000;
/// At once: a veth holds 256 packets, and a new flow's first datagram visits five backends.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(5);
/// The share of flows, in hundredths, that may begin elsewhere than at their row's first hop.
const ELSEWHERE_MAX: f64 = 1.0;
/// Datagrams on each flow after the first.
const ROUNDS: usize = 2;
/// Flows to each of the ports without sockets that are tried.
const STATELESS_FLOWS: usize = 300;
/// For an answer that must not come.
const SILENCE: Duration = Duration::from_millis(500);

/// New flows of both families, with a connected socket each and without.
pub async fn flows(site: &mut Site, report: &mut Report) -> Result<()> {
    site.apply(&Pools::full()).await?;
    wait_seen(site).await?;
    site.restart_answerers().await?;
    for vip in VIPS {
        connected(site, report, vip).await?;
    }
    for vip in VIPS {
        stateless(site, report, vip).await?;
    }
    Ok(())
}

/// Waits until every backend's agent has seen its servers' sockets.
pub(super) async fn wait_seen(site: &Site) -> Result<()> {
    poll::until("sockets that the backends' agents see", SOON, async || {
        let blind: u64 = counts(site).await?.iter().map(|count| count.blind).sum();
        ensure!(blind == 0, "{blind} without");
        Ok(())
    })
    .await?;
    Ok(())
}

async fn connected(site: &mut Site, report: &mut Report, vip: IpAddr) -> Result<()> {
    let name = format!("udp-{}", family(vip));
    let target = SocketAddr::new(vip, UDP_CONNECTED);
    let mut flows = Flows::open(site.client.handle(), target, FLOWS).await?;
    let before = forwarded(site).await?;
    let first = flows.round(AT_ONCE, PATIENCE).await?;
    let after_first = forwarded(site).await?;
    report_answers(report, &format!("{name}-new-flows"), &first);
    let elsewhere = elsewhere(site, &flows, target)?;
    let share = elsewhere as f64 * 100.0 / FLOWS as f64;
    report.check(Check::at_most(
        format!("{name}-not-at-first-hop"),
        share,
        "% of flows",
        ELSEWHERE_MAX,
    ));
    let mut later = Round::default();
    for _ in 0..ROUNDS {
        let round = flows.round(AT_ONCE, PATIENCE).await?;
        later.unanswered += round.unanswered;
        later.moved += round.moved;
        later.foreign_peer += round.foreign_peer;
    }
    let after = forwarded(site).await?;
    report_answers(report, &format!("{name}-later"), &later);
    report.check(Check::none(
        format!("{name}-later-moved"),
        later.moved,
        "datagrams",
    ));
    // A new flow is passed on: where that was not counted, this proves nothing.
    let passed_on = Check::none(
        format!("{name}-later-passed-on"),
        after - after_first,
        "packets",
    );
    report.check(passed_on.with_control(after_first - before));
    Ok(())
}

/// Flows that another server answers than the one their row names first; both nodes must name the same.
fn elsewhere(site: &Site, flows: &Flows, target: SocketAddr) -> Result<usize> {
    let nodes = site.star.backends.iter();
    let names: BTreeMap<IpAddr, &str> = nodes
        .map(|node| (node.address(target.ip()), node.name.as_str()))
        .collect();
    let rows = [Rows::read(site.lb(1))?, Rows::read(site.lb(2))?];
    let services = [rows[0].service(target)?, rows[1].service(target)?];
    let mut elsewhere = 0;
    for flow in flows.iter() {
        let hops = [
            services[0].first_hop(flow.local, target)?,
            services[1].first_hop(flow.local, target)?,
        ];
        ensure!(hops[0] == hops[1], "{}: {hops:?}", flow.local);
        let hop = names.get(&hops[0]).context("a hop is no backend")?;
        elsewhere += usize::from(flow.server.as_deref() != Some(*hop));
    }
    Ok(elsewhere)
}

/// Both ends of the range, one inside it, and the port after it, where nobody must answer.
async fn stateless(site: &mut Site, report: &mut Report, vip: IpAddr) -> Result<()> {
    let name = format!("udp-{}-stateless", family(vip));
    let (start, end) = (*UDP_STATELESS.start(), *UDP_STATELESS.end());
    let mut all = Round::default();
    for port in [start, start.midpoint(end), end] {
        let target = SocketAddr::new(vip, port);
        let mut flows = Flows::open(site.client.handle(), target, STATELESS_FLOWS).await?;
        for _ in 0..ROUNDS {
            let round = flows.round(AT_ONCE, PATIENCE).await?;
            all.unanswered += round.unanswered;
            all.foreign_peer += round.foreign_peer;
            all.servers.extend(round.servers);
        }
    }
    report_answers(report, &name, &all);
    let idle = site.star.backends.len() - all.servers.len();
    report.check(Check::none(format!("{name}-idle"), idle, "servers"));
    let outside = SocketAddr::new(vip, end + 1);
    let mut flows = Flows::open(site.client.handle(), outside, AT_ONCE).await?;
    let round = flows.round(AT_ONCE, SILENCE).await?;
    report.check(Check::none(
        format!("{name}-outside-answered"),
        AT_ONCE - round.unanswered,
        "datagrams",
    ));
    Ok(())
}

fn report_answers(report: &mut Report, name: &str, round: &Round) {
    for (what, count) in [
        ("unanswered", round.unanswered),
        ("foreign-peer", round.foreign_peer),
    ] {
        report.check(Check::none(format!("{name}-{what}"), count, "datagrams"));
    }
}

fn family(vip: IpAddr) -> &'static str {
    if vip.is_ipv4() { "ipv4" } else { "ipv6" }
}

/// Packets that backends have passed on, all together.
async fn forwarded(site: &Site) -> Result<usize> {
    let counts = counts(site).await?;
    let sum: u64 = counts
        .iter()
        .flat_map(|count| count.forwarded.values())
        .sum();
    Ok(usize::try_from(sum)?)
}

async fn counts(site: &Site) -> Result<Vec<SecondChanceCount>> {
    let mut counts = Vec::new();
    for agent in site.backend_agents() {
        let counters = agent.counters().await?;
        counts.push(counters.second_chance.context("the role of a backend")?);
    }
    Ok(counts)
}
