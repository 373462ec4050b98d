//! The programs of `anylb bench` in the kernel: packets out of an interface, and those that come back counted.
//!
//! Nothing is pinned: programs, maps and links end with the value, and with the process however that ends.

use std::io::ErrorKind;

use aya::maps::{Array, MapData};
use aya::programs::{ProgramError, RawTracePoint, TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use lb_common::generator::{Order, Returned, Turn};
use nix::time::{ClockId, clock_gettime};

use super::alarm::Alarm;
use super::counters::{Cell, possible_cpus, set};
use super::link::{Hook, Link};
use super::{DataplaneError, PerCpu, maps, objects};

/// Pages that the kernel runs the program on before it hands them to the driver and looks at anything else (its own default).
const BATCH: u32 = 64;
/// Runs of the program in one system call: minutes. Its end waits for RCU, some tens of milliseconds in which nothing is sent, so
/// that one call is to last for a whole trial, and a signal ends it.
const RUNS: u32 = u32::MAX - BATCH;

// SAFETY: plain integers without padding (zerocopy's `IntoBytes` proves it in lb-common).
unsafe impl Pod for Cell<Order> {}
// SAFETY: as above.
unsafe impl Pod for Cell<Turn> {}
// SAFETY: as above.
unsafe impl Pod for Cell<Returned> {}

/// The loaded generator on its interface.
pub struct Generator {
    object: Ebpf,
    order: Array<MapData, Cell<Order>>,
    turns: PerCpu<Cell<Turn>>,
    returned: PerCpu<Cell<Returned>>,
    link: Link,
    hears: bool,
}

/// Sums over CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets made.
    pub made: u64,
    /// Of these the driver took so many; none where the kernel does not tell.
    pub taken: Option<u64>,
    /// Packets that came back.
    pub returned: u64,
    /// Their bytes, from the Ethernet header on.
    pub returned_bytes: u64,
}

impl Generator {
    /// Loads the programs and hangs the one that counts on `interface`, in the driver: many drivers send frames of programs only
    /// while they have one themselves.
    pub fn attach(interface: &str) -> Result<Self, DataplaneError> {
        let mut object = EbpfLoader::new()
            .load(objects::GENERATOR)
            .map_err(DataplaneError::object)?;
        for name in ["generate", "count"] {
            let program: &mut Xdp = object
                .program_mut(name)
                .and_then(|program| program.try_into().ok())
                .ok_or(super::NO_PROGRAM)?;
            program.load().map_err(DataplaneError::load)?;
        }
        let program = super::program_of(&object, "count")?.fd();
        let program = program.map_err(DataplaneError::load)?;
        let link = Link::unpinned(Hook::Native, interface, std::os::fd::AsFd::as_fd(program))?;
        Ok(Self {
            order: maps::of(&mut object, "ORDER")?,
            turns: maps::of(&mut object, "TURNS")?,
            returned: maps::of(&mut object, "RETURNED")?,
            hears: hear(&mut object).is_ok(),
            object,
            link,
        })
    }

    /// Makes `order` the one in force, with every count at zero. `cpus`: those that will send, in the order of their turns. No
    /// CPU may be sending.
    pub fn begin(&mut self, order: &Order, cpus: &[usize]) -> Result<(), DataplaneError> {
        // First, so that what still comes of the order before is not counted as this one's.
        self.order
            .set(0, Cell(*order), 0)
            .map_err(DataplaneError::map("ORDER"))?;
        let mut turns = vec![Cell(Turn::default()); possible_cpus()?];
        for (number, cpu) in (0_u32..).zip(cpus) {
            let turn = turns.get_mut(*cpu).ok_or(NO_CPU)?;
            turn.0 = Turn {
                flow: number % order.flows,
                // One after the other, not all at once.
                due_ps: order.gap_ps * u64::from(number) / cpus.len() as u64,
                ..Turn::default()
            };
        }
        set(&mut self.turns, 0, turns, "TURNS")?;
        let zeroes = vec![Cell(Returned::default()); possible_cpus()?];
        set(&mut self.returned, 0, zeroes, "RETURNED")
    }

    /// Sends `frame` from this thread, which is on one CPU alone, until `ends_ns` on the clock of [`now_ns`].
    pub fn send(&self, frame: &[u8], ends_ns: u64) -> Result<(), DataplaneError> {
        let _alarm = Alarm::at(ends_ns).map_err(DataplaneError::Alarm)?;
        while now_ns() < ends_ns {
            match self.run(frame, RUNS) {
                Err(ProgramError::SyscallError(error))
                    if error.io_error.kind() == ErrorKind::Interrupted => {}
                outcome => outcome.map_err(test_run)?,
            }
        }
        Ok(())
    }

    /// Runs the program once as [`Generator::send`] does. Without an order nothing is sent.
    pub fn try_out(&self, frame: &[u8]) -> Result<(), DataplaneError> {
        self.run(frame, 1).map_err(test_run)
    }

    fn run(&self, frame: &[u8], runs: u32) -> Result<(), ProgramError> {
        let context = context(frame.len(), self.link.ifindex());
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat: runs,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        let program: &Xdp = self
            .object
            .program("generate")
            .ok_or(ProgramError::NotLoaded)?
            .try_into()?;
        program.test_run(options).map(drop)
    }

    /// What has been counted since the last [`Generator::begin`].
    pub fn counts(&self) -> Result<Counts, DataplaneError> {
        let turns = self
            .turns
            .get(&0, 0)
            .map_err(DataplaneError::map("TURNS"))?;
        let returned = self
            .returned
            .get(&0, 0)
            .map_err(DataplaneError::map("RETURNED"))?;
        let taken = turns.iter().map(|Cell(turn)| turn.taken).sum();
        Ok(Counts {
            made: turns.iter().map(|Cell(turn)| turn.made).sum(),
            taken: self.hears.then_some(taken),
            returned: returned.iter().map(|Cell(count)| count.packets).sum(),
            returned_bytes: returned.iter().map(|Cell(count)| count.bytes).sum(),
        })
    }
}

fn test_run(error: ProgramError) -> DataplaneError {
    DataplaneError::TestRun(Box::new(error))
}

const NO_CPU: DataplaneError = DataplaneError::Object("a CPU has no place in a per-CPU map");

/// The clock of the programs (CLOCK_MONOTONIC).
pub fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(u64::MAX, |time| {
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    })
}

/// Hears what the driver takes, where the kernel has raw tracepoints (CONFIG_BPF_EVENTS).
fn hear(object: &mut Ebpf) -> Result<(), DataplaneError> {
    let program: &mut RawTracePoint = object
        .program_mut("taken")
        .and_then(|program| program.try_into().ok())
        .ok_or(super::NO_PROGRAM)?;
    program.load().map_err(DataplaneError::load)?;
    let attached = program.attach("xdp_devmap_xmit");
    attached.map(drop).map_err(DataplaneError::load)
}

/// `struct xdp_md` of a packet that came in by this interface: data 0, data_end, data_meta 0, interface, queue 0, no egress.
fn context(length: usize, ifindex: u32) -> [u8; 24] {
    let mut context = [0; 24];
    context[4..8].copy_from_slice(&(length as u32).to_ne_bytes());
    context[12..16].copy_from_slice(&ifindex.to_ne_bytes());
    context
}
