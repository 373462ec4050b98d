//! BIRD 2.

use std::path::Path;

use anyhow::{Result, ensure};

use super::{Daemon, Route, Side, numbers, sorted};
use crate::harness::bird::{self, Bird};
use crate::harness::netns::Netns;

const SESSION: &str = "node";
/// Sessions of neighbors whose address BIRD does not know before are named so, with a number behind.
const FOUND: &str = "found";

struct Running {
    bird: Bird,
    side: Side,
}

pub(super) async fn start(netns: &Netns, side: &Side, dir: &Path) -> Result<Box<dyn Daemon>> {
    let bird = Bird::start(netns, &configuration(side), dir).await?;
    let side = side.clone();
    Ok(Box::new(Running { bird, side }))
}

fn configuration(side: &Side) -> String {
    let neighbor = match side.unnumbered {
        true => [
            format!("local as {}", side.asn),
            format!("neighbor range fe80::/10 as {}", side.node_asn),
        ],
        false => [
            format!("local {} as {}", side.own, side.asn),
            format!("neighbor {} as {}", side.node, side.node_asn),
        ],
    };
    let mut lines = vec![
        "hold time 9".to_owned(),
        "connect delay time 1".to_owned(),
        "connect retry time 1".to_owned(),
        "startup hold time 3".to_owned(),
        "error wait time 1, 2".to_owned(),
        if side.multihop {
            "multihop 3"
        } else {
            "direct"
        }
        .to_owned(),
        format!(
            "graceful restart {}",
            if side.graceful_restart { "on" } else { "aware" }
        ),
        match side.link {
            Some(_) => "ipv4 { import all; export none; extended next hop on; }".to_owned(),
            None => "ipv4 { import all; export none; }".to_owned(),
        },
        "ipv6 { import all; export none; }".to_owned(),
    ];
    lines.extend(neighbor);
    let mut advertise = String::new();
    if let Some(link) = side.link {
        lines.push(format!("interface \"{link}\""));
        if side.unnumbered {
            lines.push(format!("dynamic name \"{FOUND}\""));
            advertise = format!(
                "protocol radv {{ interface \"{link}\" {{ max ra interval 10; default lifetime 0; prefix ::/0 {{ skip; }}; }}; }}\n"
            );
        }
    }
    if !side.dials && !side.unnumbered {
        lines.push("passive on".into());
    }
    if let Some(password) = side.password {
        lines.push(format!("password \"{password}\""));
    }
    if side.ttl_security {
        lines.push("ttl security on".into());
    }
    if !side.as4 {
        lines.push("enable as4 off".into());
    }
    let kernel = ["ipv4", "ipv6"]
        .map(|family| format!("protocol kernel {{ {family} {{ export all; }}; }}\n"));
    let kernel = kernel.concat();
    let mut watch = "";
    if side.bfd {
        lines.push("bfd on".into());
        watch = "protocol bfd {\n interface \"*\" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; };\n}\n";
    }
    format!(
        "log stderr all;\nrouter id 10.0.0.1;\nprotocol device {{}}\n{watch}{kernel}{advertise}protocol bgp {SESSION} {{\n {};\n}}\n",
        lines.join(";\n ")
    )
}

impl Running {
    fn route(&self, route: &bird::Route) -> Route {
        let number = |name| route.attribute(name).parse().ok();
        let mut hops = route.attribute("next_hop").split_whitespace();
        Route {
            prefix: route.prefix.clone(),
            next_hop: hops.next().unwrap_or_default().to_owned(),
            link_local: hops.next().map(str::to_owned),
            origin: route.attribute("origin").to_lowercase(),
            path: numbers(route.attribute("as_path")),
            med: number("med"),
            // Of other ASes it is the value that BIRD gives them all.
            local_pref: number("local_pref").filter(|_| self.side.internal()),
            communities: listed(route.attribute("community")),
            large: listed(route.attribute("large_community")),
            bandwidth: bandwidth(route.attribute("ext_community")),
        }
    }
}

impl Daemon for Running {
    fn established(&self) -> Result<()> {
        let name = match self.side.unnumbered {
            true => format!("\"{FOUND}*\""),
            false => SESSION.to_owned(),
        };
        let state = self.bird.protocol(&name)?;
        ensure!(self.bird.established(&name)?, "{state}");
        Ok(())
    }

    fn routes(&self) -> Result<Vec<Route>> {
        let heard = match self.side.unnumbered {
            true => self
                .bird
                .routes_of(&format!("where proto ~ \"{FOUND}*\""))?,
            false => self.bird.routes(SESSION)?,
        };
        let mut routes: Vec<Route> = heard.iter().map(|heard| self.route(heard)).collect();
        routes.sort();
        Ok(routes)
    }

    fn rekey(&self, password: &'static str) -> Result<()> {
        let side = Side {
            password: Some(password),
            ..self.side.clone()
        };
        self.bird.configure(&configuration(&side))
    }

    fn refresh(&self) -> Result<()> {
        self.bird.birdc(&format!("reload in {SESSION}")).map(drop)
    }
}

/// `(unknown 0x4004, 65001, 1318388473)`: kind, AS, bytes per second as bits of a floating-point number.
fn bandwidth(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("(unknown 0x4004, ")?;
    let (_, bits) = rest.split_once(')')?.0.split_once(", ")?;
    super::link_bandwidth(0x4004 << 48 | bits.parse::<u64>().ok()?)
}

/// `(65001,1) (65535,0)` and `(65001, 0, 1)` with colons.
fn listed(text: &str) -> Vec<String> {
    let inner = text
        .split(['(', ')'])
        .map(|part| part.replace(", ", ":").replace(',', ":"));
    let words: Vec<String> = inner.filter(|word| !word.trim().is_empty()).collect();
    sorted(words.iter().map(String::as_str))
}
