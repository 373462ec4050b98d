//! FRR.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::Value;

use super::{Daemon, FAMILIES, Route, Side, community, lower_case, number, numbers, sorted};
use crate::harness::netns::Netns;
use crate::harness::router::Router;

struct Frr {
    router: Router,
    side: Side,
}

pub(super) async fn start(netns: &Netns, side: &Side, dir: &Path) -> Result<Box<dyn Daemon>> {
    let router = Router::start(netns, &configuration(side), dir).await?;
    let side = side.clone();
    Ok(Box::new(Frr { router, side }))
}

fn configuration(side: &Side) -> String {
    let mut session = vec![match side.unnumbered {
        true => format!("interface remote-as {}", side.node_asn),
        false => format!("remote-as {}", side.node_asn),
    }];
    session.push("timers 3 9".into());
    session.push("timers connect 1".into());
    if !side.dials {
        session.push("passive".into());
    }
    if let Some(password) = side.password {
        session.push(format!("password {password}"));
    }
    if side.ttl_security {
        session.push("ttl-security hops 1".into());
    }
    if side.multihop {
        session.push(format!("update-source {}", side.own));
        session.push("ebgp-multihop 3".into());
    }
    if let Some(link) = side.link.filter(|_| !side.unnumbered) {
        session.push(format!("interface {link}"));
        session.push("capability extended-nexthop".into());
    }
    if !side.as4 {
        session.push("dont-capability-negotiate".into());
    }
    let mut watch = "";
    if side.bfd {
        session.push("bfd profile fast".into());
        watch = "bfd\n profile fast\n  transmit-interval 100\n  receive-interval 100\n  detect-multiplier 3\n";
    }
    let lines = |indent: &str, lines: &[String]| -> String {
        let line = |line: &String| format!("{indent}neighbor {} {line}\n", name(side));
        lines.iter().map(line).collect()
    };
    let family = |family| {
        let lines = lines("  ", &["activate".into()]);
        format!(" address-family {family} unicast\n{lines} exit-address-family\n")
    };
    // A session without capabilities is one of IPv4 alone.
    let second = if side.as4 {
        family("ipv6")
    } else {
        String::new()
    };
    format!(
        "frr defaults datacenter\nrouter bgp {}\n bgp router-id 10.0.0.1\n no bgp default ipv4-unicast\n \
         no bgp ebgp-requires-policy\n{}{}{}{}{watch}",
        side.asn,
        if side.graceful_restart {
            " bgp graceful-restart\n"
        } else {
            ""
        },
        lines(" ", &session),
        family("ipv4"),
        second
    )
}

/// What FRR calls the node.
fn name(side: &Side) -> String {
    let link = side.link.filter(|_| side.unnumbered);
    link.map_or_else(|| side.node.to_string(), ToString::to_string)
}

impl Frr {
    fn neighbor(&self) -> Result<Value> {
        let node = name(&self.side);
        let answer = self.router.show(&format!("bgp neighbors {node}"))?;
        Ok(answer[&node].clone())
    }

    fn route(&self, prefix: &str, path: &Value) -> Route {
        let text = |value: &Value| value["string"].as_str().unwrap_or_default().to_owned();
        let communities: Vec<String> = text(&path["community"]).split(' ').map(community).collect();
        let hop = |link_local: bool| {
            let mut hops = path["nexthops"].as_array().into_iter().flatten();
            let hop = hops.find(|hop| (hop["scope"] == "link-local") == link_local);
            hop.and_then(|hop| hop["ip"].as_str()).map(str::to_owned)
        };
        Route {
            prefix: prefix.to_owned(),
            next_hop: hop(false).unwrap_or_default(),
            link_local: hop(true),
            origin: lower_case(&path["origin"]),
            path: numbers(&text(&path["aspath"])),
            med: number(&path["metric"]),
            local_pref: number(&path["locPrf"]),
            communities: sorted(
                communities
                    .iter()
                    .map(String::as_str)
                    .filter(|c| !c.is_empty()),
            ),
            large: sorted(text(&path["largeCommunity"]).split_whitespace()),
            bandwidth: bandwidth(&text(&path["extendedCommunity"])),
        }
    }
}

/// `LB:65001:1250000000 (10.000 Gbps)`.
fn bandwidth(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("LB:")?;
    let (_, bytes) = rest.split_whitespace().next()?.split_once(':')?;
    bytes.parse().ok()
}

impl Daemon for Frr {
    fn established(&self) -> Result<()> {
        let neighbor = self.neighbor()?;
        match neighbor["bgpState"].as_str() {
            Some("Established") => Ok(()),
            state => bail!("FRR: {state:?}, last reset {}", neighbor["lastResetDueTo"]),
        }
    }

    fn routes(&self) -> Result<Vec<Route>> {
        let mut all = Vec::new();
        for family in FAMILIES {
            let table = self.router.show(&format!("bgp {family} unicast"))?;
            for prefix in table["routes"]
                .as_object()
                .into_iter()
                .flat_map(|routes| routes.keys())
            {
                let detail = self
                    .router
                    .show(&format!("bgp {family} unicast {prefix}"))?;
                let paths = detail["paths"].as_array().into_iter().flatten();
                all.extend(paths.map(|path| self.route(prefix, path)));
            }
        }
        all.sort();
        Ok(all)
    }

    fn rekey(&self, password: &'static str) -> Result<()> {
        let (asn, node) = (self.side.asn, name(&self.side));
        self.router.configure(&[
            &format!("router bgp {asn}"),
            &format!("neighbor {node} password {password}"),
        ])
    }

    fn refresh(&self) -> Result<()> {
        for family in FAMILIES {
            let node = name(&self.side);
            self.router
                .vtysh(&format!("clear bgp {family} unicast {node} soft in"))?;
        }
        Ok(())
    }
}
