//! OpenBGPD.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Daemon, Route, Side, community, lower_case, number, numbers, sorted};
use crate::harness::netns::Netns;
use crate::harness::process::Process;
use crate::harness::{poll, secret, shell};

const PROGRAM: &str = "/usr/sbin/bgpd";
/// Its processes lock themselves in here; its unit would make the folder.
const JAIL: &str = "/run/openbgpd";
const START: Duration = Duration::from_secs(10);

struct Openbgpd {
    _process: Process,
    socket: PathBuf,
    side: Side,
}

pub(super) async fn start(netns: &Netns, side: &Side, dir: &Path) -> Result<Box<dyn Daemon>> {
    let file = dir.join("openbgpd.conf");
    let socket = dir.join("openbgpd.sock");
    secret::write(&file, &configuration(side, &socket))?;
    std::fs::create_dir_all(JAIL)?;
    let mut command = netns.command(PROGRAM);
    command.arg("-d").arg("-f").arg(&file);
    let mut bgpd = Openbgpd {
        _process: Process::spawn("openbgpd", command, dir)?,
        socket,
        side: side.clone(),
    };
    poll::until("OpenBGPD answering", START, async || {
        if bgpd._process.ended()?.is_some() {
            bail!("it ended: {}", bgpd._process.log_tail(5));
        }
        bgpd.ask(&["show", "neighbor"])
    })
    .await?;
    Ok(Box::new(bgpd))
}

fn configuration(side: &Side, socket: &Path) -> String {
    let mut lines = vec![
        format!("remote-as {}", side.node_asn),
        format!("local-address {}", side.own),
        "announce IPv4 unicast".to_owned(),
        "announce IPv6 unicast".to_owned(),
        "announce refresh yes".to_owned(),
        format!(
            "announce restart {}",
            if side.graceful_restart { "yes" } else { "no" }
        ),
        format!("announce as-4byte {}", if side.as4 { "yes" } else { "no" }),
        format!(
            "ttl-security {}",
            if side.ttl_security { "yes" } else { "no" }
        ),
    ];
    if !side.dials {
        lines.push("passive".into());
    }
    if let Some(password) = side.password {
        lines.push(format!("tcp md5sig password {password}"));
    }
    if side.multihop {
        lines.push("multihop 3".into());
    }
    format!(
        "AS {}\nrouter-id 10.0.0.1\nholdtime 9\nlisten on {}\nsocket \"{}\"\nfib-update no\n\
         neighbor {} {{\n {}\n}}\nallow from any\ndeny to any\n",
        side.asn,
        side.own,
        socket.display(),
        side.node,
        lines.join("\n ")
    )
}

impl Openbgpd {
    fn tell(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("bgpctl");
        shell::output(command.arg("-s").arg(&self.socket).args(arguments))
    }

    fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.tell(&[&["-j"], arguments].concat())?;
        serde_json::from_str(&text).with_context(|| format!("bgpctl -j {arguments:?}: {text}"))
    }
}

impl Daemon for Openbgpd {
    fn established(&self) -> Result<()> {
        let answer = self.ask(&["show", "neighbor", &self.side.node.to_string()])?;
        let neighbor = &answer["neighbors"][0];
        match neighbor["state"].as_str() {
            Some("Established") => Ok(()),
            state => bail!("OpenBGPD: {state:?}: {neighbor}"),
        }
    }

    fn routes(&self) -> Result<Vec<Route>> {
        let answer = self.ask(&[
            "show",
            "rib",
            "neighbor",
            &self.side.node.to_string(),
            "in",
            "detail",
        ])?;
        let mut routes: Vec<Route> = answer["rib"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|heard| route(heard, self.side.internal()))
            .collect();
        routes.sort();
        Ok(routes)
    }

    fn refresh(&self) -> Result<()> {
        self.tell(&["neighbor", &self.side.node.to_string(), "refresh"])
            .map(drop)
    }
}

fn route(route: &Value, internal: bool) -> Route {
    let listed = |key: &str| {
        let words = route[key].as_array().into_iter().flatten();
        let words: Vec<String> = words
            .filter_map(|word| word.as_str().map(community))
            .collect();
        sorted(words.iter().map(String::as_str))
    };
    let text = |key: &str| route[key].as_str().unwrap_or_default();
    Route {
        prefix: text("prefix").to_owned(),
        next_hop: text("exit_nexthop").to_owned(),
        link_local: None,
        origin: lower_case(&route["origin"]),
        path: numbers(text("aspath")),
        // It writes its own values for those that it was not told.
        med: number(&route["metric"]).filter(|med| *med != 0),
        local_pref: number(&route["localpref"]).filter(|_| internal),
        communities: listed("communities"),
        large: listed("large_communities"),
        bandwidth: listed("extended_communities").iter().find_map(|one| {
            super::link_bandwidth(u64::from_str_radix(one.trim_start_matches("0x"), 16).ok()?)
        }),
    }
}
