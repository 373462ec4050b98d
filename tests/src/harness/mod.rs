//! A network on one machine: namespaces joined by veth pairs, a real router in the middle.
//!
//! Whatever is made here is unmade when its value is dropped, so that a failing test leaves nothing behind; what a
//! killed test left is cleared by [`leftovers::clear`] under the same prefix.

pub mod bird;
pub mod bpffs;
pub mod counters;
pub mod filter;
pub mod flows;
pub mod hash_key;
pub mod leftovers;
pub mod netns;
pub mod poll;
pub mod privileged;
pub mod process;
pub mod prometheus;
pub mod raw;
pub mod router;
pub mod runtime;
pub mod scripted;
pub mod second_router;
pub mod secret;
pub mod shell;
pub mod star;
pub mod tmpfs;
pub mod xdp_drop;
pub mod xdp_pass;
