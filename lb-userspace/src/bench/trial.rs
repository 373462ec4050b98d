//! One rate for a while, on every CPU.

use std::time::Duration;

use lb_common::generator::Order;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use super::frame;
use super::refusal::Failure;
use super::site::Site;
use crate::dataplane::DataplaneError;
use crate::dataplane::generator::{Counts, Generator, now_ns};

/// From the order to the first packet: time for every thread to be on its CPU.
const LEAD_NS: u64 = 100_000_000;
/// What is under way after the last packet is waited for so long at most (RFC 2544 section 23).
const SETTLE_TIME: Duration = Duration::from_secs(2);
/// Nothing has come for so long: nothing more will.
const QUIET: Duration = Duration::from_millis(300);
const STEP: Duration = Duration::from_millis(10);
const PS_PER_SEC: u64 = 1_000_000_000_000;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// With checksum.
    pub(super) frame_bytes: u32,
    /// Packets per second, of all CPUs together.
    pub(super) pps: u64,
    pub(super) seconds: u64,
    pub(super) flows: u32,
    pub(super) mark: u64,
}

/// Sends, and waits until what is to come back has.
pub(super) async fn trial(site: &mut Site, load: Load) -> Result<Counts, Failure> {
    let count = site.cpus.len() as u64;
    let mut order = Order {
        gap_ps: (PS_PER_SEC / load.pps).max(1) * count,
        mark: load.mark,
        flows: load.flows,
        stride: (count % u64::from(load.flows)) as u32,
        ..Order::default()
    };
    let frame = frame::compose(&mut order, &site.ends, load.frame_bytes);
    order.starts_ns = now_ns() + LEAD_NS;
    order.ends_ns = order.starts_ns + load.seconds * 1_000_000_000;
    site.generator.begin(&order, &site.cpus)?;
    send(site, &frame, order.ends_ns)?;
    Ok(settled(&site.generator).await?)
}

/// On every CPU at once. Returns when the time is over.
fn send(site: &Site, frame: &[u8], ends_ns: u64) -> Result<(), Failure> {
    let generator = &site.generator;
    std::thread::scope(|scope| {
        let spawn = |cpu: &usize| {
            let cpu = *cpu;
            scope.spawn(move || {
                pin(cpu)?;
                Ok(generator.send(frame, ends_ns)?)
            })
        };
        let threads: Vec<_> = site.cpus.iter().map(spawn).collect();
        let ends = threads
            .into_iter()
            .map(|thread| thread.join().expect("sending does not panic"));
        ends.fold(Ok(()), Result::and)
    })
}

fn pin(cpu: usize) -> Result<(), Failure> {
    let mut only = CpuSet::new();
    let pinned = only
        .set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &only));
    pinned.map_err(|source| Failure::Cpu { cpu, source })
}

/// The counts once all has come back that was sent, or nothing more comes.
async fn settled(generator: &Generator) -> Result<Counts, DataplaneError> {
    let start = Instant::now();
    let (mut counts, mut last) = (generator.counts()?, start);
    let complete = |counts: &Counts| counts.returned >= counts.taken.unwrap_or(counts.made);
    while !complete(&counts) && last.elapsed() < QUIET && start.elapsed() < SETTLE_TIME {
        sleep(STEP).await;
        let now = generator.counts()?;
        if now.returned != counts.returned {
            last = Instant::now();
        }
        counts = now;
    }
    Ok(counts)
}
