//! Traffic: a web server that says who it is and whom it saw, and clients that notice every broken connection.

pub mod client;
pub mod long_lived;
pub mod many;
pub mod server;
pub mod stream;
pub mod upload;
