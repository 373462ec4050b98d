//! A BPF assembler for the few instructions that the wrapper needs.
//!
//! Instruction encoding and calling convention: RFC 9669. R1 is the first argument and, at the start, the context; calls
//! overwrite R0 to R5.

use std::os::fd::{AsRawFd, BorrowedFd};

use zerocopy::{Immutable, IntoBytes};

/// One instruction, as the kernel takes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
pub struct Insn {
    code: u8,
    /// Destination in the low four bits, source in the high four.
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Insn {
    /// From its parts.
    pub fn new(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Self {
        Self {
            code,
            registers: to | from << 4,
            offset,
            immediate,
        }
    }
}

/// A register; R10 is the read-only frame pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "numbers")]
pub enum Reg {
    R0 = 0,
    R1 = 1,
    R2 = 2,
    R3 = 3,
    R6 = 6,
    R7 = 7,
    R8 = 8,
    R9 = 9,
    R10 = 10,
}

/// Width of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Width {
    /// Four bytes.
    Word = 0x00,
    /// Eight bytes.
    Double = 0x18,
}

/// Functions of the kernel, by their number in `enum bpf_func_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Helper {
    /// `bpf_map_lookup_elem(map, key)`.
    MapLookup = 1,
    /// `bpf_tail_call(context, program array, index)`.
    TailCall = 12,
    /// `bpf_xdp_adjust_head(context, delta)`.
    AdjustHead = 44,
}

/// A jump to the common failure exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Jump {
    /// `if left == right`.
    Equal = 0x10,
    /// `if left > right`, unsigned.
    Greater = 0x20,
    /// `if left != right`.
    NotEqual = 0x50,
}

const LOAD_IMMEDIATE_64: u8 = 0x18;
const LOAD: u8 = 0x61;
const STORE_IMMEDIATE: u8 = 0x62;
const STORE: u8 = 0x63;
const ATOMIC_ADD_64: u8 = 0xdb;
const ALU64_ADD_IMMEDIATE: u8 = 0x07;
const ALU64_SUB: u8 = 0x1f;
const ALU64_MOV_IMMEDIATE: u8 = 0xb7;
const ALU64_MOV: u8 = 0xbf;
const ALU32_MUL_IMMEDIATE: u8 = 0x24;
const ALU32_AND_IMMEDIATE: u8 = 0x54;
const ALU32_OR_IMMEDIATE: u8 = 0x44;
const ALU32_SHIFT_LEFT_IMMEDIATE: u8 = 0x64;
const JUMP: u8 = 0x05;
const JUMP_OVER_REGISTER: u8 = 0x08;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// Source register of a 64-bit load that names a map.
const MAP_FD: u8 = 1;
/// Source register of a 64-bit load that names the value of an array's first entry.
const MAP_VALUE: u8 = 2;

/// A forward jump whose target is not known yet.
#[must_use]
pub struct Label(usize);

/// A program under construction.
#[derive(Debug, Default)]
pub struct Assembler {
    insns: Vec<Insn>,
}

impl Assembler {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// The instructions.
    pub fn finish(self) -> Vec<Insn> {
        self.insns
    }

    /// `to = from`.
    pub fn mov(&mut self, to: Reg, from: Reg) -> &mut Self {
        self.emit(ALU64_MOV, to as u8, from as u8, 0, 0)
    }

    /// `to = value`, sign-extended.
    pub fn set(&mut self, to: Reg, value: i32) -> &mut Self {
        self.emit(ALU64_MOV_IMMEDIATE, to as u8, 0, 0, value)
    }

    /// `to = value`, all 64 bits.
    pub fn set64(&mut self, to: Reg, value: u64) -> &mut Self {
        self.load_immediate_64(to, 0, value as u32 as i32, (value >> 32) as u32 as i32)
    }

    /// `to = map`, as an argument of a call.
    pub fn map(&mut self, to: Reg, map: BorrowedFd<'_>) -> &mut Self {
        self.load_immediate_64(to, MAP_FD, map.as_raw_fd(), 0)
    }

    /// `to = address of the first value of an array`.
    pub fn map_value(&mut self, to: Reg, array: BorrowedFd<'_>) -> &mut Self {
        self.load_immediate_64(to, MAP_VALUE, array.as_raw_fd(), 0)
    }

    /// `to += value`.
    pub fn add(&mut self, to: Reg, value: i32) -> &mut Self {
        self.emit(ALU64_ADD_IMMEDIATE, to as u8, 0, 0, value)
    }

    /// `to -= what`.
    pub fn sub(&mut self, to: Reg, what: Reg) -> &mut Self {
        self.emit(ALU64_SUB, to as u8, what as u8, 0, 0)
    }

    /// `to = ((to * factor) & mask) << shift | low`, in 32 bits.
    pub fn scatter(&mut self, to: Reg, factor: u32, mask: u32, shift: i32, low: u8) -> &mut Self {
        self.emit(ALU32_MUL_IMMEDIATE, to as u8, 0, 0, factor as i32)
            .emit(ALU32_AND_IMMEDIATE, to as u8, 0, 0, mask as i32)
            .emit(ALU32_SHIFT_LEFT_IMMEDIATE, to as u8, 0, 0, shift)
            .emit(ALU32_OR_IMMEDIATE, to as u8, 0, 0, i32::from(low))
    }

    /// `to = *(from + offset)`.
    pub fn load(&mut self, width: Width, to: Reg, from: Reg, offset: i16) -> &mut Self {
        self.emit(LOAD | width as u8, to as u8, from as u8, offset, 0)
    }

    /// `*(to + offset) = what`.
    pub fn store(&mut self, width: Width, to: Reg, offset: i16, what: Reg) -> &mut Self {
        self.emit(STORE | width as u8, to as u8, what as u8, offset, 0)
    }

    /// `*(to + offset) = value`, four bytes.
    pub fn store_word(&mut self, to: Reg, offset: i16, value: u32) -> &mut Self {
        self.emit(STORE_IMMEDIATE, to as u8, 0, offset, value as i32)
    }

    /// `*(to + offset) += what` as one atomic step, eight bytes.
    pub fn atomic_add(&mut self, to: Reg, offset: i16, what: Reg) -> &mut Self {
        self.emit(ATOMIC_ADD_64, to as u8, what as u8, offset, 0)
    }

    /// Calls the kernel.
    pub fn call(&mut self, helper: Helper) -> &mut Self {
        self.emit(CALL, 0, 0, 0, helper as i32)
    }

    /// Returns R0.
    pub fn exit(&mut self) -> &mut Self {
        self.emit(EXIT, 0, 0, 0, 0)
    }

    /// A conditional jump against a constant.
    pub fn jump(&mut self, when: Jump, left: Reg, right: i32) -> Label {
        self.emit(JUMP | when as u8, left as u8, 0, 0, right);
        Label(self.insns.len())
    }

    /// A conditional jump against a register.
    pub fn jump_register(&mut self, when: Jump, left: Reg, right: Reg) -> Label {
        let code = JUMP | JUMP_OVER_REGISTER | when as u8;
        self.emit(code, left as u8, right as u8, 0, 0);
        Label(self.insns.len())
    }

    /// The jump leads here.
    pub fn land(&mut self, label: Label) -> &mut Self {
        let distance = self.insns.len() - label.0;
        self.insns[label.0 - 1].offset = i16::try_from(distance).expect("wrappers are short");
        self
    }

    fn load_immediate_64(&mut self, to: Reg, kind: u8, low: i32, high: i32) -> &mut Self {
        self.emit(LOAD_IMMEDIATE_64, to as u8, kind, 0, low)
            .emit(0, 0, 0, 0, high)
    }

    fn emit(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> &mut Self {
        self.insns
            .push(Insn::new(code, to, from, offset, immediate));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_of_rfc_9669() {
        let mut program = Assembler::new();
        program
            .mov(Reg::R6, Reg::R1)
            .load(Width::Word, Reg::R7, Reg::R6, 4);
        program
            .set64(Reg::R2, 0x1122_3344_5566_7788)
            .store(Width::Double, Reg::R7, 8, Reg::R2);
        let skip = program.jump(Jump::NotEqual, Reg::R0, -1);
        program.call(Helper::TailCall).land(skip).exit();
        let expected: [[u8; 8]; 8] = [
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0x61, 0x67, 4, 0, 0, 0, 0, 0],
            [0x18, 0x02, 0, 0, 0x88, 0x77, 0x66, 0x55],
            [0, 0, 0, 0, 0x44, 0x33, 0x22, 0x11],
            [0x7b, 0x27, 8, 0, 0, 0, 0, 0],
            [0x55, 0x00, 1, 0, 0xff, 0xff, 0xff, 0xff],
            [0x85, 0, 0, 0, 12, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(program.finish().as_bytes(), expected.as_flattened());
    }
}
