//! Routers of five makers, each configured for one session with the node and asked what it heard.
//!
//! | file | daemon |
//! |---|---|
//! | `frr` | FRR's bgpd |
//! | `bird` | BIRD 2 |
//! | `gobgp` | GoBGP |
//! | `exabgp` | ExaBGP, which keeps no table: its messages are kept here |
//! | `openbgpd` | OpenBGPD |

mod bird;
mod exabgp;
mod frr;
mod gobgp;
mod openbgpd;

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::harness::netns::Netns;

/// A maker's daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// FRR.
    Frr,
    /// BIRD 2.
    Bird,
    /// GoBGP.
    Gobgp,
    /// ExaBGP.
    Exabgp,
    /// OpenBGPD.
    Openbgpd,
}

impl Kind {
    /// All of them, as the columns of the matrix.
    pub const ALL: [Self; 5] = [
        Self::Frr,
        Self::Bird,
        Self::Gobgp,
        Self::Exabgp,
        Self::Openbgpd,
    ];

    /// As its makers write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frr => "FRR",
            Self::Bird => "BIRD",
            Self::Gobgp => "GoBGP",
            Self::Exabgp => "ExaBGP",
            Self::Openbgpd => "OpenBGPD",
        }
    }
}

/// What the router's side of the session is.
#[derive(Clone, Debug)]
pub struct Side {
    /// Its address.
    pub own: IpAddr,
    /// The node's.
    pub node: IpAddr,
    /// Its AS.
    pub asn: u32,
    /// The node's AS.
    pub node_asn: u32,
    /// It dials; otherwise it only listens.
    pub dials: bool,
    /// TCP MD5 secret.
    pub password: Option<&'static str>,
    /// Packets of the node must have passed no router.
    pub ttl_security: bool,
    /// The node is not on the link of the address.
    pub multihop: bool,
    /// It knows AS numbers of four octets.
    pub as4: bool,
    /// It keeps the node's routes through a restart.
    pub graceful_restart: bool,
    /// Its interface towards the node, where both addresses are link-local.
    pub link: Option<&'static str>,
    /// Each knows the other by that interface alone, and by what is advertised there.
    pub unnumbered: bool,
    /// It watches the node by BFD, three packets in 100 ms each.
    pub bfd: bool,
}

impl Side {
    /// Of another AS than the node, on its link, listening, and nothing beyond that.
    pub const fn plain(own: IpAddr, asn: u32, node: IpAddr, node_asn: u32) -> Self {
        Self {
            own,
            node,
            asn,
            node_asn,
            dials: false,
            password: None,
            ttl_security: false,
            multihop: false,
            as4: true,
            graceful_restart: false,
            link: None,
            unnumbered: false,
            bfd: false,
        }
    }

    /// Whether both are of one AS.
    pub const fn internal(&self) -> bool {
        self.asn == self.node_asn
    }
}

/// A route as the router has it from the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The prefix.
    pub prefix: String,
    /// Where it leads.
    pub next_hop: String,
    /// The link-local address beside it (RFC 2545).
    pub link_local: Option<String>,
    /// ORIGIN, in lower case.
    pub origin: String,
    /// ASes, the node's first.
    pub path: Vec<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// `asn:value`, sorted.
    pub communities: Vec<String>,
    /// `asn:value:value`, sorted.
    pub large: Vec<String>,
    /// Link bandwidth, bytes per second.
    pub bandwidth: Option<u64>,
}

/// A running router.
pub trait Daemon {
    /// Fails, with the state in words, unless the session is Established.
    fn established(&self) -> Result<()>;
    /// Routes that it has from the node, of both families, by prefix; stale ones too.
    fn routes(&self) -> Result<Vec<Route>>;
    /// Asks the node for all its routes again (RFC 2918).
    fn refresh(&self) -> Result<()>;
    /// Takes another TCP MD5 secret while it runs.
    fn rekey(&self, _password: &'static str) -> Result<()> {
        bail!("this router takes none while it runs")
    }
}

/// Starts a router in its namespace; its files are in `dir`.
pub async fn start(kind: Kind, netns: &Netns, side: &Side, dir: &Path) -> Result<Box<dyn Daemon>> {
    let started: Result<Box<dyn Daemon>> = match kind {
        Kind::Frr => frr::start(netns, side, dir).await,
        Kind::Bird => bird::start(netns, side, dir).await,
        Kind::Gobgp => gobgp::start(netns, side, dir).await,
        Kind::Exabgp => exabgp::start(netns, side, dir).await,
        Kind::Openbgpd => openbgpd::start(netns, side, dir).await,
    };
    started.with_context(|| format!("start {}", kind.name()))
}

/// Both families' names in most configurations.
const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];

/// A number of an answer; none where it is missing or no number of 32 bits.
fn number(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

/// A text of an answer; empty where it is missing.
fn lower_case(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_lowercase()
}

/// Bytes per second of a link bandwidth, an extended community as a number.
fn link_bandwidth(community: u64) -> Option<u64> {
    let bytes = f32::from_bits(community as u32);
    (community >> 48 == 0x4004).then_some(bytes as u64)
}

/// Numbers in a text that lists them with blanks between.
fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Sorted words.
fn sorted<'t>(words: impl IntoIterator<Item = &'t str>) -> Vec<String> {
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    words.sort();
    words
}

/// Communities as routers abbreviate them, by their numbers.
fn community(text: &str) -> String {
    match text {
        "graceful-shutdown" | "GRACEFUL_SHUTDOWN" => "65535:0".to_owned(),
        "no-export" | "NO_EXPORT" => "65535:65281".to_owned(),
        other => other.to_owned(),
    }
}
