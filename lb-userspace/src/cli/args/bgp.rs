//! `anylb bgp`.

use clap::{Args, Subcommand};

use crate::bgp::PeerName;

/// `bgp`.
#[derive(Clone, Debug, Subcommand)]
pub enum BgpCommand {
    /// List the BGP sessions, what was negotiated, and why the last one ended
    Peers,
    /// Show everything about one session: timers, capabilities, messages, errors
    Peer(PeerArgs),
    /// Show what was announced to each peer: prefix, next hop and attributes as sent
    Routes {
        /// Only to this peer
        #[arg(value_name = "PEER")]
        peer: Option<PeerName>,
    },
    /// End a session, and have none with this peer until it is enabled again
    ///
    /// The peer gets Cease/Administrative Shutdown with the text (RFC 9003) and takes back what it heard from this node; other
    /// peers and other nodes go on. It outlasts the agent and reboots, until `anylb bgp enable`. To move the traffic away
    /// first, withdraw its services.
    Shutdown(ShutdownArgs),
    /// Take `bgp shutdown` back: the peer is dialled at once
    Enable(PeerArgs),
    /// Send a peer every route again, in the same session
    ///
    /// For a router that has lost or filtered some. Exits 6 when there is no session.
    Refresh(PeerArgs),
}

/// `bgp peer`, `bgp enable`, `bgp refresh`.
#[derive(Args, Clone, Debug)]
pub struct PeerArgs {
    /// Address of the peer
    #[arg(value_name = "PEER")]
    pub peer: PeerName,
}

/// `bgp shutdown`.
#[derive(Args, Clone, Debug)]
pub struct ShutdownArgs {
    /// Address of the peer
    #[arg(value_name = "PEER")]
    pub peer: PeerName,
    /// What the peer's operator shall read: at most 255 bytes
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    pub message: String,
}
