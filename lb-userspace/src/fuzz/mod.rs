//! What a fuzzer's bytes are tried with; any broken promise is a panic.
//!
//! Of this library when it is tested, or built with the feature `fuzz`: for the targets in `fuzz/` of the same names.

#![forbid(unsafe_code)]

mod bfd;
mod bgp;
#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
mod netgauze_tests;
mod update;

pub use bfd::{bfd_machine, bfd_packet};
pub use bgp::{bgp_codec, bgp_frame, bgp_machine};
