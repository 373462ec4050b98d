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
        next_hops(&self.second.r2, vip)
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
            let serving = next_hops(router, vip)?;
            ensure!(serving == wanted, "{vip} is routed to {serving:?}");
        }
        Ok(())
    })
    .await?;
    Ok(took)
}

fn next_hops(router: &Netns, vip: IpAddr) -> Result<BTreeSet<String>> {
    let family = if vip.is_ipv4() { "-4" } else { "-6" };
    let routes = router.ip_json(&format!("{family} route show {vip}"))?;
    Ok(devices(&routes))
}

/// Devices of all next hops in `ip -j route` output.
fn devices(routes: &serde_json::Value) -> BTreeSet<String> {
    let routes = routes.as_array().into_iter().flatten();
    let hops = routes.flat_map(|route| match route["nexthops"].as_array() {
        Some(hops) => hops.clone(),
        None => vec![route.clone()],
    });
    hops.filter_map(|hop| hop["dev"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_one_and_of_many_next_hops() {
        let cases = [
            ("no route", serde_json::json!([]), vec![]),
            (
                "one next hop",
                serde_json::json!([{"dst": "198.51.100.1", "gateway": "10.0.1.2", "dev": "lb1"}]),
                vec!["lb1"],
            ),
            (
                "two",
                serde_json::json!([{"dst": "198.51.100.1", "nexthops": [{"dev": "lb1"}, {"dev": "lb2"}]}]),
                vec!["lb1", "lb2"],
            ),
        ];
        for (what, routes, wanted) in cases {
            assert_eq!(
                devices(&routes).into_iter().collect::<Vec<_>>(),
                wanted,
                "{what}"
            );
        }
    }
}
