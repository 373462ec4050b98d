//! `anylb backend`.

use std::str::FromStr;

use clap::{Args, Subcommand};

use super::RunArgs;

/// Port of the metrics in every example.
const METRICS_PORT: &str = "9488";
/// Longest `--timeout`, seconds: a week.
const TIMEOUT_SECS_MAX: u64 = 7 * 24 * 3600;

/// `backend`.
#[derive(Clone, Debug, Subcommand)]
pub enum BackendCommand {
    /// Run the agent of a backend: decapsulation with second chance
    Run(RunArgs),
    /// Ask the agent.
    #[command(flatten)]
    Ask(BackendAsk),
}

/// What is asked of a running agent about backends.
#[derive(Clone, Debug, Subcommand)]
pub enum BackendAsk {
    /// List the backends of this node, and what was said of them on this node alone
    List {
        /// Only of this pool
        #[arg(long)]
        pool: Option<String>,
    },
    /// Give a backend no new flows on this node; it keeps those it has
    ///
    /// Where all backends of a pool are draining, none is. Holds until `anylb backend ready`, over restarts of the agent, until
    /// the box reboots.
    ///
    /// With --wait the backend itself is asked every second, by http://BACKEND:PORT/metrics from this host, for its
    /// connections (anylb_vip_connections; with --pool, those of that pool's services). Exits 0 when it has none, 8 when it
    /// still has some after --timeout, and 7 when that is unknown: the backend's agent does not answer, or cannot count. It
    /// goes on draining in any case. Other nodes send it new flows until they are told the same.
    Drain(DrainArgs),
    /// Give a backend new flows again on this node, after `drain` or `disable`
    Ready(BackendArgs),
    /// Give a backend nothing at all on this node: the connections that it has through this node are lost
    ///
    /// For a backend that does harm while it serves; `drain` is the gentle way. It is in no row any more, so that no other
    /// backend passes anything on to it either. The last backend of a pool cannot be disabled. Holds as long as `drain`.
    Disable(OverrideArgs),
    /// Give a backend another share of new flows on this node; the flows it has stay
    ///
    /// Rows differ from those of other nodes until these are told the same: tell all of them, one after the other. Holds
    /// as long as `drain`; `anylb backend weight BACKEND configured` ends it.
    Weight(WeightArgs),
}

/// One backend.
#[derive(Args, Clone, Debug)]
pub struct BackendArgs {
    /// Address or name of the backend
    pub backend: String,
    /// Only in this pool; without it, in every pool that has the backend
    #[arg(long)]
    pub pool: Option<String>,
}

/// `backend drain`.
#[derive(Args, Clone, Debug)]
pub struct DrainArgs {
    /// Which.
    #[command(flatten)]
    pub backend: BackendArgs,
    /// Hold after a reboot as well
    #[arg(long)]
    pub persist: bool,
    /// Answer once the backend has no connections
    #[arg(long)]
    pub wait: bool,
    /// Wait so long at most
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "wait",
        default_value = "3600",
        value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_SECS_MAX)
    )]
    pub timeout: u64,
    /// Port of the backend's metrics: that of its `metrics.listen`
    #[arg(
        long,
        value_name = "PORT",
        requires = "wait",
        default_value = METRICS_PORT,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub metrics_port: u16,
}

/// `backend disable`.
#[derive(Args, Clone, Debug)]
pub struct OverrideArgs {
    /// Which.
    #[command(flatten)]
    pub backend: BackendArgs,
    /// Hold after a reboot as well
    #[arg(long)]
    pub persist: bool,
}

/// `backend weight`.
#[derive(Args, Clone, Debug)]
pub struct WeightArgs {
    /// Which.
    #[command(flatten)]
    pub backend: BackendArgs,
    /// 1 to 1000, or `configured` for what the configuration says
    pub weight: Weight,
    /// Hold after a reboot as well
    #[arg(long)]
    pub persist: bool,
}

/// The argument of `backend weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// This one.
    This(u16),
    /// What the configuration says.
    Configured,
}

/// Why a [`Weight`] cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("write 1 to 1000, or `configured`")]
pub struct WeightError;

impl FromStr for Weight {
    type Err = WeightError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("configured", _) => Ok(Weight::Configured),
            (_, Ok(weight @ 1..=1000)) => Ok(Weight::This(weight)),
            _ => Err(WeightError),
        }
    }
}
