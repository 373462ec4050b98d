//! `anylb doctor`: what of this host stands in the way of anylb, before it runs or while it does.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | [`facts`] | what was found | yes |
//! | [`judge`] | what it means, and what to do | yes |
//! | `host` | finding it: kernel, interface, ways, peers | no |
//! | `rss` | by which fields a NIC spreads packets over its queues | no |
//! | `clock` | whether the clock is kept | no |
//!
//! Nothing is changed and nothing stays: no program is attached, no neighbour is kept. Backends are checked once as the agent
//! checks them; a peer is connected to only while no agent has a session with it.

mod clock;
pub mod facts;
mod host;
pub mod judge;
mod rss;

pub use host::examine;
