//! Web servers that stop, and handshakes that lose packets.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;

use super::files::{BACKENDS_FIRST, HOPS, Pools};
use super::report::{Check, Report};
use super::site::{PORT, SOON, Site, VIPS};
use super::trial::{self, Aftermath, Excused, Ground, report_pair, under_load};
use crate::harness::filter::Filter;
use crate::load::long_lived;
use crate::load::stream::{Sample, Stream};

const SYNACKS_DROPPED: Duration = Duration::from_millis(500);
/// SYN-ACKs come again after one second, and after two more.
const HANDSHAKE_STALL: Duration = Duration::from_millis(250);
const STALL: Duration = Duration::from_millis(250);
const NEW_EVERY: Duration = Duration::from_millis(5);
const NEW_PATIENCE: Duration = Duration::from_secs(4);
/// Longer than the nodes take to find the server down.
const WITHOUT_SERVER: Duration = Duration::from_millis(2500);
/// Longer than they take to find it up again.
const WITH_SERVER: Duration = Duration::from_millis(1500);

/// Connections are opened while SYN-ACKs are dropped, and the table is swapped meanwhile: the retransmitted SYN may reach
/// another backend than the first.
pub async fn synack_loss(site: &mut Site, report: &mut Report) -> Result<()> {
    let protected = handshakes(site, HOPS).await?;
    let control = handshakes(site, 1).await?;
    site.apply(&Pools::full()).await?;
    report_pair(report, "synack-loss", &protected, &control, HANDSHAKE_STALL);
    Ok(())
}

async fn handshakes(site: &mut Site, hops: u8) -> Result<Aftermath> {
    site.apply(&Pools::first().with_hops(hops)).await?;
    let filter = Filter::dropping(&site.star.r1, "synacks", "forward", &synacks())?;
    // Spread widely: what is lost at once comes again at once, and a veth holds 256 packets.
    let mut load = trial::open_over(site, SYNACKS_DROPPED / 2)?;
    let lost_until = Instant::now() + SYNACKS_DROPPED;
    site.observe(SYNACKS_DROPPED / 2).await?;
    site.reload(&Pools::full().with_hops(hops))?;
    site.observe(lost_until.saturating_duration_since(Instant::now()))
        .await?;
    let dropped = filter.dropped()?;
    filter.lift();
    ensure!(dropped > 0, "no SYN-ACK was dropped");
    load.all_settled(SOON).await?;
    site.observe(STALL).await?;
    let outcomes = load.finish().await?;
    site.apply(&Pools::full().with_hops(hops)).await?;
    Ok(Aftermath {
        outcomes,
        excused: Excused::new(),
    })
}

fn synacks() -> Vec<String> {
    let flags = format!("tcp sport {PORT} tcp flags & (syn | ack) == syn | ack");
    VIPS.iter()
        .map(|vip| {
            format!(
                "{} saddr {vip} {flags}",
                if vip.is_ipv4() { "ip" } else { "ip6" }
            )
        })
        .collect()
}

/// The web server of a live backend is stopped and started; new connections must not notice.
pub async fn restarted(site: &mut Site, report: &mut Report) -> Result<()> {
    let all: Vec<u8> = (1..=BACKENDS_FIRST).collect();
    let backend = site.dice.pick(&all);
    let (protected, refused) = without_server(site, backend, HOPS).await?;
    let (_, refused_in_control) = without_server(site, backend, 1).await?;
    site.apply(&Pools::full()).await?;
    let name = "server-restarted";
    report.check(
        Check::none(format!("{name}-refused"), refused.len(), "requests")
            .with_control(refused_in_control.len()),
    );
    for reason in refused.iter().take(3) {
        report.note(&format!("         {reason}"));
    }
    let others = protected.wrongly_broken().count();
    report.check(Check::none(
        format!("{name}-others-broken"),
        others,
        "connections",
    ));
    let stall = long_lived::worst_stall(&protected.outcomes);
    report.check(Check::time(format!("{name}-worst-stall"), stall, STALL));
    Ok(())
}

/// Also returns why new requests failed.
async fn without_server(
    site: &mut Site,
    backend: u8,
    hops: u8,
) -> Result<(Aftermath, Vec<String>)> {
    site.apply(&Pools::full().with_hops(hops)).await?;
    let mut under_way = None;
    let mut stopped = Instant::now();
    let aftermath = under_load(site, async |site| {
        let stream = Stream::start(
            site.client.handle(),
            Site::targets(),
            NEW_EVERY,
            NEW_PATIENCE,
        );
        under_way = Some(stream);
        site.observe(STALL).await?;
        site.kill_web(backend)?;
        stopped = Instant::now();
        site.observe(WITHOUT_SERVER).await?;
        site.start_webs().await?;
        site.observe(WITH_SERVER).await?;
        Ok(vec![site.backend(backend).name.clone()])
    })
    .await?;
    let stream = under_way.context("the stream was started")?;
    // One that was under way when its server ended is the server's loss.
    let after = stream
        .finish()
        .await?
        .into_iter()
        .filter(|sample| sample.start >= stopped);
    let refused = after
        .filter_map(|sample: Sample| sample.result.err())
        .collect();
    Ok((aftermath, refused))
}
