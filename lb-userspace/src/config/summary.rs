//! What a good file says, in a few lines: the answer of `anylb check`.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::model::{GracefulRestart, Settings};

/// A checked file in numbers. `Display` gives lines for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// `lb` or `backend`.
    pub role: &'static str,
    /// `node.name`.
    pub node: String,
    /// Interfaces of the datapath.
    pub interfaces: Vec<String>,
    /// Our AS number, where VIPs are announced.
    pub asn: Option<u32>,
    /// BGP peers.
    pub peers: usize,
    /// Pools.
    pub pools: usize,
    /// Backends in all pools.
    pub backends: usize,
    /// Services.
    pub services: usize,
    /// Different VIPs.
    pub vips: usize,
    /// What is allowed and may not be meant, one sentence each.
    pub notes: Vec<String>,
}

impl Summary {
    /// Counts `settings`.
    pub fn of(settings: &Settings) -> Self {
        let vips: BTreeSet<_> = settings
            .services
            .iter()
            .map(|service| service.vip)
            .collect();
        Summary {
            role: match (&settings.backend, settings.pools.is_empty()) {
                (None, _) => "lb",
                (Some(_), true) => "backend",
                (Some(_), false) => "combined",
            },
            node: settings.node.name.clone(),
            interfaces: settings.node.interfaces.clone(),
            asn: settings.bgp.as_ref().map(|bgp| bgp.asn),
            peers: settings.bgp.as_ref().map_or(0, |bgp| bgp.peers.len()),
            pools: settings.pools.len(),
            backends: settings
                .pools
                .values()
                .map(|pool| pool.backends.len())
                .sum(),
            services: settings.services.len(),
            vips: vips.len(),
            notes: notes(settings),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} {} on {}",
            self.role,
            self.node,
            self.interfaces.join(", ")
        )?;
        if let Some(asn) = self.asn {
            writeln!(f, "BGP: AS {asn}, {}", count(self.peers, "peer"))?;
        }
        if self.pools > 0 {
            writeln!(
                f,
                "{}, {}",
                count(self.pools, "pool"),
                count(self.backends, "backend")
            )?;
        }
        writeln!(
            f,
            "{}, {}",
            count(self.services, "service"),
            count(self.vips, "VIP")
        )?;
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn notes(settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    if settings.services.is_empty() {
        notes.push("there is no service".to_owned());
    }
    let used: BTreeSet<_> = settings
        .services
        .iter()
        .filter_map(|service| service.pool.as_ref())
        .collect();
    for name in settings.pools.keys().filter(|name| !used.contains(name)) {
        notes.push(format!("no service uses pool `{name}`"));
    }
    for pool in settings.pools.values().filter(|pool| pool.hops == 1) {
        notes.push(format!(
            "pool `{}` has no second chance (hops = 1)",
            pool.name
        ));
    }
    match &settings.bgp {
        Some(bgp) if bgp.graceful_restart != GracefulRestart::Always => {
            notes.push(
                "graceful restart is not offered: an agent's restart withdraws the VIPs".to_owned(),
            );
        }
        None if settings.backend.is_none() => {
            notes.push("without `[bgp]` no VIP is announced".to_owned())
        }
        Some(_) | None => {}
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{GOOD, read};

    #[test]
    fn a_load_balancer_in_lines() {
        let settings = read(GOOD).unwrap_or_else(|errors| panic!("{errors}"));
        let expected = "\
lb lb1 on eth0
BGP: AS 65001, 1 peer
1 pool, 2 backends
1 service, 1 VIP
note: graceful restart is not offered: an agent's restart withdraws the VIPs
";
        assert_eq!(Summary::of(&settings).to_string(), expected);
    }
}
