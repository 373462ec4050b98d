//! Servers that send what is too big for the client's link: the router complains, and its complaint comes to a node that never saw the
//! flow.
//!
//! Every packet of the clients goes by lb1, every error of the router by lb2. The control gives lb2 another hash key and its rows no
//! alternates: most errors end at a backend that does not have the flow.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::status::Counters;
use hyper::body::Bytes;
use tokio::time::{Instant, timeout};

use super::files::Pools;
use super::report::{Check, Report};
use super::site::{PORT, Site, VIPS};
use super::trial::Ground as _;
use crate::harness::netns::Netns;
use crate::load::client::Client;

/// Connections to each VIP: every backend should have some.
const CONNECTIONS: u64 = 30;
/// More than a first flight.
const SIZE: usize = 100_000;
/// A transfer that takes longer has stalled.
const RECOVERY: Duration = Duration::from_secs(1);
/// How long a node that has just started tells backends to drop what they do not know.
const SETTLING: Duration = Duration::from_secs(2);
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Of the client's link, at the router.
const NARROW: u32 = 1300;
const WIDE: u32 = 1500;

/// What became of the transfers from one VIP.
struct Transfers {
    vip: IpAddr,
    stalled: usize,
    worst: Duration,
}

/// Transfers over a link that has just become narrow.
pub async fn path_mtu(site: &mut Site, report: &mut Report) -> Result<()> {
    site.apply(&Pools::full()).await?;
    let before = counters(site).await?;
    let protected = transfers(site).await?;
    let after = counters(site).await?;
    let control = control(site).await?;
    for (protected, control) in protected.iter().zip(&control) {
        let family = if protected.vip.is_ipv4() {
            "ipv4"
        } else {
            "ipv6"
        };
        let name = format!("path-mtu-{family}");
        report.check(
            Check::none(format!("{name}-stalled"), protected.stalled, "transfers")
                .with_control(control.stalled),
        );
        let worst = format!("{name}-worst-transfer");
        report.check(Check::time(worst, protected.worst, RECOVERY));
    }
    let [flows, errors] =
        [flows, errors].map(|count| [0, 1].map(|n| count(&after[n]) - count(&before[n])));
    report.check(Check::none(
        "path-mtu-flows-by-the-other-node",
        flows[1],
        "flows",
    ));
    report.check(Check::none(
        "path-mtu-errors-by-the-flows-node",
        errors[0],
        "errors",
    ));
    report.note(&format!(
        "         {} flows by lb1, {} errors by lb2",
        flows[0], errors[1]
    ));
    ensure!(errors[1] > 0, "no error came to lb2");
    Ok(())
}

async fn control(site: &mut Site) -> Result<Vec<Transfers>> {
    site.apply(&Pools::full().with_hops(1)).await?;
    site.start_lb2_with_other_key().await?;
    site.observe(SETTLING).await?;
    let control = transfers(site).await?;
    site.start_lb2_with_its_key().await?;
    site.apply(&Pools::full()).await?;
    Ok(control)
}

async fn counters(site: &Site) -> Result<[Counters; 2]> {
    Ok([
        site.lb_agent(1)?.counters().await?,
        site.lb_agent(2)?.counters().await?,
    ])
}

fn flows(counters: &Counters) -> usize {
    let services = counters.services.values();
    services.map(|service| service.new_flows as usize).sum()
}

fn errors(counters: &Counters) -> usize {
    let errors = counters.icmp_errors.iter();
    errors.map(|error| error.packets as usize).sum()
}

/// Opens all connections while the link is wide, makes it narrow and transfers over all of them at once.
async fn transfers(site: &Site) -> Result<Vec<Transfers>> {
    let _detour = Detour::set(site)?;
    forget_paths(site)?;
    let mut clients = Vec::new();
    for vip in VIPS {
        for sequence in 0..CONNECTIONS {
            let open = async move {
                let mut client = Client::connect(SocketAddr::new(vip, PORT)).await?;
                client.request(sequence, Bytes::new()).await?;
                Ok::<_, anyhow::Error>(client)
            };
            let opened = site.client.handle().spawn(timeout(CONNECT_TIME, open));
            clients.push((vip, opened.await?.context("a request in time")??));
        }
    }
    let narrow = Narrow::set(&site.star.r1)?;
    let mut under_way = Vec::new();
    for (vip, mut client) in clients {
        let transfer = async move {
            let start = Instant::now();
            let ended = timeout(RECOVERY, client.download(CONNECTIONS, SIZE)).await;
            // One that was refused is no better.
            let whole = ended.is_ok_and(|result| result.is_ok());
            whole.then(|| start.elapsed())
        };
        under_way.push((vip, site.client.handle().spawn(transfer)));
    }
    let mut all = VIPS.map(|vip| Transfers {
        vip,
        stalled: 0,
        worst: Duration::ZERO,
    });
    for (vip, transfer) in under_way {
        let took = transfer.await?;
        for transfers in all.iter_mut().filter(|transfers| transfers.vip == vip) {
            transfers.stalled += usize::from(took.is_none());
            transfers.worst = transfers.worst.max(took.unwrap_or(RECOVERY));
        }
    }
    drop(narrow);
    site.end_connections()?;
    forget_paths(site)?;
    Ok(all.into())
}

/// What backends have learned of the way to the client.
fn forget_paths(site: &Site) -> Result<()> {
    for backend in &site.star.backends {
        backend.netns.ip("route flush cache")?;
        backend.netns.ip("-6 route flush cache")?;
    }
    Ok(())
}

/// The client's link at the router, narrow until this is dropped.
struct Narrow<'a>(&'a Netns);

impl<'a> Narrow<'a> {
    fn set(router: &'a Netns) -> Result<Self> {
        router.ip(&format!("link set client mtu {NARROW}"))?;
        Ok(Self(router))
    }
}

impl Drop for Narrow<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.ip(&format!("link set client mtu {WIDE}")) {
            eprintln!("the client's link stays narrow: {error:#}");
        }
    }
}

/// TCP to VIPs goes by lb1 and ICMP by lb2, whatever the router's table says, until this is dropped.
struct Detour<'a>(&'a Netns);

impl<'a> Detour<'a> {
    fn set(site: &'a Site) -> Result<Self> {
        let router = &site.star.r1;
        let detour = Self(router);
        for vip in VIPS {
            let (family, icmp) = match vip {
                IpAddr::V4(_) => ("-4", "icmp"),
                IpAddr::V6(_) => ("-6", "ipv6-icmp"),
            };
            for (number, what) in [
                (1, "ipproto tcp".to_owned()),
                (2, format!("ipproto {icmp}")),
            ] {
                let (table, to) = (100 + number, site.lb(number).address(vip));
                router.ip(&format!("{family} route add {vip} via {to} table {table}"))?;
                router.ip(&format!(
                    "{family} rule add pref {table} to {vip} {what} lookup {table}"
                ))?;
            }
        }
        Ok(detour)
    }

    fn unset(&self) -> Result<()> {
        for family in ["-4", "-6"] {
            for table in [101, 102] {
                self.0.ip(&format!("{family} rule del pref {table}"))?;
                self.0.ip(&format!("{family} route flush table {table}"))?;
            }
        }
        Ok(())
    }
}

impl Drop for Detour<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.unset() {
            eprintln!("the router's detour stays: {error:#}");
        }
    }
}
