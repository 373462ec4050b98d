//! What a packet costs: XDP programs measured with BPF_PROG_TEST_RUN on one CPU.
//!
//! | file | holds |
//! |---|---|
//! | [`insn`] | a small BPF assembler |
//! | [`bpf`] | the system call |
//! | [`wrapper`] | the measuring method |
//! | [`cpu`] | one CPU for the benchmark alone |
//! | [`series`] | many cases in one run |
//! | [`mod@reference`] | the unit of cost |
//! | [`node`] | cases of the LB node |
//! | [`backend`] | cases of the backend |
//! | [`against`] | another program, with the packets of our cases |
//! | [`live`] | frames that really leave |
//! | [`family`] | addresses of the cases |
//! | [`sandbox`] | namespaces of our own |
//! | [`limits`] | what a packet may cost |
//! | [`report`] | figures as JSON and as tables |

pub mod against;
pub mod backend;
pub mod bpf;
pub mod cpu;
pub mod family;
pub mod insn;
pub mod limits;
pub mod live;
pub mod node;
pub mod reference;
pub mod report;
pub mod sandbox;
pub mod series;
pub mod wrapper;
