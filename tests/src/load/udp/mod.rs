//! The same over UDP.
//!
//! | module | holds |
//! |---|---|
//! | [`server`] | answers from a connected socket per flow, and without any |
//! | [`flows`] | many new flows, a datagram at a time |
//! | [`steady`] | flows that exchange datagrams all the time |
//!
//! A question is a sequence number of eight bytes, low ones first; the [`Answer`] is JSON.

pub mod flows;
pub mod server;
pub mod steady;

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

/// Longest answer.
const ANSWER_BYTES: usize = 512;

/// To one question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Name of the server.
    pub name: String,
    /// Client address as the server saw it.
    pub peer: SocketAddr,
    /// The question's sequence number.
    pub sequence: u64,
}

/// Allows this process as many sockets as it may have.
pub fn raise_descriptors() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("more file descriptors")
}

/// A socket bound to `address`, which others may be bound to as well and which need not be this host's yet.
fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_freebind_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}
