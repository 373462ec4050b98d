//! A BGP message of arbitrary bytes, and one that they choose.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| anylb::fuzz::bgp_codec(data));
