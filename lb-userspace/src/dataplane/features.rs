//! What of BPF this kernel can do for anylb, asked by trying it: nothing is attached, and nothing stays.

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported};

/// One thing that the programs need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// In words.
    pub name: &'static str,
    /// Whether the kernel has it; none where it could not be asked.
    pub supported: Option<bool>,
}

/// Everything that the programs of this role need. Must be asked with the privileges of the agent.
pub fn features(backend: bool) -> Vec<Feature> {
    let program = |name, kind| Feature {
        name,
        supported: is_program_supported(kind).ok(),
    };
    let map = |name, kind| Feature {
        name,
        supported: is_map_supported(kind).ok(),
    };
    let helper = |name, helper| Feature {
        name,
        supported: is_helper_supported(ProgramType::Xdp, helper).ok(),
    };
    let mut all = vec![
        program("XDP programs", ProgramType::Xdp),
        helper("bpf_xdp_adjust_head", BpfHelper::BPF_FUNC_xdp_adjust_head),
        map("per-CPU arrays", MapType::PerCpuArray),
    ];
    if backend {
        all.push(program("TC programs", ProgramType::SchedClassifier));
        all.push(helper(
            "bpf_skc_lookup_tcp",
            BpfHelper::BPF_FUNC_skc_lookup_tcp,
        ));
        all.push(map("ring buffers", MapType::RingBuf));
    } else {
        all.push(map("arrays of maps", MapType::ArrayOfMaps));
    }
    all
}
