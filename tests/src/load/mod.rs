//! Traffic: servers that say who they are and whom they saw, and clients that notice every broken connection.

pub mod client;
pub mod long_lived;
pub mod many;
pub mod server;
pub mod stream;
pub mod udp;
pub mod upload;
