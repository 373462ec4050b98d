//! What programs are given beside the packet and their maps.

use aya_ebpf::helpers::bpf_jiffies64;

/// The kernel's jiffies.
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: takes nothing, reads a counter.
    unsafe { bpf_jiffies64() }
}

/// A value that the agent sets before the program is loaded: the compiler must not know it.
#[inline(always)]
pub fn setting(value: &'static u32) -> u32 {
    // SAFETY: a reference is valid.
    unsafe { core::ptr::read_volatile(value) }
}
