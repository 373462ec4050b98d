//! The backend role: encapsulated packets in, decided and decapsulated by XDP; VIPs on `lo`.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | [`role`] | what the datapath is to do, from configuration and host | yes |
//! | [`image`] | that as contents of the maps | yes |
//! | [`differences`] | what the maps hold otherwise | yes |
//! | [`report`] | status and counters | yes |
//! | [`kernel_types`] | offsets of fields in the kernel's structures | yes |
//! | [`host`] | questions to this host | no |
//! | [`datapath`] | programs and maps: load, attach, read, detach | no |
//! | `keeper` | keeps the datapath true to configuration and host | no |
//! | `agent` | start, loop and end | no |
//! | [`node`] | the agent as the API sees it | no |
//!
//! *Stop* (SIGTERM, SIGINT) undoes everything. *Handover* (`anylb restart`) and a crash leave programs and VIPs in place: the links
//! are pinned (on kernels without TCX a filter stays), packets go on, and the next agent puts its programs in their place by link update.

mod agent;
pub mod datapath;
pub mod differences;
mod error;
pub mod host;
pub mod image;
mod keeper;
pub mod kernel_types;
pub mod node;
pub mod report;
pub mod role;

pub use agent::{beside, run, undo_left};
pub use error::Error;
