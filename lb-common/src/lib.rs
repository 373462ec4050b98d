//! What the datapath and the agent of anylb agree on.
//!
//! | module | holds |
//! |---|---|
//! | [`wire`] | headers as they lie in a packet |
//! | [`tunnel`] | tunnel header v1: GUE with every hop of the row |
//! | [`flow`] | flow hash v1 and its key schedule |
//! | [`abi`] | values of the BPF maps, limits, ABI version |
//! | [`layout`] | what the bytes in pinned maps mean, as a number |
//! | [`exit`] | how packets leave a program |
//! | [`filter`] | verdicts about source addresses |
//! | [`packet`] | how decision code reads and grows a packet |
//! | [`frame`] | a packet in a buffer, for tests and the simulator |
//! | [`lb`] | the LB node's decision |
//! | [`backend`] | the backend's decision: accept or pass on |
//! | [`backend_abi`] | values of the backend's BPF maps |
//! | [`budget`] | a token bucket per CPU |
//! | [`flow_table`] | which backend a flow has, remembered per CPU |
//! | [`prefix`] | VIPs that are prefixes |
//! | [`rate`] | a token bucket that all CPUs share |
//! | [`sources`] | which sources no client has |
//! | [`generator`] | the load of `anylb bench` |
//! | [`mss`] | lowering the MSS in SYN-ACKs |
//! | [`quote`] | what an ICMP error quotes |
//! | [`ipv6`] | the walk over IPv6 extension headers |
//!
//! The decision code is generic over "read the packet" and "look up the tables": the kernel program, the host's tests and
//! `anylb explain` run the same lines. No allocation, no clock, no unsafe.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod abi;
pub mod backend;
pub mod backend_abi;
pub mod budget;
pub mod exit;
pub mod filter;
pub mod flow;
pub mod flow_table;
pub mod frame;
pub mod generator;
pub mod ipv6;
pub mod layout;
pub mod lb;
pub mod mss;
pub mod packet;
pub mod prefix;
pub mod quote;
pub mod rate;
pub mod siphash;
pub mod sources;
pub mod tunnel;
pub mod wire;
