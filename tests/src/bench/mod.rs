//! What a packet costs: XDP programs measured with BPF_PROG_TEST_RUN on one CPU.
//!
//! | file | holds |
//! |---|---|
//! | [`insn`] | a small BPF assembler |
//! | [`bpf`] | the system call |
//! | [`wrapper`] | the measuring method |

pub mod bpf;
pub mod insn;
pub mod wrapper;
