//! A large upload over an underlay that has no room to spare.

use std::time::Duration;

use anyhow::Result;

use super::report::{Check, Report};
use super::site::{PORT, Site, VIPS};
use crate::harness::filter::Filter;
use crate::load;

const SIZE: usize = 10_000_000;
const MTU: u32 = 1500;
const PATIENCE: Duration = Duration::from_secs(5);

/// 10 MB to each VIP, every link at 1500 bytes and all ICMP but neighbour discovery dropped: only the clamped MSS lets
/// full segments through the tunnel. The control leaves the MSS alone.
pub async fn upload(site: &mut Site, report: &mut Report) -> Result<()> {
    site.star.set_underlay_mtu(MTU)?;
    site.stop_backend_agents().await?;
    site.start_backend_agents(true).await?;
    let clamped = uploads(site).await?;
    site.stop_backend_agents().await?;
    site.start_backend_agents(false).await?;
    let control = uploads(site).await?;
    site.recover().await?;
    for ((vip, clamped), control) in VIPS.iter().zip(clamped).zip(control) {
        let family = if vip.is_ipv4() { "ipv4" } else { "ipv6" };
        let failed = usize::from(clamped.is_err());
        let check = Check::none(format!("upload-{family}-failed"), failed, "uploads");
        report.check(check.with_control(usize::from(control.is_err())));
        match clamped {
            Ok(took) => report.check(Check::time(format!("upload-{family}-time"), took, PATIENCE)),
            Err(error) => report.note(&format!("         {error:#}")),
        }
    }
    Ok(())
}

async fn uploads(site: &Site) -> Result<Vec<Result<Duration>>> {
    // Also what the router itself would send.
    let rules = icmp();
    let _filters = [
        Filter::dropping(&site.star.r1, "icmp-forward", "forward", &rules)?,
        Filter::dropping(&site.star.r1, "icmp-output", "output", &rules)?,
    ];
    let mut results = Vec::new();
    for vip in VIPS {
        results.push(
            load::upload::upload(site.client.handle(), (vip, PORT).into(), SIZE, PATIENCE).await,
        );
    }
    Ok(results)
}

/// All ICMP but what IPv6 needs to find its neighbours.
fn icmp() -> Vec<String> {
    vec![
        "meta l4proto icmp".to_owned(),
        "icmpv6 type < 133".to_owned(),
        "icmpv6 type > 137".to_owned(),
    ]
}
