//! The LB node's decision on arbitrary bytes.

#![no_main]

use std::cell::RefCell;

use lb_oracle::fuzz::Bench;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new());
}

fuzz_target!(|data: &[u8]| BENCH.with_borrow_mut(|bench| bench.node(data)));
