//! The kernel's counters: protocols of a namespace, XDP of a device.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::{netns::Netns, shell};

/// Counters of `/proc/net/snmp` and `/proc/net/netstat`, named `Tcp.RetransSegs`, `TcpExt.TCPTimeouts` and so on.
#[derive(Clone, Debug, Default)]
pub struct Counters(BTreeMap<String, i64>);

impl Counters {
    /// Reads them.
    pub fn read(netns: &Netns) -> Result<Self> {
        // `/proc/net` follows the process, not the thread that entered the namespace.
        let text = netns.run(|| {
            let snmp = std::fs::read_to_string("/proc/thread-self/net/snmp").context("snmp")?;
            Ok(snmp
                + &std::fs::read_to_string("/proc/thread-self/net/netstat").context("netstat")?)
        })?;
        Ok(Self(parse(&text)))
    }

    /// One counter; a kernel that has none by that name counts nothing.
    pub fn value(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}

/// Frames that a device's XDP program sent and the driver could not (`ethtool -S`, all queues).
pub fn xdp_errors(netns: &Netns, device: &str) -> Result<u64> {
    let text = shell::output(netns.command("ethtool").args(["-S", device]))?;
    Ok(sum_xdp_errors(&text))
}

fn sum_xdp_errors(text: &str) -> u64 {
    let lines = text.lines().filter_map(|line| line.trim().split_once(": "));
    lines
        .filter(|(name, _)| name.ends_with("xdp_tx_errors") || name.ends_with("xdp_xmit_errors"))
        .filter_map(|(_, value)| value.parse::<u64>().ok())
        .sum()
}

/// Pairs of lines: `Tcp: NAMES` and `Tcp: VALUES`.
fn parse(text: &str) -> BTreeMap<String, i64> {
    let lines: Vec<&str> = text.lines().collect();
    let mut counters = BTreeMap::new();
    for pair in lines.chunks_exact(2) {
        let Some((group, names)) = pair[0].split_once(':') else {
            continue;
        };
        let values = pair[1].split_whitespace().skip(1);
        for (name, value) in names.split_whitespace().zip(values) {
            counters.insert(format!("{group}.{name}"), value.parse().unwrap_or_default());
        }
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_all_queues_are_added() {
        let text = "NIC statistics:\n     rx_queue_0_xdp_tx: 7\n     rx_queue_0_xdp_tx_errors: 1\n\
                    \x20    rx_queue_1_xdp_tx_errors: 2\n     tx_queue_0_xdp_xmit_errors: 4\n";
        assert_eq!(sum_xdp_errors(text), 7);
    }

    #[test]
    fn names_and_values_are_paired() {
        let counters = Counters(parse(
            "Tcp: MaxConn RetransSegs\nTcp: -1 7\nUdp: NoPorts\nUdp: 3\n",
        ));
        assert_eq!(counters.value("Tcp.MaxConn"), -1);
        assert_eq!(counters.value("Tcp.RetransSegs"), 7);
        assert_eq!(counters.value("Udp.NoPorts"), 3);
        assert_eq!(counters.value("Tcp.Absent"), 0);
    }
}
