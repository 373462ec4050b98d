//! Packets dropped on purpose, by nftables.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::netns::{Netns, command_in};
use super::shell;

/// A table of rules in one namespace, taken away when dropped.
#[derive(Debug)]
pub struct Filter {
    netns: String,
    table: String,
}

impl Filter {
    /// Drops what matches any of `rules` (nftables expressions such as `iifname "be1"`) at `hook` (`forward`,
    /// `input`, `output`).
    pub fn dropping(netns: &Netns, table: &str, hook: &str, rules: &[String]) -> Result<Self> {
        let mut script =
            format!("table inet {table} {{ chain drops {{ type filter hook {hook} priority 0;\n");
        for rule in rules {
            script.push_str(&format!("{rule} counter drop\n"));
        }
        script.push_str("}\n}\n");
        feed(netns, &script)?;
        Ok(Self {
            netns: netns.name().to_owned(),
            table: table.to_owned(),
        })
    }

    /// How many packets the rules have dropped.
    pub fn dropped(&self) -> Result<u64> {
        let listing = shell::output(command_in(&self.netns, "nft").args([
            "list",
            "table",
            "inet",
            &self.table,
        ]))?;
        let words: Vec<&str> = listing.split_whitespace().collect();
        Ok(words
            .windows(2)
            .filter(|pair| pair[0] == "packets")
            .filter_map(|pair| pair[1].parse::<u64>().ok())
            .sum())
    }

    /// Lets everything through again.
    pub fn lift(self) {}
}

impl Drop for Filter {
    fn drop(&mut self) {
        let delete = shell::output(command_in(&self.netns, "nft").args([
            "delete",
            "table",
            "inet",
            &self.table,
        ]));
        if let Err(error) = delete {
            eprintln!("packet filter left behind: {error:#}");
        }
    }
}

fn feed(netns: &Netns, script: &str) -> Result<()> {
    let mut child = netns
        .command("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start nft")?;
    child
        .stdin
        .take()
        .context("stdin is piped")?
        .write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "nft refused {script}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
