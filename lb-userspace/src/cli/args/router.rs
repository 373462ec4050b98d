//! `anylb router-config`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::CONFIG;
use crate::bgp::PeerName;
pub use crate::cli::router_config::Platform;

/// `router-config`.
#[derive(Args, Clone, Debug)]
pub struct RouterConfigArgs {
    /// The router's operating system
    #[arg(value_enum)]
    pub platform: Platform,
    /// The configuration file of a node
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    /// The router: its address or interface in the file; once for every session with it
    #[arg(long, value_name = "PEER")]
    pub peer: Vec<PeerName>,
    /// Address of a node as the router sees it; once for every node and family
    ///
    /// Without it, the addresses that this host has towards the router.
    #[arg(long, value_name = "ADDRESS")]
    pub node: Vec<IpAddr>,
    /// Interface of the router towards a node, for a peer that is known by its interface; once for every node
    #[arg(long, value_name = "NAME")]
    pub interface: Vec<String>,
    /// Print passwords, not where they are
    #[arg(long)]
    pub show_secrets: bool,
}
