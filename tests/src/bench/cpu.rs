//! One CPU for the benchmark alone.

use std::io;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Keeps this thread on the last CPU it may use, since the first ones take most interrupts, and before all others there:
/// a compiler that ran in between would leave cold caches. Returns the CPU.
pub fn claim() -> Result<usize> {
    let cpu = stay()?;
    run_first().context("real-time scheduling")?;
    Ok(cpu)
}

/// Keeps this thread on the last CPU that it may use.
pub fn stay() -> Result<usize> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let is_allowed = |cpu: &usize| allowed.is_set(*cpu).unwrap_or(false);
    let last = (0..CpuSet::count())
        .rfind(is_allowed)
        .context("no CPU to run on")?;
    let mut only = CpuSet::new();
    only.set(last)?;
    sched_setaffinity(this, &only)?;
    Ok(last)
}

/// Lowest real-time priority: before everything that is not real-time.
fn run_first() -> io::Result<()> {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameters live through the call; zero names the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
