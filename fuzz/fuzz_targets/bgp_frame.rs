//! A stream of BGP messages of arbitrary bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| anylb::fuzz::bgp_frame(data));
