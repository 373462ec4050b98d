//! Peers that know each other by the interface alone.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{POLICY, Pair, Trial, on_link};
use crate::harness::{poll, shell};
use crate::interop::daemon::{Kind, Route, Side};
use crate::interop::site::{File, LINK_LOCAL, NODE, ROUTER, ROUTER_LINK, SOON, Site, VIPS};

/// Neither knows an address of the other; both find it again when their link was down.
pub(super) async fn by_link(
    site: &mut Site,
    trial: &mut Trial,
    dials: bool,
    password: Option<&'static str>,
) -> Result<()> {
    // GoBGP looks for such a neighbor in the kernel's table, and is not set up for it here.
    if trial.kind == Kind::Gobgp || trial.is_limited("session") {
        return Ok(());
    }
    let side = Side {
        password,
        ..by_interface(dials)
    };
    let file = File {
        announce: POLICY,
        ..File::opposite(&side)
    };
    let mut pair = Pair::start(site, trial, &side, file).await?;
    site.set_link(false)?;
    let fallen = poll::until("the end of the session", SOON, async || {
        let peers = pair.agent.status()?.peers;
        let peer = peers.first().context("a peer")?;
        ensure!(peer.state == "Idle", "{}", peer.state);
        Ok(())
    });
    trial.took("link down noticed", fallen.await.map(|(_, time)| time));
    site.set_link(true)?;
    // What it had before may stay until the new session takes it back.
    let again = pair.established().await;
    trial.took("session after the link was down", again);
    trial.took("routes after the link was down", pair.has(&VIPS).await);
    trial.took("routes in the kernel", in_kernel(site).await);
    pair.stop().await
}

/// A link without an IPv4 address at the node: IPv4 goes by IPv6 next hops (RFC 8950).
pub(super) async fn without_v4(site: &mut Site, trial: &mut Trial) -> Result<()> {
    if trial.kind == Kind::Gobgp || trial.is_limited("session") {
        return Ok(());
    }
    let moved = OnLoopback::new(site)?;
    let side = by_interface(false);
    let mut pair = Pair::bring_up(site, trial, &side, File::opposite(&side)).await?;
    pair.get_session(trial).await?;
    for (family, expected) in ["IPv4", "IPv6"].iter().zip(pair.expected(&side)) {
        let expected = Route {
            next_hop: NODE[1].to_owned(),
            link_local: Some(LINK_LOCAL[1].to_owned()),
            ..expected
        };
        trial.took(&format!("{family} route"), pair.heard(&expected).await);
    }
    trial.took("routes in the kernel", in_kernel(site).await);
    pair.stop().await?;
    drop(moved);
    Ok(())
}

/// Both know the other by the interface.
pub(super) fn by_interface(dials: bool) -> Side {
    Side {
        unnumbered: true,
        ..on_link(dials)
    }
}

/// Waits until the router's kernel sends packets for both VIPs by the link.
async fn in_kernel(site: &Site) -> Result<Duration> {
    let (_, time) = poll::until("both VIPs in the kernel", SOON, async || {
        for vip in VIPS {
            let (address, _) = vip.split_once('/').context("a prefix")?;
            let devices = site.lone.star.r1.next_hops(address)?;
            ensure!(devices.contains(ROUTER_LINK), "{vip}: {devices:?}");
        }
        Ok(())
    })
    .await?;
    Ok(time)
}

/// The node's IPv4 address is on its loopback interface, as long as this lives.
struct OnLoopback {
    netns: String,
}

impl OnLoopback {
    fn new(site: &Site) -> Result<Self> {
        let moved = Self {
            netns: site.node().netns.name().to_owned(),
        };
        let ([router, _], [node, _]) = (ROUTER, NODE);
        for command in [
            format!("address del {node}/24 dev eth0"),
            format!("address add {node}/32 dev lo"),
            format!("route add {router} dev eth0 src {node}"),
            format!("route add default via {router} src {node} congctl cubic"),
        ] {
            shell::run(&format!("ip -n {} {command}", moved.netns))?;
        }
        Ok(moved)
    }
}

impl Drop for OnLoopback {
    fn drop(&mut self) {
        let ([router, _], [node, _]) = (ROUTER, NODE);
        for command in [
            format!("address del {node}/32 dev lo"),
            format!("address add {node}/24 dev eth0"),
            format!("route add default via {router} congctl cubic"),
        ] {
            if let Err(error) = shell::run(&format!("ip -n {} {command}", self.netns)) {
                eprintln!("the node's address is not back: {error:#}");
            }
        }
    }
}
