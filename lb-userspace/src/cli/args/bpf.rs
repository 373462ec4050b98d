//! `anylb bpf`.

use clap::Subcommand;

/// `bpf`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum BpfCommand {
    /// List the maps, with the memory that the kernel has given them
    Maps,
    /// List the programs, with runs and time where the kernel counts them
    Progs,
    /// Read the maps and compare them with what the agent wants in them
    ///
    /// An LB node also runs the loaded program on a packet for every port of every service. Nothing is written. Exits 10 where
    /// anything differs, and 6 before anything was applied.
    Verify,
}
