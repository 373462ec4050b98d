//! BFD beside the session.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use anylb::status::BfdStatus;

use super::unnumbered::by_interface;
use super::{Pair, Trial, address};
use crate::harness::poll;
use crate::interop::daemon::Side;
use crate::interop::site::{File, LINK_LOCAL, SOON, Site, VIPS};
use crate::lab::agent::Agent;

/// As slow as by default: the matrix is also tried on busy machines, and wants to see no flap.
const PLAIN: &str = "bfd = {}\n";
/// No BGP before BFD.
const STRICT: &str = "bfd = { strict = true }\n";
const DETECTION_MS: u64 = 900;
/// FRR makes its session anew once, when it has learnt our address from the first BGP session.
const SETTLED: Duration = Duration::from_secs(3);
/// Three packets are missed within 0.9 s, and routers take their time to be asked; the hold time is 9 s.
const GONE: Duration = Duration::from_secs(3);

/// A node that falls silent is noticed long before the hold time; an agent that takes the place of another one is not noticed at all.
pub(super) async fn watched(
    site: &mut Site,
    trial: &mut Trial,
    side: Side,
    strict: bool,
) -> Result<()> {
    if trial.is_limited("up") {
        return Ok(());
    }
    let side = Side {
        bfd: true,
        graceful_restart: true,
        ..side
    };
    let mut file = File::opposite(&side);
    file.peer += if strict { STRICT } else { PLAIN };
    let mut pair = Pair::start(site, trial, &side, file).await?;
    trial.took("up", up_for(&pair.agent, Duration::ZERO).await);
    up_for(&pair.agent, SETTLED).await?;

    let failures = of(&pair.agent)?.failures;
    pair.agent.kill()?;
    pair.agent = site.start(&pair.file).await?;
    pair.established().await?;
    let kept = of(&pair.agent).and_then(|bfd| {
        let same = bfd.up() && bfd.since_secs >= SETTLED.as_secs() && bfd.failures == failures;
        ensure!(same, "{bfd:?}, {failures} failures before");
        Ok((0.0, "flaps"))
    });
    trial.note("up without an agent", kept);
    trial.took("routes from the next agent", pair.has(&VIPS).await);

    let silent = site.node().silence()?;
    let noticed = pair.has(&[]).await.and_then(|time| {
        ensure!(time < GONE, "after {time:?}");
        Ok(time)
    });
    trial.took("silence noticed", noticed);
    drop(silent);
    trial.took("up again", up_for(&pair.agent, Duration::ZERO).await);
    trial.took("routes again", pair.has(&VIPS).await);
    pair.stop().await
}

/// A router in the place of another one is another peer, for BFD as well.
pub(super) async fn another_router(site: &mut Site, trial: &mut Trial) -> Result<()> {
    const OTHER: &str = "fe80::9";
    if trial.is_limited("up") {
        return Ok(());
    }
    let side = Side {
        bfd: true,
        ..by_interface(false)
    };
    let mut file = File::opposite(&side);
    file.peer += PLAIN;
    let mut pair = Pair::start(site, trial, &side, file).await?;
    trial.took("up", up_for(&pair.agent, Duration::ZERO).await);
    site.set_link(false)?;
    trial.took("forgotten", peer_is(&pair.agent, None, false).await);
    site.plug_into(OTHER)?;
    let found = peer_is(&pair.agent, Some(address(OTHER)), true).await;
    trial.took("up with the other", found);
    trial.took("routes again", pair.has(&VIPS).await);
    let stopped = pair.stop().await;
    site.set_link(false)?;
    site.plug_into(LINK_LOCAL[0])?;
    stopped
}

/// Waits until that is the router that was found, and BFD with it is up or not.
async fn peer_is(agent: &Agent, router: Option<IpAddr>, up: bool) -> Result<Duration> {
    let (_, time) = poll::until("the router", SOON, async || {
        let peers = agent.status()?.peers;
        let peer = peers.first().context("a peer")?;
        let found = peer.discovery.as_ref().and_then(|found| found.router);
        let bfd = peer.bfd.as_ref().is_some_and(BfdStatus::up);
        ensure!(found == router && bfd == up, "{peer:?}");
        Ok(())
    })
    .await?;
    Ok(time)
}

/// Waits until it has been up for so long.
async fn up_for(agent: &Agent, span: Duration) -> Result<Duration> {
    let (_, time) = poll::until("BFD up", SOON, async || {
        let bfd = of(agent)?;
        ensure!(
            bfd.up()
                && bfd.detection_time_ms == Some(DETECTION_MS)
                && bfd.since_secs >= span.as_secs(),
            "{bfd:?}"
        );
        Ok(())
    })
    .await?;
    Ok(time)
}

fn of(agent: &Agent) -> Result<BfdStatus> {
    let peers = agent.status()?.peers;
    let bfd = peers.into_iter().next().and_then(|peer| peer.bfd);
    bfd.context("a peer with BFD")
}
