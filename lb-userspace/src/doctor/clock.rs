//! Whether something keeps the clock.

#![allow(unsafe_code, reason = "adjtimex has no safe wrapper here")]

/// Whether the kernel takes its clock for synchronized (`adjtimex(2)`, nothing is set); none where it does not say.
pub(super) fn synchronized() -> Option<bool> {
    // SAFETY: `timex` is plain data, for which zeroes are a value: no modes, so that it is only read.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer lives through the call.
    let state = unsafe { libc::adjtimex(&raw mut clock) };
    (state >= 0).then_some(state != libc::TIME_ERROR && clock.status & libc::STA_UNSYNC == 0)
}
