//! Why a speaker cannot start.

use std::io;
use std::net::SocketAddr;

use super::peer_name::PeerName;

/// Each says in one line what to do.
#[derive(Debug, thiserror::Error)]
pub enum SpeakerError {
    /// EACCES on bind.
    #[error(
        "BGP may not listen on {address}: permission denied; run as root or with CAP_NET_BIND_SERVICE, or do not listen (peers are still dialled)"
    )]
    ListenDenied {
        /// The address.
        address: SocketAddr,
    },
    /// EADDRINUSE on bind.
    #[error(
        "BGP cannot listen on {address}: port {port} is in use; stop the other BGP daemon (`ss -ltnp 'sport = :{port}'` names it), or do not listen (peers are still dialled)",
        port = address.port()
    )]
    ListenInUse {
        /// The address.
        address: SocketAddr,
    },
    /// Any other failure to listen.
    #[error(
        "BGP cannot listen on {address}: {source}; check that an interface of this host has the address"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel takes no TCP MD5 key.
    #[error(
        "cannot set the TCP MD5 password of peer {peer}: {source}; the kernel needs CONFIG_TCP_MD5SIG, a password at most 80 bytes"
    )]
    Password {
        /// Whose password.
        peer: PeerName,
        /// What the kernel said.
        source: io::Error,
    },
    /// EPERM on a raw socket.
    #[error(
        "BGP cannot hear the router advertisements that peer {peer} is found by: {source}; run as root or with CAP_NET_RAW, or give the peer an address"
    )]
    Discovery {
        /// Whose.
        peer: PeerName,
        /// What the kernel said.
        source: io::Error,
    },
    /// A value outside its range.
    #[error("BGP configuration: {0}")]
    Config(String),
}
