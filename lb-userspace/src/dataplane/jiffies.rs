//! The kernel's tick, which is the only clock of the programs.

use nix::time::{ClockId, clock_getres, clock_gettime};

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

/// Jiffies as the programs read them, give or take some that passed before the clock ran. Linux begins to count five minutes before its 32
/// bits are full.
pub fn now() -> u64 {
    const BEFORE_BOOT_SECS: u64 = 300;
    const FULL: u64 = 1 << 32;
    let rate = u64::from(per_second());
    let clock = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE);
    let since_boot = clock.map_or(0, |time| {
        let (secs, ns) = (time.tv_sec() as u64, time.tv_nsec() as u64);
        secs * rate + ns * rate / 1_000_000_000
    });
    FULL - BEFORE_BOOT_SECS * rate + since_boot
}
