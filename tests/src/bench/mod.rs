//! What a packet costs: XDP programs measured with BPF_PROG_TEST_RUN on one CPU.
//!
//! | file | holds |
//! |---|---|
//! | [`insn`] | a small BPF assembler |
//! | [`bpf`] | the system call |
//! | [`wrapper`] | the measuring method |
//! | [`series`] | many cases in one run |
//! | [`reference`] | the unit of cost |
//! | [`limits`] | what a packet may cost |
//! | [`report`] | figures as JSON and as tables |

pub mod bpf;
pub mod insn;
pub mod limits;
pub mod reference;
pub mod report;
pub mod series;
pub mod wrapper;
