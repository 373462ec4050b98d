//! Two routers: FRR in one AS, BIRD in another, with policies of their own.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::report::{Check, Report};
use super::site::{IN_A_WHILE, PORT, Site, VIPS};
use crate::harness::poll;
use crate::load::many;

const NODES: [&str; 2] = ["lb1", "lb2"];
const REQUESTS: u64 = 1000;
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);

/// What a router has been told about a VIP by one node: AS path, MED, communities, large communities, as the files of
/// the nodes say it.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    path: String,
    med: String,
    communities: BTreeSet<String>,
    large: BTreeSet<String>,
}

/// Sessions, routes and policies of both routers, and traffic by the second.
pub async fn sessions(site: &mut Site, report: &mut Report) -> Result<()> {
    let took = wait_second(site).await?;
    report.check(Check::time("sessions-second-ecmp-routes", took, IN_A_WHILE));
    let took = site.wait_serving(&NODES, IN_A_WHILE).await?;
    report.check(Check::time("sessions-first-ecmp-routes", took, IN_A_WHILE));
    for (router, heard) in [("first", first as Hear), ("second", second)] {
        let mut wrong = 0;
        for vip in VIPS {
            wrong += differing(report, router, vip, heard(site, vip)?);
        }
        let name = format!("sessions-{router}-routes-with-other-policies");
        report.check(Check::none(name, wrong, "routes"));
    }
    let before = sent(site)?;
    for vip in VIPS {
        requests(site, report, vip).await?;
    }
    // A request is several packets; what sessions send meanwhile is a few.
    let idle = before
        .iter()
        .zip(sent(site)?)
        .filter(|(before, now)| now - *before < REQUESTS)
        .count();
    report.check(Check::none("sessions-second-idle-nodes", idle, "nodes"));
    Ok(())
}

type Hear = fn(&Site, IpAddr) -> Result<Vec<Heard>>;

async fn wait_second(site: &Site) -> Result<Duration> {
    let wanted: BTreeSet<String> = NODES.iter().map(|name| (*name).to_owned()).collect();
    let (_, took) = poll::until("both VIPs at the second router", IN_A_WHILE, async || {
        for name in NODES {
            ensure!(site.bird.established(name)?, "{name}: no session");
        }
        for vip in VIPS {
            let serving = site.serving_second(vip)?;
            ensure!(serving == wanted, "{vip} is routed to {serving:?}");
        }
        Ok(())
    })
    .await?;
    Ok(took)
}

/// How many of a VIP's routes, one of each node, are not as the files have it.
fn differing(report: &mut Report, router: &str, vip: IpAddr, heard: Vec<Heard>) -> usize {
    let expected = expected(router, vip);
    let wrong: Vec<&Heard> = heard.iter().filter(|heard| **heard != expected).collect();
    for heard in &wrong {
        report.note(&format!("         {router}, {vip}: {heard:?}"));
    }
    wrong.len() + NODES.len().abs_diff(heard.len())
}

fn expected(router: &str, vip: IpAddr) -> Heard {
    let set = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
    let (path, med, communities) = match router {
        "first" => ("65001", "10", set(&["65001:100", "65001:1"])),
        _ => (
            "65001 65001",
            "20",
            set(&["65001:100", "65001:2", "65535:65281"]),
        ),
    };
    let (med, large) = match vip {
        IpAddr::V4(_) => (med, set(&[])),
        IpAddr::V6(_) => ("5", set(&["65001:0:6"])),
    };
    Heard {
        path: path.to_owned(),
        med: med.to_owned(),
        communities,
        large,
    }
}

/// FRR's table.
fn first(site: &Site, vip: IpAddr) -> Result<Vec<Heard>> {
    let family = if vip.is_ipv4() { "ipv4" } else { "ipv6" };
    let table = site
        .router
        .show(&format!("bgp {family} unicast {}", ipnet::IpNet::from(vip)))?;
    let paths = table["paths"].as_array().context("paths of a VIP")?;
    let words = |value: &serde_json::Value| -> BTreeSet<String> {
        let text = value["string"].as_str().unwrap_or_default();
        // FRR has names for the well-known ones; only the second router is told one.
        text.split_whitespace().map(str::to_owned).collect()
    };
    Ok(paths
        .iter()
        .map(|path| Heard {
            path: path["aspath"]["string"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            med: path["metric"].to_string(),
            communities: words(&path["community"]),
            large: words(&path["largeCommunity"]),
        })
        .collect())
}

/// BIRD's table.
fn second(site: &Site, vip: IpAddr) -> Result<Vec<Heard>> {
    let prefix = ipnet::IpNet::from(vip).to_string();
    // `(65001,1) (65001,100)`, `(65001, 0, 6)`.
    let numbers = |text: &str| -> BTreeSet<String> {
        let tuples = text.split(')').filter_map(|tuple| tuple.split_once('('));
        tuples
            .map(|(_, tuple)| tuple.replace(' ', "").replace(',', ":"))
            .collect()
    };
    let mut heard = Vec::new();
    for name in NODES {
        let routes = site.bird.routes(name)?;
        heard.extend(
            routes
                .iter()
                .filter(|route| route.prefix == prefix)
                .map(|route| Heard {
                    path: route.attribute("as_path").to_owned(),
                    med: route.attribute("med").to_owned(),
                    communities: numbers(route.attribute("community")),
                    large: numbers(route.attribute("large_community")),
                }),
        );
    }
    Ok(heard)
}

/// From the client behind the second router.
async fn requests(site: &Site, report: &mut Report, vip: IpAddr) -> Result<()> {
    let family = if vip.is_ipv4() { "ipv4" } else { "ipv6" };
    let target = SocketAddr::new(vip, PORT);
    let handle = site.second_client.handle();
    let tally = many::requests(handle, target, REQUESTS, AT_ONCE, PATIENCE).await?;
    for (name, count) in [
        ("unanswered", REQUESTS - tally.answered()),
        ("foreign-peer", tally.foreign_peer),
    ] {
        report.check(Check::none(
            format!("sessions-second-{family}-{name}"),
            usize::try_from(count)?,
            "requests",
        ));
    }
    for (reason, count) in &tally.failures {
        report.note(&format!("         {count} x {reason}"));
    }
    Ok(())
}

/// Packets that the second router has sent to each node.
fn sent(site: &Site) -> Result<Vec<u64>> {
    let packets = |name: &&str| {
        let link = site.second.r2.ip_json(&format!("-s link show {name}"))?;
        link[0]["stats64"]["tx"]["packets"]
            .as_u64()
            .with_context(|| format!("packets to {name}"))
    };
    NODES.iter().map(packets).collect()
}
