//! GoBGP.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Daemon, FAMILIES, Route, Side, number, sorted};
use crate::harness::netns::{self, Netns};
use crate::harness::process::Process;
use crate::harness::{poll, shell};

const START: Duration = Duration::from_secs(10);

struct Gobgp {
    _process: Process,
    netns: String,
    node: String,
}

pub(super) async fn start(netns: &Netns, side: &Side, dir: &Path) -> Result<Box<dyn Daemon>> {
    let file = dir.join("gobgp.toml");
    std::fs::write(&file, configuration(side))?;
    let mut command = netns.command("gobgpd");
    command
        .arg("-f")
        .arg(&file)
        .args(["--api-hosts", "127.0.0.1:50051", "--log-plain"]);
    let mut gobgp = Gobgp {
        _process: Process::spawn("gobgpd", command, dir)?,
        netns: netns.name().to_owned(),
        node: side.node.to_string(),
    };
    poll::until("GoBGP answering", START, async || {
        if gobgp._process.ended()?.is_some() {
            bail!("it ended: {}", gobgp._process.log_tail(5));
        }
        gobgp.ask(&["neighbor"])
    })
    .await?;
    Ok(Box::new(gobgp))
}

fn configuration(side: &Side) -> String {
    let mut text = format!(
        "[global.config]\nas = {}\nrouter-id = \"10.0.0.1\"\nport = 179\n[[neighbors]]\n[neighbors.config]\n\
         neighbor-address = \"{}\"\npeer-as = {}\n",
        side.asn, side.node, side.node_asn
    );
    if let Some(password) = side.password {
        text += &format!("auth-password = \"{password}\"\n");
    }
    text += "[neighbors.timers.config]\nhold-time = 9\nkeepalive-interval = 3\nconnect-retry = 1\n\
             idle-hold-time-after-reset = 1\n";
    text += &format!(
        "[neighbors.transport.config]\nlocal-address = \"{}\"\npassive-mode = {}\n",
        side.own, !side.dials
    );
    if side.ttl_security {
        text += "[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n";
    }
    if side.multihop {
        text += "[neighbors.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = 3\n";
    }
    if side.graceful_restart {
        text += "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 20\n";
    }
    for family in FAMILIES {
        text += &format!(
            "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{family}-unicast\"\n"
        );
        if side.graceful_restart {
            text += "[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n";
        }
    }
    text
}

impl Gobgp {
    fn tell(&self, arguments: &[&str]) -> Result<String> {
        let mut command = netns::command_in(&self.netns, "gobgp");
        shell::output(command.args(arguments))
    }

    fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.tell(&[&["-j"], arguments].concat())?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("gobgp -j {arguments:?}: {text}"))
    }
}

impl Daemon for Gobgp {
    fn established(&self) -> Result<()> {
        let neighbor = self.ask(&["neighbor", &self.node])?;
        // An enumeration of its protocol: 6 is ESTABLISHED.
        match neighbor["state"]["session_state"].as_u64() {
            Some(6) => Ok(()),
            state => bail!("GoBGP: session state {state:?}"),
        }
    }

    fn routes(&self) -> Result<Vec<Route>> {
        let mut all = Vec::new();
        for family in FAMILIES {
            // What it has of one neighbor is told only while that is there.
            let table = self.ask(&["global", "rib", "-a", family])?;
            for (prefix, paths) in table.as_object().into_iter().flatten() {
                all.extend(
                    paths
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(|path| route(prefix, path)),
                );
            }
        }
        all.sort();
        Ok(all)
    }

    fn refresh(&self) -> Result<()> {
        self.tell(&["neighbor", &self.node, "softresetin"])
            .map(drop)
    }
}

fn route(prefix: &str, path: &Value) -> Route {
    let attributes: BTreeMap<u64, &Value> = path["attrs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|attribute| Some((attribute["type"].as_u64()?, attribute)))
        .collect();
    let get = |kind: u64, key: &str| {
        attributes
            .get(&kind)
            .map_or(&Value::Null, |value| &value[key])
    };
    let segments = get(2, "as_paths").as_array().into_iter().flatten();
    let hop = match get(3, "nexthop") {
        Value::String(hop) => hop.as_str(),
        _ => get(14, "nexthop").as_str().unwrap_or_default(),
    };
    let communities: Vec<String> = get(8, "communities")
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(number)
        .map(|word| format!("{}:{}", word >> 16, word & 0xffff))
        .collect();
    let large: Vec<String> = get(32, "value")
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| format!("{}:{}:{}", one["ASN"], one["LocalData1"], one["LocalData2"]))
        .collect();
    Route {
        prefix: prefix.to_owned(),
        next_hop: hop.to_owned(),
        link_local: None,
        origin: match number(get(1, "value")) {
            Some(0) => "igp".to_owned(),
            other => format!("{other:?}"),
        },
        path: segments
            .flat_map(|segment| segment["asns"].as_array().into_iter().flatten())
            .filter_map(number)
            .collect(),
        med: number(get(4, "metric")),
        local_pref: number(get(5, "value")),
        communities: sorted(communities.iter().map(String::as_str)),
        large: sorted(large.iter().map(String::as_str)),
        bandwidth: get(16, "value")[0]["bandwidth"]
            .as_f64()
            .map(|bytes| bytes as u64),
    }
}
