//! A network namespace with a name, as `ip netns` knows it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use super::shell;

/// A namespace that is deleted when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes the namespace, brings `lo` up and sets what every node of a test network needs: no duplicate address
    /// detection, no reverse path filter, IPv6 addresses that survive a link going down.
    pub fn create(name: &str) -> Result<Self> {
        shell::run(&format!("ip netns add {name}"))?;
        let netns = Self {
            name: name.to_owned(),
        };
        netns.ip("link set lo up")?;
        for (key, value) in [
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
            ("net.ipv6.conf.all.accept_dad", "0"),
            ("net.ipv6.conf.default.accept_dad", "0"),
            ("net.ipv6.conf.all.keep_addr_on_down", "1"),
            ("net.ipv6.conf.default.keep_addr_on_down", "1"),
        ] {
            netns.sysctl(key, value)?;
        }
        Ok(netns)
    }

    /// The name `ip netns` lists.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the namespace is mounted.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Runs `work` on a thread of its own inside the namespace. Sockets it makes stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter()?;
                    work()
                })
                .join()
                .map_err(|_| anyhow!("the work inside {} panicked", self.name))?
        })
    }

    /// Moves the calling thread into the namespace, for good.
    pub fn enter(&self) -> Result<()> {
        let handle =
            File::open(self.path()).with_context(|| format!("open {}", self.path().display()))?;
        setns(handle, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", self.name))
    }

    /// A program that will run inside, by `ip netns exec` (which gives it a `/sys` of its own); its process id is
    /// the program's.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        command_in(&self.name, program)
    }

    /// `ip -n NAME ARGUMENTS`, separated by blanks.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        shell::run(&format!("ip -n {} {arguments}", self.name))
    }

    /// `ip -j -n NAME ARGUMENTS` as JSON.
    pub fn ip_json(&self, arguments: &str) -> Result<serde_json::Value> {
        let text = shell::run(&format!("ip -j -n {} {arguments}", self.name))?;
        if text.trim().is_empty() {
            return Ok(serde_json::Value::Array(Vec::new()));
        }
        serde_json::from_str(&text).with_context(|| format!("ip -j {arguments}: {text}"))
    }

    /// Devices of the next hops of an address, of the routes to this very address.
    pub fn next_hops(&self, address: impl Display) -> Result<BTreeSet<String>> {
        let address = address.to_string();
        let family = if address.contains(':') { "-6" } else { "-4" };
        let routes = self.ip_json(&format!("{family} route show {address}"))?;
        Ok(devices(&routes))
    }

    /// Sets `net.*` inside.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = PathBuf::from("/proc/sys").join(key.replace('.', "/"));
        self.run(|| std::fs::write(&path, value).with_context(|| format!("{key} = {value}")))
    }
}

/// [`Netns::command`] for a namespace of that name.
pub fn command_in(netns: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns]).arg(program);
    command
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = shell::run(&format!("ip netns del {}", self.name)) {
            eprintln!("namespace left behind: {error:#}");
        }
    }
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
