//! Counters that only this CPU writes.

/// Changes a value of a per-CPU map, where the index is inside the map.
///
/// The pointer comes from a per-CPU array: valid while the program runs, and no other CPU or program writes it meanwhile
/// (programs of packets do not preempt each other).
#[inline(always)]
pub fn bump<T>(value: Option<*mut T>, change: impl FnOnce(&mut T)) {
    if let Some(value) = value {
        // SAFETY: a per-CPU array's lookup returned it, see above.
        change(unsafe { &mut *value });
    }
}
