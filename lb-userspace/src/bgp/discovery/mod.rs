//! Who the router on a link is: it is learned from its router advertisements (RFC 4861), as routers themselves learn their unnumbered
//! neighbors, and ours tell it who we are.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | `message` | advertisements and solicitations to bytes, and the check of those that come | yes |
//! | [`machine`] | who is taken for the peer, and what is sent when | yes |
//! | `socket` | the state of the interface, and what is sent and heard on it | no |
//! | `finder` | [`Finder`]: the task that keeps the peer's address current | no |
//!
//! Invariant: nobody takes us for a default router: our advertisements have a router lifetime of 0, and no prefixes.

mod finder;
mod machine;
mod message;
mod socket;

pub(super) use finder::Finder;
pub(super) use socket::try_to_open;
