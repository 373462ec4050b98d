//! Offsets of fields in the kernel's structures, from its type information (BTF, `Documentation/bpf/btf.rst`).
//!
//! ```text
//! header: magic u16 = 0xeb9f | version u8 | flags u8 | header length u32 | types: offset, length u32 | strings: offset, length u32
//! type:   name u32 | kind flag:1, -:2, kind:5, -:8, members:16 | size or type u32 | what the kind adds
//! member of a structure: name u32 | type u32 | offset in bits u32 (with the kind flag: in the lower 24)
//! ```

#![forbid(unsafe_code)]

use zerocopy::{FromBytes, Immutable, KnownLayout};

const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;

/// Where this kernel keeps what BPF helpers do not show. Zero: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `tcp_request_sock.snt_isn`.
    pub sent_isn: u32,
    /// `tcp_timewait_sock.tw_sk.tw_substate`.
    pub time_wait_substate: u32,
}

impl Offsets {
    /// Looks them up in the contents of `/sys/kernel/btf/vmlinux`; what is not there stays zero.
    pub fn find(btf: &[u8]) -> Self {
        let Some(types) = Types::new(btf) else {
            return Self::default();
        };
        let substate = types
            .offset("tcp_timewait_sock", "tw_sk")
            .zip(types.offset("inet_timewait_sock", "tw_substate"))
            .map(|(outer, inner)| outer + inner);
        Self {
            sent_isn: types.offset("tcp_request_sock", "snt_isn").unwrap_or(0),
            time_wait_substate: substate.unwrap_or(0),
        }
    }
}

#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: u16,
    version: u8,
    flags: u8,
    length: u32,
    types_offset: u32,
    types_length: u32,
    strings_offset: u32,
    strings_length: u32,
}

#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Type {
    name: u32,
    info: u32,
    size_or_type: u32,
}

#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Member {
    name: u32,
    member_type: u32,
    offset: u32,
}

struct Types<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Types<'a> {
    fn new(btf: &'a [u8]) -> Option<Self> {
        let (header, _) = Header::read_from_prefix(btf).ok()?;
        if header.magic != MAGIC {
            return None;
        }
        let body = btf.get(header.length as usize..)?;
        let part = |offset: u32, length: u32| {
            let start = offset as usize;
            body.get(start..start.checked_add(length as usize)?)
        };
        Some(Self {
            types: part(header.types_offset, header.types_length)?,
            strings: part(header.strings_offset, header.strings_length)?,
        })
    }

    /// Offset in bytes of a field that is no bit field.
    fn offset(&self, structure: &str, field: &str) -> Option<u32> {
        let mut rest = self.types;
        while let Ok((found, behind)) = Type::read_from_prefix(rest) {
            let (kind, members) = (found.info >> 24 & 0x1f, found.info & 0xffff);
            let length = extra(kind, members)?;
            if kind == STRUCT && self.is_named(found.name, structure) {
                return self.member(behind.get(..length)?, found.info >> 31 != 0, field);
            }
            rest = behind.get(length..)?;
        }
        None
    }

    fn member(&self, mut members: &[u8], with_sizes: bool, field: &str) -> Option<u32> {
        while let Ok((member, behind)) = Member::read_from_prefix(members) {
            if self.is_named(member.name, field) {
                let (size, bits) = if with_sizes {
                    (member.offset >> 24, member.offset & 0xff_ffff)
                } else {
                    (0, member.offset)
                };
                return (size == 0 && bits % 8 == 0).then_some(bits / 8);
            }
            members = behind;
        }
        None
    }

    fn is_named(&self, name: u32, expected: &str) -> bool {
        let found = self.strings.get(name as usize..);
        found.is_some_and(|found| {
            found.starts_with(expected.as_bytes()) && found.get(expected.len()) == Some(&0)
        })
    }
}

/// Bytes behind a type's first twelve; `None`: a kind that this code does not know.
fn extra(kind: u32, members: u32) -> Option<usize> {
    let members = members as usize;
    match kind {
        // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7..=12 | 16 | 18 => Some(0),
        // Integer, variable, declaration tag.
        1 | 14 | 17 => Some(4),
        // Array.
        3 => Some(12),
        // Structure, union, section, 64-bit enumeration.
        4 | 5 | 15 | 19 => Some(members * 12),
        // Enumeration, prototype.
        6 | 13 => Some(members * 8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header, one integer, and a structure `a` with the fields `b` (bit 0) and `c` (at `offset`).
    fn sample(kind_flag: u32, offset: u32) -> Vec<u8> {
        let strings = b"\0a\0b\0c\0";
        let types: &[u32] = &[
            0,
            1 << 24,
            4,
            32, // int
            1,
            kind_flag << 31 | STRUCT << 24 | 2,
            12, // struct a
            3,
            1,
            0, // b
            5,
            1,
            offset, // c
        ];
        let length = 4 * types.len() as u32;
        let mut btf = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, length, length, strings.len() as u32]
            .iter()
            .chain(types)
        {
            btf.extend_from_slice(&word.to_le_bytes());
        }
        btf.extend_from_slice(strings);
        btf
    }

    #[test]
    fn fields_by_name() {
        for (why, btf, expected) in [
            ("plain", sample(0, 64), Some(8)),
            ("with sizes", sample(1, 64), Some(8)),
            ("a bit field", sample(1, 3 << 24 | 64), None),
            ("between bytes", sample(0, 65), None),
        ] {
            let types = Types::new(&btf).unwrap();
            assert_eq!(types.offset("a", "c"), expected, "{why}");
            assert_eq!(types.offset("a", "d"), None, "{why}");
            assert_eq!(types.offset("ab", "c"), None, "{why}");
        }
    }

    #[test]
    fn damaged_input_is_nothing_known() {
        let whole = sample(0, 64);
        for end in 0..whole.len() {
            assert_eq!(Offsets::find(&whole[..end]), Offsets::default());
        }
    }

    #[test]
    fn the_running_kernel_tells() {
        let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            eprintln!("SKIPPED the_running_kernel_tells: this kernel has no BTF");
            return;
        };
        let offsets = Offsets::find(&btf);
        assert!(
            offsets.sent_isn != 0 && offsets.time_wait_substate != 0,
            "{offsets:?}"
        );
    }
}
