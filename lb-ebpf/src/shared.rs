//! Words that all CPUs write.

/// Adds to a word that other CPUs add to as well; the compiler has no such addition for this target.
///
/// # Safety
///
/// `word` is a word of a map.
#[inline(always)]
pub unsafe fn atomic_add(word: *mut u64, number: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) word, in(reg) number, options(nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    let _ = (word, number);
}
