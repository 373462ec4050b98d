//! What the namespace tests, the lab and the benchmarks share.
//!
//! | module | holds |
//! |---|---|
//! | [`bench`] | what a packet costs |
//! | [`harness`] | namespaces, links, a router, processes, packet filters: a network to try things in |
//! | [`load`] | web server and clients that notice every broken connection |

pub mod bench;
pub mod harness;
pub mod load;
