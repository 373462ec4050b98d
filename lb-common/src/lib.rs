//! What the datapath and the agent of anylb agree on.
//!
//! | module | holds |
//! |---|---|
//! | [`wire`] | headers as they lie in a packet |
//! | [`tunnel`] | tunnel header v1: GUE with every hop of the row |
//! | [`flow`] | flow hash v1 and its key schedule |
//! | [`abi`] | values of the BPF maps, limits, ABI version |
//! | [`exit`] | how packets leave a program |
//! | [`packet`] | how decision code reads and grows a packet |
//! | [`lb`] | the LB node's decision |
//!
//! The decision code is generic over "read the packet" and "look up the tables": the kernel program, the host's tests and
//! `anylb explain` run the same lines. No allocation, no clock, no unsafe.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod abi;
pub mod exit;
pub mod flow;
pub mod lb;
pub mod packet;
pub mod siphash;
pub mod tunnel;
pub mod wire;
