//! Routes, neighbours, links, addresses and sockets of the network namespace of the calling thread.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | `next_hop` | [`NextHop`], [`Unresolved`] and how they follow from link, route and neighbour | yes |
//! | `table` | [`Table`]: what is known of the kernel, and the next hops that follow | yes |
//! | `kernel` | the requests, one per question | no |
//! | `events` | what the kernel says unasked | no |
//! | `resolver` | [`Resolver`]: the task that keeps next hops current | no |
//! | [`address`] | addresses of interfaces, and which of ours faces a peer | no |
//! | `local_route` | prefixes that the host takes for its own | no |
//! | `generic` | generic netlink: families by name, one question, one answer | no |
//! | [`nic`] | what an interface and its driver can do | no |
//! | [`sock_diag`] | sockets by local address | no |
//!
//! Invariant: events only say sooner what a full round every few seconds finds out anyway.

#![forbid(unsafe_code)]

pub mod address;
mod error;
mod events;
mod generic;
mod kernel;
mod local_route;
mod next_hop;
pub mod nic;
mod resolver;
pub mod sock_diag;
mod table;
#[cfg(test)]
pub(crate) mod testing;

pub use error::Error;
pub(crate) use kernel::interface_name;
pub use next_hop::{Link, NextHop, Own, Route, Unresolved};
pub use resolver::{NextHops, Resolver};
pub use table::{Gateway, Neighbour, Resolution, Table, Upkeep};
