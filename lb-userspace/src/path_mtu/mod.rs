//! Path MTU discovery for the tunnels (RFC 1191, RFC 8201): routers say what of our own packets was too big for the way to a backend.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | [`report`] | [`Report`]: what one ICMP message says about a packet of ours | yes |
//! | [`learned`] | [`Learned`]: what holds of each backend, and how long | yes |
//! | `listener` | [`Listener`]: the sockets, and the task that reads them | no |
//!
//! A message counts only if it quotes a packet that this node may have sent: from its tunnel source, to a backend, by a tunnel that
//! a pool of that backend has, and larger than what is said to fit. It lowers that one backend's MTU, never below what its tunnels
//! need, and for ten minutes.
//!
//! Invariant: no message raises an MTU, and memory is bounded by the backends.

#![forbid(unsafe_code)]

pub mod learned;
mod listener;
pub mod report;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use learned::{Learned, Tunnel, Tunnels};
pub use listener::{Listener, try_to_listen};
pub use report::{Carrier, Report};

/// Largest packets on the ways to backends about which routers have spoken, in bytes.
pub type PathMtus = BTreeMap<IpAddr, u32>;
