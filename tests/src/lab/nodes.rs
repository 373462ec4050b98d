//! LB nodes that go and come.
//!
//! Alternates are not what protects here: both nodes have the same rows. The control is therefore a second node with
//! another hash key.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::report::{Check, Report};
use super::site::{IN_A_WHILE, SERVICES, SOON, Site, VIPS};
use super::trial::{self, Aftermath, Excused, Ground, report_pair, under_load};
use crate::harness::counters::Counters;
use crate::harness::poll;
use crate::harness::process::Process;
use crate::load::long_lived;

/// Packets on a link that is cut are lost; TCP tries again after 200 ms, then 400, until the router has noticed.
const CUT_STALL: Duration = Duration::from_millis(2000);
/// A node that stops says so first, and goes on forwarding.
const RESTART_STALL: Duration = Duration::from_millis(250);
/// Between the routes' change and the next one.
const PAUSE: Duration = Duration::from_millis(1000);
/// How long a node that has just started tells backends to drop what they do not know and not to reset it.
const SETTLING: Duration = Duration::from_millis(2000);
/// How long the datapaths are alone.
const ALONE: Duration = Duration::from_millis(2000);
const BOTH: [&str; 2] = ["lb1", "lb2"];

/// lb1's link is cut and restored.
pub async fn link_cut(site: &mut Site, report: &mut Report) -> Result<()> {
    let happens = async |site: &mut Site| {
        site.star.set_link(site.lb(1), false)?;
        site.wait_serving(&["lb2"], SOON).await?;
        site.observe(PAUSE).await?;
        site.star.set_link(site.lb(1), true)?;
        site.wait_serving(&BOTH, IN_A_WHILE).await?;
        Ok(Excused::new())
    };
    let protected = under_load(site, happens).await?;
    let control = with_another_key(site, happens).await?;
    report_pair(report, "node-link-cut", &protected, &control, CUT_STALL);
    Ok(())
}

/// lb1's agent is stopped, with all that a stop means, and started again.
pub async fn restarted(site: &mut Site, report: &mut Report) -> Result<()> {
    let happens = async |site: &mut Site| {
        let agent = site.take_lb_agent(1)?;
        agent.terminate()?;
        site.wait_serving(&["lb2"], SOON).await?;
        site.observe(PAUSE).await?;
        agent.stop(IN_A_WHILE).await?;
        site.start_lb_agents().await?;
        site.wait_serving(&BOTH, IN_A_WHILE).await?;
        Ok(Excused::new())
    };
    let protected = under_load(site, happens).await?;
    let control = with_another_key(site, happens).await?;
    report_pair(
        report,
        "node-restarted",
        &protected,
        &control,
        RESTART_STALL,
    );
    Ok(())
}

async fn with_another_key(
    site: &mut Site,
    happens: impl AsyncFnOnce(&mut Site) -> Result<Excused>,
) -> Result<Aftermath> {
    site.start_lb2_with_other_key().await?;
    site.observe(SETTLING).await?;
    let control = under_load(site, happens).await?;
    site.start_lb2_with_its_key().await?;
    Ok(control)
}

/// Both agents are killed at once while packets flow, and started again.
pub async fn agents_killed(site: &mut Site, report: &mut Report) -> Result<()> {
    let monitor = RouteMonitor::start(site)?;
    let mut load = trial::open(site)?;
    load.all_answering(SOON).await?;
    let before = retransmissions(site)?;
    let agents = [site.take_lb_agent(1)?, site.take_lb_agent(2)?];
    for agent in agents {
        agent.kill()?;
    }
    site.observe(ALONE).await?;
    let routed_alone = site.wait_serving(&BOTH, Duration::ZERO).await.is_ok();
    site.start_lb_agents().await?;
    let adopted = site
        .statuses()?
        .iter()
        .filter(|status| status.adopted)
        .count();
    let took = wait_sessions(site).await?;
    site.observe(ALONE).await?;
    let mut lost = retransmissions(site)?;
    lost.iter_mut()
        .for_each(|(netns, count)| *count -= before[netns]);
    lost.retain(|_, count| *count != 0);
    let outcomes = load.finish().await?;

    let name = "agents-killed";
    report.check(Check::none(
        format!("{name}-vips-unrouted"),
        usize::from(!routed_alone),
        "routes",
    ));
    report.check(Check::none(
        format!("{name}-routes-withdrawn"),
        monitor.finish()?,
        "routes",
    ));
    report.check(Check::none(
        format!("{name}-not-adopted"),
        site.star.lbs.len() - adopted,
        "datapaths",
    ));
    report.check(Check::none(
        format!("{name}-broken"),
        long_lived::broken(&outcomes).count(),
        "connections",
    ));
    report.check(Check::none(
        format!("{name}-packets-lost"),
        usize::try_from(lost.values().sum::<i64>())?,
        "packets",
    ));
    for (netns, count) in lost {
        report.note(&format!("         {count} in {netns}"));
    }
    report.check(Check::time(
        format!("{name}-sessions-back"),
        took,
        IN_A_WHILE,
    ));
    report.check(Check::time(
        format!("{name}-worst-stall"),
        long_lived::worst_stall(&outcomes),
        RESTART_STALL,
    ));
    Ok(())
}

/// Waits until both agents find their sessions established and their VIPs announced.
async fn wait_sessions(site: &Site) -> Result<Duration> {
    let ((), took) = poll::until("sessions and announcements", IN_A_WHILE, async || {
        for status in site.statuses()? {
            let node = &status.node;
            ensure!(status.services.len() == SERVICES, "{node} has not begun");
            ensure!(
                status.peers.iter().all(|peer| peer.state == "Established"),
                "{node} has a session down"
            );
            ensure!(
                status.services.iter().all(|service| service.announced),
                "{node} does not announce all"
            );
        }
        Ok(())
    })
    .await?;
    Ok(took)
}

/// Segments that client and backends sent again, by namespace: every packet lost shows here. Requests and answers are
/// numbered besides, and an answer out of turn breaks its connection.
fn retransmissions(site: &Site) -> Result<BTreeMap<String, i64>> {
    let backends = site.star.backends.iter().map(|node| &node.netns);
    let all = backends.chain([&site.star.client]);
    all.map(|netns| {
        let count = Counters::read(netns)?.value("Tcp.RetransSegs");
        Ok((netns.name().to_owned(), count))
    })
    .collect()
}

/// Listens to the changes of the router's kernel table.
struct RouteMonitor(Process);

impl RouteMonitor {
    fn start(site: &Site) -> Result<Self> {
        let mut command = site.star.r1.command("ip");
        command.args(["monitor", "route"]);
        Ok(Self(Process::spawn(
            "routes",
            command,
            site.star.run_dir(),
        )?))
    }

    /// How many routes of VIPs were deleted meanwhile.
    fn finish(mut self) -> Result<usize> {
        ensure!(self.0.ended()?.is_none(), "ip monitor ended early");
        let log = self.0.log_tail(usize::MAX);
        self.0.kill().context("end ip monitor")?;
        Ok(log.lines().filter(|line| is_withdrawal(line)).count())
    }
}

fn is_withdrawal(line: &str) -> bool {
    line.starts_with("Deleted") && VIPS.iter().any(|vip| line.contains(&vip.to_string()))
}
