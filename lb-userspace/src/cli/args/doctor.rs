//! `anylb doctor`.

use std::path::PathBuf;

use clap::Args;

use super::CONFIG;

/// `doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// The interface that carries, or would carry, the traffic of VIPs; without it, those of the file
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// The configuration file, for backends and peers
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}
