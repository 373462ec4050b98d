//! What was found on this host. Pure data.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::bgp::PeerName;
use crate::dataplane::features::Feature;
use crate::model::{Mode, PoolName};
use crate::netlink::nic::XdpFeatures;

/// Everything that was found.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `uname -r`.
    pub kernel: String,
    /// This process may load and attach programs.
    pub privileged: bool,
    /// It may hear what routers say of the tunnels' packets, or why not.
    pub path_mtu: Result<(), String>,
    /// What the programs of the role need.
    pub features: Vec<Feature>,
    /// `net.core.bpf_jit_enable`; none where it cannot be read.
    pub jit: Option<bool>,
    /// The file makes this host a backend.
    pub backend: bool,
    /// Its program hangs on TC ingress (`backend.hook`).
    pub tc: bool,
    /// Where pins would be.
    pub pin_dir: PathBuf,
    /// There is a BPF file system there.
    pub bpf_fs: bool,
    /// Something keeps the clock; none where the kernel does not say.
    pub clock: Option<bool>,
    /// Processors.
    pub cpus: usize,
    /// The configuration.
    pub file: ConfigFile,
    /// The interfaces.
    pub interfaces: Vec<Interface>,
    /// Pools of the configuration.
    pub pools: Vec<Pool>,
    /// Peers of the configuration.
    pub peers: Vec<Peer>,
}

/// The configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigFile {
    /// Read, and without errors.
    Good(PathBuf),
    /// Has so many errors.
    Bad(PathBuf, usize),
    /// Not there; backends and peers are not known.
    Missing(PathBuf),
}

/// An interface that carries, or would carry, the traffic of VIPs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// None: there is no such interface.
    pub nic: Option<Nic>,
}

/// What is known of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nic {
    /// Administratively up, and with carrier.
    pub up: bool,
    /// Has an Ethernet address.
    pub ethernet: bool,
    /// Largest IP packet.
    pub mtu: u32,
    /// The driver; none for an interface without hardware.
    pub driver: Option<String>,
    /// What the driver does with XDP; none where the kernel does not tell.
    pub xdp: Option<XdpFeatures>,
    /// Offloads that are on; none where the kernel does not tell.
    pub offloads: Option<BTreeSet<String>>,
    /// Receive queues; none where they cannot be counted.
    pub queues: Option<usize>,
    /// By which fields UDP over IPv4 and IPv6 is spread over the queues; none where the driver does not tell.
    pub udp_fields: [Option<HashFields>; 2],
    /// The reverse path filter in force for IPv4: 0 off, 1 strict, 2 loose; none where it cannot be read.
    pub rp_filter: Option<u64>,
}

/// Fields of a packet that choose its queue (RXH_* of `linux/ethtool.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashFields(pub u64);

impl HashFields {
    /// The source port is among them: where tunnels carry the flow.
    pub fn source_port(self) -> bool {
        self.0 & (1 << 6) != 0
    }
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// What keeps its flows: decides who tells TCP what fits the tunnel.
    pub mode: Mode,
    /// Bytes of the largest headers before a packet in its tunnel.
    pub overhead: u32,
    /// Its backends.
    pub backends: Vec<Backend>,
}

/// A backend of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// The way there, or why there is none.
    pub way: Result<Way, String>,
    /// The pool's check, made once: passed, or why not.
    pub answer: Result<(), String>,
}

/// How packets leave to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The interface.
    pub interface: String,
    /// Who takes them there: a router, or the address itself.
    pub neighbour: IpAddr,
    /// Largest IP packet.
    pub mtu: u32,
}

/// A BGP peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What the configuration calls it, or the address of a member.
    pub address: PeerName,
    /// How it is.
    pub state: PeerState,
}

/// How a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// A running agent has this to say: the state's name, and why it is not Established.
    Session(String, Option<String>),
    /// Nobody may be connected to: the file says that the peer does it.
    Passive,
    /// Only a session's own socket gets through: it needs a password or the right TTL.
    Guarded,
    /// Its address is found by a running agent alone.
    Unknown,
    /// The peer's port takes connections.
    Answers,
    /// It does not, and why.
    Silent(String),
    /// No route.
    NoRoute,
}

/// A host that is well.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// On which nothing is to be complained about.
    pub(crate) fn well() -> Facts {
        let backend = |last: u8| Backend {
            address: [10, 1, 0, last].into(),
            way: Ok(Way {
                interface: "eth0".into(),
                neighbour: [10, 0, 0, 254].into(),
                mtu: 1500,
            }),
            answer: Ok(()),
        };
        let feature = |name| Feature {
            name,
            supported: Some(true),
        };
        let nic = Nic {
            up: true,
            ethernet: true,
            mtu: 1500,
            driver: Some("ixgbe".into()),
            xdp: Some(XdpFeatures(0x7)),
            offloads: Some(["rx-gro".into()].into()),
            queues: Some(8),
            udp_fields: [Some(HashFields(0xf0)); 2],
            rp_filter: Some(2),
        };
        Facts {
            kernel: "6.12.9".into(),
            privileged: true,
            path_mtu: Ok(()),
            features: vec![feature("XDP programs"), feature("arrays of maps")],
            jit: Some(true),
            backend: false,
            tc: false,
            pin_dir: "/sys/fs/bpf/anylb".into(),
            bpf_fs: true,
            clock: Some(true),
            cpus: 8,
            file: ConfigFile::Good("/etc/anylb/anylb.toml".into()),
            interfaces: vec![Interface {
                name: "eth0".into(),
                nic: Some(nic),
            }],
            pools: vec![Pool {
                name: PoolName("web".into()),
                mode: Mode::Rows,
                overhead: 56,
                backends: vec![backend(1), backend(2)],
            }],
            peers: vec![Peer {
                address: IpAddr::from([10, 0, 0, 1]).into(),
                state: PeerState::Session("Established".into(), None),
            }],
        }
    }
}
