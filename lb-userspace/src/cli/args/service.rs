//! `anylb service`.

use clap::{Args, Subcommand};

/// `service`.
#[derive(Clone, Debug, Subcommand)]
pub enum ServiceCommand {
    /// List the services of this node, and why a VIP is not announced
    List,
    /// Show one service: its announcement, traffic and backends
    Show(ServiceArgs),
    /// Stop announcing a service's VIP from this node, until it is announced again
    ///
    /// Other nodes go on. A VIP is one route: the other services at it are withdrawn with this one. Packets that still
    /// come are forwarded as before. The withdrawal outlasts the agent, until `anylb service announce`.
    Withdraw(ServiceArgs),
    /// Announce a service's VIP from this node again, as soon as it can be served
    Announce(ServiceArgs),
}

/// `service show`, `service withdraw`, `service announce`.
#[derive(Args, Clone, Debug)]
pub struct ServiceArgs {
    /// Name of the service
    #[arg(value_name = "NAME")]
    pub service: String,
}
