//! Where the routers' kernels send the packets of a VIP.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Site, VIPS};
use crate::harness::netns::Netns;
use crate::harness::poll;

impl Site {
    /// Names of the nodes that the second router's kernel sends a VIP's packets to.
    pub fn serving_second(&self, vip: IpAddr) -> Result<BTreeSet<String>> {
        self.second.r2.next_hops(vip)
    }

    /// Waits until exactly `nodes` serve both VIPs; returns how long that took.
    pub async fn wait_serving(&self, nodes: &[&str], deadline: Duration) -> Result<Duration> {
        wait_routed(&self.star.r1, nodes, deadline).await
    }
}

/// Waits until a router's kernel sends the packets of both VIPs to exactly `nodes`; returns how long that took.
pub async fn wait_routed(router: &Netns, nodes: &[&str], deadline: Duration) -> Result<Duration> {
    let wanted: BTreeSet<String> = nodes.iter().map(|name| (*name).to_owned()).collect();
    let what = format!("both VIPs routed to {nodes:?}");
    let ((), took) = poll::until(&what, deadline, async || {
        for vip in VIPS {
            let serving = router.next_hops(vip)?;
            ensure!(serving == wanted, "{vip} is routed to {serving:?}");
        }
        Ok(())
    })
    .await?;
    Ok(took)
}
