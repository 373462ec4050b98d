//! What is told about maps and programs in the kernel.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// `anylb bpf maps`, `anylb bpf progs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BpfState {
    /// In the order in which a packet meets them, tables last.
    pub maps: Vec<BpfMap>,
    /// What is loaded.
    pub programs: Vec<BpfProgram>,
    /// `kernel.bpf_stats_enabled`: the kernel counts runs of programs, which costs a little for each.
    pub stats_enabled: bool,
}

/// One map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BpfMap {
    /// `BANKS`, `table 3`.
    pub name: String,
    /// `array`, `percpu_array`, ...
    pub kind: String,
    /// Number in the kernel.
    pub id: u32,
    /// Entries there is room for.
    pub entries: u32,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Bytes of a value; on one CPU where each has its own.
    pub value_bytes: u32,
    /// What the kernel has allocated for it; none where it does not say.
    pub memory_bytes: Option<u64>,
}

/// One program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BpfProgram {
    /// Its function.
    pub name: String,
    /// `xdp`, `tc`.
    pub kind: String,
    /// Number in the kernel.
    pub id: u32,
    /// Digest of its instructions, in hexadecimal: equal where they are.
    pub tag: String,
    /// Seconds since the epoch when it was loaded.
    pub loaded_time_secs: Option<u64>,
    /// Bytes of machine code.
    pub code_bytes: u32,
    /// Runs that were counted; none while the kernel does not count.
    pub runs: Option<u64>,
    /// How long they took, nanoseconds.
    pub run_time_ns: Option<u64>,
}

/// `anylb bpf verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// VIPs and own addresses, services by port, backends and tables that were compared.
    pub compared: Compared,
    /// What is not as it should be; empty when all is well.
    pub differences: Vec<KernelDifference>,
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Addresses: VIPs, nodes, backends.
    pub addresses: usize,
    /// Services, port by port.
    pub services: usize,
    /// Backends, pool by pool.
    pub backends: usize,
    /// Tables of rows.
    pub tables: usize,
    /// Self-probes of the loaded program, one for every port of every service.
    pub probes: usize,
}

/// Something in the kernel that is not as the agent wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelDifference {
    /// What is looked at.
    pub subject: String,
    /// What is wrong with it.
    pub difference: String,
}
