//! A BGP peer's state machine through what arbitrary bytes choose.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| anylb::fuzz::bgp_machine(data));
