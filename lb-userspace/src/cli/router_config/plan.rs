//! What every router must know.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::agent::serving::{self, Mode, Standing, Vips};
use crate::bgp::{Family, PeerName};
use crate::model::{Bgp, BgpPeer, GracefulRestart, Settings};
use crate::status::Refusal;

/// One router's side of all its sessions with our nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Name of the node whose configuration this is.
    pub node: String,
    /// AS of the router.
    pub router_asn: u32,
    /// AS of the nodes.
    pub node_asn: u32,
    /// Hold time, seconds; 0: none.
    pub hold_time_secs: u64,
    /// Nodes restart gracefully.
    pub graceful_restart: bool,
    /// What may be announced, and nothing else, in order.
    pub prefixes: Vec<IpNet>,
    /// The nodes.
    pub neighbors: Vec<Neighbor>,
}

/// A node as the router sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// What the router calls it.
    pub name: NeighborName,
    /// It dials; the router only listens.
    pub dials: bool,
    /// The port that it dials, where that is not 179.
    pub odd_port: Option<u16>,
    /// Hops of TTL security.
    pub ttl_security: Option<u8>,
    /// TCP MD5.
    pub password: Option<Password>,
    /// BFD.
    pub bfd: Option<Bfd>,
}

/// What a router calls a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NeighborName {
    /// By its address.
    Address(IpAddr),
    /// By the router's interface towards it, on which both advertise themselves.
    Interface(String),
}

impl NeighborName {
    /// Its address, where that is known.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            NeighborName::Address(address) => Some(*address),
            NeighborName::Interface(_) => None,
        }
    }
}

impl std::fmt::Display for NeighborName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NeighborName::Address(address) => address.fmt(f),
            NeighborName::Interface(interface) => interface.fmt(f),
        }
    }
}

/// BFD with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bfd {
    /// Between packets, both ways.
    pub interval_ms: u128,
    /// Packets in a row without which the other side is gone.
    pub multiplier: u8,
    /// The node is behind routers: from this address of the router.
    pub multihop: Option<IpAddr>,
}

/// A TCP MD5 secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    /// Where it stands on the node.
    pub file: PathBuf,
    /// The secret itself, where it may be shown.
    pub secret: Option<String>,
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Password({}, ..)", self.file.display())
    }
}

impl Password {
    /// The line that `line` makes of the secret; without the secret a comment that says where it is.
    pub fn line(&self, comment: &str, line: impl FnOnce(&str) -> String) -> String {
        match &self.secret {
            Some(secret) => line(secret),
            None => format!(
                "{comment} {}",
                line(&format!(
                    "<the text of {} on the node>",
                    self.file.display()
                ))
            ),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Our peers that are the router; empty: the only one there is.
    pub peers: Vec<PeerName>,
    /// Addresses of the nodes, as the router sees them.
    pub nodes: Vec<IpAddr>,
    /// Interfaces of the router towards the nodes, for sessions that have no addresses.
    pub interfaces: Vec<String>,
    /// Passwords in clear text.
    pub show_secrets: bool,
}

impl Plan {
    /// The router that has these addresses in our configuration.
    ///
    /// # Errors
    /// Usage, where it is not clear which router or which nodes are meant; refused, where it hears of no VIP.
    pub fn new(settings: &Settings, wanted: &Wanted) -> Result<Plan, Refusal> {
        let Some(bgp) = &settings.bgp else {
            return Err(Refusal::refused(
                "this node announces nothing: the configuration has no [bgp]",
            ));
        };
        let peers = chosen(bgp, &wanted.peers)?;
        let link_local = |peer: &&&BgpPeer| matches!(peer.name, PeerName::LinkLocal(..));
        if let Some(peer) = peers.iter().find(link_local) {
            return Err(Refusal::refused(format!(
                "the router's side of the session with {} names an interface of the router, which this node does not know: see \
                 \"Sessions over link-local addresses\" in docs/bgp.md",
                peer.name
            )));
        }
        let router_asn = one_router(&peers)?;
        let prefixes = heard(settings, bgp, &peers);
        if prefixes.is_empty() {
            return Err(Refusal::refused(
                "no service is announced to this router: there is nothing to accept",
            ));
        }
        let mut neighbors = Vec::new();
        for peer in &peers {
            let neighbor = |name| neighbor(bgp, peer, name, wanted.show_secrets);
            neighbors.extend(names(peer, wanted)?.into_iter().map(neighbor));
        }
        Ok(Plan {
            node: settings.node.name.clone(),
            router_asn,
            node_asn: bgp.asn,
            hold_time_secs: bgp.hold_time.as_secs(),
            graceful_restart: match bgp.graceful_restart {
                GracefulRestart::Always => true,
                GracefulRestart::WithBfd => peers.iter().any(|peer| peer.bfd.is_some()),
                GracefulRestart::Off => false,
            },
            prefixes,
            neighbors,
        })
    }

    /// Nodes and router are in one AS.
    pub fn internal(&self) -> bool {
        self.router_asn == self.node_asn
    }

    /// The prefixes of one family.
    pub fn prefixes_of(&self, family: Family) -> Vec<IpNet> {
        let of = |prefix: &&IpNet| Family::of(prefix) == family;
        self.prefixes.iter().filter(of).copied().collect()
    }

    /// Families that there are prefixes of.
    pub fn families(&self) -> Vec<Family> {
        let any = |family: &Family| !self.prefixes_of(*family).is_empty();
        Family::ALL.into_iter().filter(any).collect()
    }

    /// Prefixes of a family above which something is wrong with the node: room to add some, and not for a table of the internet.
    pub fn prefix_limit(&self, family: Family) -> usize {
        (2 * self.prefixes_of(family).len())
            .next_power_of_two()
            .max(16)
    }

    /// Between KEEPALIVEs of the router, seconds.
    pub fn keepalive_secs(&self) -> u64 {
        self.hold_time_secs / 3
    }
}

/// What the router calls the nodes that have this peer.
fn names(peer: &BgpPeer, wanted: &Wanted) -> Result<Vec<NeighborName>, Refusal> {
    let (names, question): (Vec<_>, &str) = match peer.name {
        PeerName::Interface(_) => {
            let interfaces = wanted.interfaces.iter().cloned();
            (
                interfaces.map(NeighborName::Interface).collect(),
                "which interface has the router towards this node? it has a name of its own for the link of {}: say so with \
                 --interface, such as --interface swp1",
            )
        }
        PeerName::Address(_) | PeerName::LinkLocal(..) | PeerName::Range(_) => {
            let same = |node: &&IpAddr| node.is_ipv4() == peer.name.is_ipv4();
            let nodes = wanted.nodes.iter().filter(same).copied();
            (
                nodes.map(NeighborName::Address).collect(),
                "which address has the node towards {}? this host has none: say so with --node",
            )
        }
    };
    match names.is_empty() {
        true => Err(Refusal::usage(
            question.replace("{}", &peer.name.to_string()),
        )),
        false => Ok(names),
    }
}

fn chosen<'b>(bgp: &'b Bgp, wanted: &[PeerName]) -> Result<Vec<&'b BgpPeer>, Refusal> {
    let known: Vec<String> = bgp.peers.iter().map(|p| p.name.to_string()).collect();
    if wanted.is_empty() {
        return match bgp.peers.as_slice() {
            [only] => Ok(vec![only]),
            peers => {
                let peers = peers.iter();
                let list = peers.map(|peer| format!("{} (AS {})", peer.name, peer.asn));
                Err(Refusal::usage(format!(
                    "which router? say so with --peer, once for every address of it: {}",
                    list.collect::<Vec<_>>().join(", ")
                )))
            }
        };
    }
    let find = |name: &PeerName| {
        let found = bgp.peers.iter().find(|peer| peer.name == *name);
        found.ok_or_else(|| Refusal::no_peer(*name, &known))
    };
    wanted.iter().map(find).collect()
}

fn one_router(peers: &[&BgpPeer]) -> Result<u32, Refusal> {
    let mut of: BTreeMap<u32, PeerName> = BTreeMap::new();
    for peer in peers {
        of.entry(peer.asn).or_insert(peer.name);
    }
    let mut found = of.into_iter();
    match (found.next(), found.next()) {
        (Some((asn, _)), None) => Ok(asn),
        (Some((asn, address)), Some((other, second))) => Err(Refusal::usage(format!(
            "{address} is in AS {asn} and {second} in AS {other}: one router at a time"
        ))),
        (None, _) => Err(Refusal::usage("which router? say so with --peer")),
    }
}

/// What any of the sessions may carry once everything can be served.
fn heard(settings: &Settings, bgp: &Bgp, peers: &[&BgpPeer]) -> Vec<IpNet> {
    let services = &settings.services;
    let vips: Vips = services
        .iter()
        .map(|service| (service.vip, Ok(Standing::Full)))
        .collect();
    let routes = serving::route_set(&vips, services, Some(bgp), Mode::Serving, true);
    let mut prefixes: Vec<IpNet> = peers
        .iter()
        .flat_map(|peer| routes.to(peer.name).into_keys())
        .collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

fn neighbor(bgp: &Bgp, peer: &BgpPeer, name: NeighborName, show_secrets: bool) -> Neighbor {
    let password = peer.password_file.clone().map(|file| Password {
        file,
        secret: peer.password.clone().filter(|_| show_secrets),
    });
    Neighbor {
        name,
        // A node that listens may be dialled as well.
        dials: !peer.passive && bgp.listen.is_empty(),
        odd_port: (!peer.passive && peer.port != 179).then_some(peer.port),
        ttl_security: peer.ttl_security,
        password,
        bfd: peer.bfd.as_ref().map(|bfd| Bfd {
            interval_ms: bfd.interval.as_millis(),
            multiplier: bfd.multiplier,
            multihop: bfd.multihop.and(peer.name.address()),
        }),
    }
}
