//! Every reason not to begin, in one line that says what to do.

use std::net::IpAddr;

use super::plan::Plan;
use crate::dataplane::DataplaneError;
use crate::netlink::{self, Unresolved};

/// Why nothing was sent, or no more.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No such interface.
    #[error("no interface {0}; `ip link` lists those that there are")]
    NoInterface(String),
    /// Administratively down or without carrier.
    #[error("{0} is down; run `ip link set {0} up`, and look at its cable")]
    Down(String),
    /// Not Ethernet.
    #[error("{0} has no MAC address; take an Ethernet interface")]
    NoMac(String),
    /// This host is reached by it.
    #[error(
        "{0} carries the default route: the link will be full, which cuts this host off, and made-up sources could get out; take \
         an interface with nothing but the node under test behind it"
    )]
    DefaultRoute(String),
    /// A frame that the link does not carry.
    #[error(
        "frames of {frame_bytes} bytes do not fit {interface} with its MTU of {mtu}; raise it, or ask for {most} bytes at most"
    )]
    TooLarge {
        /// As asked for.
        frame_bytes: u32,
        /// The interface.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// Largest frame.
        most: u32,
    },
    /// No room for headers and mark.
    #[error(
        "frames of {frame_bytes} bytes have no room for what is counted; ask for {least} bytes at least"
    )]
    TooSmall {
        /// As asked for.
        frame_bytes: u32,
        /// Smallest frame.
        least: u32,
    },
    /// More CPUs than there are.
    #[error("{asked} CPUs shall send and this process may use {there}; ask for at most so many")]
    Cpus {
        /// As asked for.
        asked: usize,
        /// To be had.
        there: usize,
    },
    /// The way to the VIP is another.
    #[error(
        "{vip} is reached by {other}, not by {interface}; name the node's address on that link with --via"
    )]
    OtherWay {
        /// The VIP.
        vip: IpAddr,
        /// The interface that the route leads out of.
        other: String,
        /// The one asked for.
        interface: String,
    },
    /// No route.
    #[error("{vip}: {reason}; name the node's address on the link of {interface} with --via")]
    NoWay {
        /// The VIP.
        vip: IpAddr,
        /// Why not.
        reason: Unresolved,
        /// The interface asked for.
        interface: String,
    },
    /// Nobody there.
    #[error(
        "{neighbour} does not answer on {interface}; look at cable and addresses, or name its MAC address with --mac"
    )]
    Silent {
        /// Who was asked for.
        neighbour: IpAddr,
        /// Where.
        interface: String,
    },
    /// The driver runs no programs.
    #[error(
        "{0}: the driver has no native XDP, which sending needs; take another NIC, or another generator (docs/nics.md)"
    )]
    NoNativeXdp(String),
    /// The driver sends no frames of programs.
    #[error(
        "{0}: the driver sends no frames of XDP programs, and a veth only while its peer has a program; take another NIC, or another \
         generator (docs/nics.md)"
    )]
    NoTarget(String),
    /// A kernel without live frames, or one that does not take these.
    #[error(
        "this kernel sends no frames of BPF programs ({0}): it needs Linux 5.18; take another generator (docs/nics.md)"
    )]
    NoLiveFrames(DataplaneError),
    /// Loading or attaching failed.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// The kernel could not be asked.
    #[error("{0}")]
    Netlink(#[from] netlink::Error),
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was sent, or no more.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The kernel stopped it.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// No mark for the packets.
    #[error("cannot read /dev/urandom: {0}")]
    Random(#[source] std::io::Error),
    /// A thread could not have its CPU.
    #[error("CPU {cpu}: {source}; name fewer with --cpus")]
    Cpu {
        /// Which.
        cpu: usize,
        /// What the kernel said.
        source: nix::errno::Errno,
    },
}

/// What to do where packets of this size go out and none comes back.
pub(super) fn nothing_returned(plan: &Plan, frame_bytes: u32, sent: Option<u64>) -> String {
    let (interface, vip) = (&plan.interface, plan.vip);
    if sent == Some(0) {
        return format!(
            "the driver of {interface} took none of the frames of {frame_bytes} bytes; see `ethtool -S {interface}`"
        );
    }
    let source = match vip.ip() {
        IpAddr::V4(_) => "198.18.0.1:32768",
        IpAddr::V6(_) => "'[2001:2::1]:32768'",
    };
    format!(
        "no frame of {frame_bytes} bytes came back; on the node `anylb explain {source} {vip}/udp` must say `sent`, with an address \
         of {interface} as the backend, and `anylb drops` says what else became of them"
    )
}
