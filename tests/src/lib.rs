//! What the namespace tests, the lab and the benchmarks share.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@bench`] | what a packet costs |
//! | [`failover`] | how long a router sends packets to a node that is gone |
//! | [`harness`] | namespaces, links, a router, processes, packet filters: a network to try things in |
//! | [`interop`] | the speaker against routers of five makers |
//! | [`load`] | web server and clients that notice every broken connection |
//! | [`lone`] | one LB node and its backends without a router's control plane |
//! | [`packet`] | packets byte by byte |
//! | [`scale`] | the speaker with many peers and prefixes |
//! | [`times`] | how long something took in several runs |
//! | [`verdict`] | how programs end |
//! | [`lab`] | the scenarios of `cargo xtask lab` and their report |

pub mod bench;
pub mod failover;
pub mod harness;
pub mod interop;
pub mod lab;
pub mod load;
pub mod lone;
pub mod scale;
pub mod times;
pub mod verdict;
pub use lb_oracle::packet;
