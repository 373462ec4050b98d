//! ExaBGP: it hands every message to a program of ours, a script that keeps them in a file.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Daemon, FAMILIES, Route, Side, community, lower_case, number, sorted};
use crate::harness::netns::Netns;
use crate::harness::poll;
use crate::harness::process::Process;

const START: Duration = Duration::from_secs(15);

struct Exabgp {
    _process: Process,
    heard: PathBuf,
    orders: PathBuf,
    node: String,
}

pub(super) async fn start(netns: &Netns, side: &Side, dir: &Path) -> Result<Box<dyn Daemon>> {
    let path = |name: &str| dir.join(format!("exabgp.{name}"));
    let (heard, orders, script, file) = (path("heard"), path("orders"), path("sh"), path("conf"));
    if heard.exists() {
        std::fs::remove_file(&heard)?;
    }
    std::fs::write(&orders, "")?;
    // Both end with ExaBGP.
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\ntail --pid=$$ -s 0.1 -f {} &\nexec cat >> {}\n",
            orders.display(),
            heard.display()
        ),
    )?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    std::fs::write(&file, configuration(side, &script))?;
    let mut command = netns.command("exabgp");
    command.arg(&file);
    for (key, value) in [
        ("exabgp.daemon.user", "root"),
        ("exabgp.daemon.daemonize", "false"),
        ("exabgp.tcp.bind", &side.own.to_string()),
        ("exabgp.tcp.port", "179"),
        ("exabgp.api.cli", "false"),
        ("exabgp.api.ack", "false"),
        ("exabgp.log.destination", "stdout"),
    ] {
        command.env(key, value);
    }
    let mut exabgp = Exabgp {
        _process: Process::spawn("exabgp", command, dir)?,
        heard,
        orders,
        node: side.node.to_string(),
    };
    // Its program runs before the first session is tried.
    poll::until("ExaBGP's program", START, async || {
        if exabgp._process.ended()?.is_some() {
            bail!("it ended: {}", exabgp._process.log_tail(8));
        }
        ensure!(exabgp.heard.exists(), "it does not run yet");
        Ok(())
    })
    .await?;
    Ok(Box::new(exabgp))
}

fn configuration(side: &Side, script: &Path) -> String {
    let mut lines = vec![
        "router-id 10.0.0.1".to_owned(),
        format!("local-address {}", side.own),
        format!("local-as {}", side.asn),
        format!("peer-as {}", side.node_asn),
        "hold-time 9".to_owned(),
        format!("passive {}", !side.dials),
    ];
    if let Some(password) = side.password {
        lines.push(format!("md5-password {password}"));
    }
    if side.ttl_security {
        lines.push("outgoing-ttl 255".into());
        lines.push("incoming-ttl 255".into());
    }
    format!(
        "process keep {{\n run {};\n encoder json;\n}}\nneighbor {} {{\n {};\n \
         capability {{ asn4 {}; route-refresh enable; {}}}\n \
         family {{ ipv4 unicast; ipv6 unicast; }}\n \
         api {{ processes [ keep ]; neighbor-changes; receive {{ parsed; update; }} }}\n}}\n",
        script.display(),
        side.node,
        lines.join(";\n "),
        if side.as4 { "enable" } else { "disable" },
        if side.graceful_restart {
            "graceful-restart 20; "
        } else {
            ""
        },
    )
}

impl Exabgp {
    /// Messages, the oldest first; one that is being written is left out.
    fn messages(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(&self.heard)?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }
}

impl Daemon for Exabgp {
    fn established(&self) -> Result<()> {
        let messages = self.messages()?;
        let mut states = messages.iter().filter(|message| message["type"] == "state");
        let last = states.next_back().context("ExaBGP: no session yet")?;
        ensure!(
            last["neighbor"]["state"] == "up",
            "ExaBGP: {}",
            last["neighbor"]
        );
        Ok(())
    }

    fn routes(&self) -> Result<Vec<Route>> {
        let mut table = BTreeMap::new();
        for message in self.messages()? {
            if message["type"] == "state" {
                table.clear();
            }
            let update = &message["neighbor"]["message"]["update"];
            for family in FAMILIES.map(|family| format!("{family} unicast")) {
                let gone = update["withdraw"][&family].as_array().into_iter().flatten();
                for nlri in gone.filter_map(|one| one["nlri"].as_str()) {
                    table.remove(nlri);
                }
                let hops = update["announce"][&family]
                    .as_object()
                    .into_iter()
                    .flatten();
                for (hop, prefixes) in hops {
                    let prefixes = prefixes.as_array().into_iter().flatten();
                    for nlri in prefixes.filter_map(|one| one["nlri"].as_str()) {
                        table.insert(nlri.to_owned(), route(nlri, hop, &update["attribute"]));
                    }
                }
            }
        }
        Ok(table.into_values().collect())
    }

    fn refresh(&self) -> Result<()> {
        let mut orders = std::fs::File::options().append(true).open(&self.orders)?;
        for family in FAMILIES {
            writeln!(
                orders,
                "neighbor {} announce route-refresh {family} unicast",
                self.node
            )?;
        }
        Ok(())
    }
}

fn route(prefix: &str, next_hop: &str, attributes: &Value) -> Route {
    let listed = |key: &str| {
        let lists = attributes[key].as_array().into_iter().flatten();
        let words: Vec<String> = lists
            .map(|list| {
                let parts = list.as_array().into_iter().flatten();
                let parts: Vec<String> = parts.map(Value::to_string).collect();
                community(&parts.join(":"))
            })
            .collect();
        sorted(words.iter().map(String::as_str))
    };
    let path = attributes["as-path"].as_array().into_iter().flatten();
    Route {
        prefix: prefix.to_owned(),
        next_hop: next_hop.to_owned(),
        link_local: None,
        origin: lower_case(&attributes["origin"]),
        path: path.filter_map(number).collect(),
        med: number(&attributes["med"]),
        local_pref: number(&attributes["local-preference"]),
        communities: listed("community"),
        large: listed("large-community"),
        bandwidth: attributes["extended-community"][0]["value"]
            .as_u64()
            .and_then(super::link_bandwidth),
    }
}
