//! A BFD packet of arbitrary bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| anylb::fuzz::bfd_packet(data));
