//! The kernel's tick, which is the only clock of the programs.

use nix::time::{ClockId, clock_getres};

/// Jiffies per second: the coarse clocks tick by the jiffy.
pub fn per_second() -> u32 {
    const NS_PER_SEC: i64 = 1_000_000_000;
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE);
    let tick_ns = tick.map_or(0, |tick| tick.tv_sec() * NS_PER_SEC + tick.tv_nsec());
    match tick_ns {
        1.. => u32::try_from((NS_PER_SEC + tick_ns / 2) / tick_ns).unwrap_or(1),
        _ => 100,
    }
}
