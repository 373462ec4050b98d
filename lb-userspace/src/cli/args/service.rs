//! `anylb service`.

use clap::{Args, Subcommand, ValueEnum};

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
    /// Let known flows of a service through this node and nothing else, or new ones again
    ///
    /// As `attack = true` of the service in the configuration, at once: SYNs are dropped, fragments, and packets of flows
    /// that nobody knows; nobody opens a connection meanwhile. Other nodes go on: tell each of them. Refused where nobody knows
    /// a flow, as in the configuration.
    ///
    /// With `mode = "rows"` the backends are asked by a flag in the tunnel's header. Those of an older version ignore it, and
    /// those that do not see their servers' sockets cannot answer: there SYNs and fragments alone are stopped. With
    /// `mode = "flow-table"` the node knows by itself, whatever the backends are.
    ///
    /// It holds instead of the configuration's word, over reloads, restarts of the agent and reboots, until the opposite is
    /// said, or the configuration says the same: from then on the configuration decides. `off` ends `attack = true` of the
    /// configuration in the same way.
    Attack(AttackArgs),
}

/// `service show`, `service withdraw`, `service announce`.
#[derive(Args, Clone, Debug)]
pub struct ServiceArgs {
    /// Name of the service
    #[arg(value_name = "NAME")]
    pub service: String,
}

/// `service attack`.
#[derive(Args, Clone, Debug)]
pub struct AttackArgs {
    /// Name of the service
    #[arg(value_name = "NAME")]
    pub service: String,
    /// Whether known flows alone get through
    pub attack: Switch,
}

/// The argument of `service attack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// They alone
    On,
    /// New ones as well
    Off,
}
