//! The objects of lb-ebpf, built by the build script.

use std::borrow::Cow;
use std::sync::LazyLock;

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};

/// The LB node's.
pub static LB: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb.o"));
/// The backend's.
pub static BACKEND: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/backend.o"));
/// That of `anylb bench`.
pub static GENERATOR: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/generator.o"));

/// Whether this kernel lets XDP programs take packets in several buffers (Linux 5.18): the value of the programs' `FRAGS`.
pub static FRAGS: LazyLock<u32> = LazyLock::new(|| {
    let helper = BpfHelper::BPF_FUNC_xdp_get_buff_len;
    u32::from(is_helper_supported(ProgramType::Xdp, helper).unwrap_or(false))
});

/// An object as this kernel takes it: an older one knows no section `xdp.frags`, and gets programs for packets in one buffer.
pub fn loadable(object: &'static [u8]) -> Cow<'static, [u8]> {
    if *FRAGS != 0 {
        return Cow::Borrowed(object);
    }
    Cow::Owned(in_one_buffer(object))
}

fn in_one_buffer(object: &[u8]) -> Vec<u8> {
    const SECTION: &[u8] = b"xdp.frags\0";
    let mut object = object.to_vec();
    let names = object.windows(SECTION.len()).enumerate();
    let names: Vec<_> = names
        .filter(|(_, bytes)| *bytes == SECTION)
        .map(|(at, _)| at)
        .collect();
    // The name of a section's relocations ends with it, and shares its bytes.
    for at in names {
        object[at + "xdp".len()] = 0;
    }
    object
}

#[cfg(test)]
mod tests {
    use aya_obj::{Object, ProgramSection};

    use super::*;

    fn sections(object: &[u8]) -> Vec<(String, bool)> {
        let object = Object::parse(object).expect("an object of ours");
        let mut all: Vec<_> = object
            .programs
            .iter()
            .filter_map(|(name, program)| match program.section {
                ProgramSection::Xdp { frags, .. } => Some((name.clone(), frags)),
                _ => None,
            })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn older_kernels_get_the_same_programs_for_one_buffer() {
        for object in [LB, BACKEND] {
            let new = sections(object);
            assert!(new.iter().any(|(_, frags)| *frags), "{new:?}");
            let old = sections(&in_one_buffer(object));
            let expected: Vec<_> = new.into_iter().map(|(name, _)| (name, false)).collect();
            assert_eq!(old, expected);
        }
    }
}
