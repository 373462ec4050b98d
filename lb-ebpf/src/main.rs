//! The XDP and TC programs of anylb.
//!
//! On the host this is an empty `main`, so that the workspace's checks cover the crate.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

/// Leaves every packet to the kernel.
#[xdp]
fn lb(_context: XdpContext) -> u32 {
    XDP_PASS
}

/// The verifier refuses the endless loop: a panic that could be reached does not load.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
