//! The backend: maps and programs.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

use lb_ebpf as _;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
