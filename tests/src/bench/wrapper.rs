//! What one run of an XDP program costs.
//!
//! BPF_PROG_TEST_RUN repeats a program on its own output, so one that encapsulates would see its own packet. A wrapper
//! undoes the change of length, stores the first bytes of the packet back, writes another source address where the case
//! asks for many flows, and tail-calls the program. Before the call an atomic addition empties the CPU's store buffer: a
//! packet comes from a cache, and a program that reads what was stored a moment ago in other words would wait for it. The
//! same wrapper runs around programs that only return:
//!
//! ```text
//! A  wrapper + program
//! B  wrapper + the program's adjust_head + return
//! C  wrapper + return
//! cost of the program = A - (B + C) / 2
//! ```
//!
//! Where its code happens to lie, a wrapper costs some nanoseconds more for as long as it lives. There are three of each, and
//! rounds take turns: one that lies badly changes no median.
//!
//! B - C is two adjustments, the null program's and the wrapper's undo; half of it is the undo. What the program's own
//! adjustment costs thus stays in its figure. Time is this thread's CPU time, not the kernel's count of whole
//! nanoseconds, and being scheduled out does not count.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_gettime};

use super::bpf::{self, Kind, MapType};
use super::insn::{Assembler, Helper, Insn, Jump, Reg, Width};

/// `data` and `data_end` in `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;
const XDP_ABORTED: i32 = 0;
/// Spreads a counter over the flows (Knuth's multiplier); odd, so that every power of two of flows is reached.
const SCATTER: u32 = 0x9e37_79b1;

/// A packet and how to restore it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// Bytes at the head that the program may change.
    pub restore: usize,
    /// Many flows.
    pub vary: Option<Vary>,
}

/// Four bytes of the packet that differ from run to run: the first stays, the last three count.
#[derive(Clone, Copy, Debug)]
pub struct Vary {
    /// Where they are.
    pub offset: usize,
    /// Different values; a power of two up to 2^24.
    pub flows: u32,
}

/// A program with its wrappers, ready to be measured.
#[derive(Debug)]
pub struct Probe {
    frame: Frame,
    verdict: u32,
    sets: [Set; SETS],
    rounds: Cell<usize>,
}

/// Odd, so that no half of the rounds meets the same one.
const SETS: usize = 3;

/// What one round takes.
#[derive(Debug)]
struct Set {
    program: Wrapped,
    adjusting: Wrapped,
    returning: Wrapped,
}

/// A wrapper and what it holds on to.
#[derive(Debug)]
pub struct Wrapped {
    wrapper: OwnedFd,
    _array: OwnedFd,
    _counter: OwnedFd,
    _null: Option<OwnedFd>,
}

impl Wrapped {
    /// A wrapper around a program.
    pub fn of_any_kind(program: BorrowedFd<'_>, frame: &Frame) -> Result<Self> {
        wrap_any(program, frame).map(|(_, wrapped)| wrapped)
    }

    /// The program to run.
    pub fn wrapper(&self) -> BorrowedFd<'_> {
        self.wrapper.as_fd()
    }
}

impl Probe {
    /// Runs the program once, to learn its verdict and how it changes the length, and makes the wrappers for it.
    pub fn new(program: BorrowedFd<'_>, frame: Frame) -> Result<Self> {
        let (verdict, out) = bpf::test_run(program, &frame.bytes, 1).context("a single run")?;
        let grown = out.len() as i32 - frame.bytes.len() as i32;
        let set = || Set::new(program, &frame, grown, verdict);
        Ok(Self {
            verdict,
            sets: [set()?, set()?, set()?],
            rounds: Cell::new(0),
            frame,
        })
    }

    /// The packet.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Verdict of a single run, an `XDP_` number.
    pub fn verdict(&self) -> u32 {
        self.verdict
    }

    /// One round: nanoseconds per packet, the mean of `repeat` runs.
    pub fn round(&self, repeat: u32) -> Result<f64> {
        let round = self.rounds.get();
        self.rounds.set(round + 1);
        let set = &self.sets[round % SETS];
        let program = self.run(&set.program, repeat)?;
        let adjusting = self.run(&set.adjusting, repeat)?;
        let returning = self.run(&set.returning, repeat)?;
        Ok(program - (adjusting + returning) / 2.0)
    }

    fn run(&self, wrapped: &Wrapped, repeat: u32) -> Result<f64> {
        let start = cpu_time()?;
        let (verdict, _) = bpf::test_run(wrapped.wrapper.as_fd(), &self.frame.bytes, repeat)?;
        let took = cpu_time()? - start;
        ensure!(
            verdict == self.verdict,
            "verdict {verdict} in the loop, {} alone: the wrapper does not restore the packet",
            self.verdict
        );
        Ok(took.as_nanos() as f64 / f64::from(repeat))
    }
}

impl Set {
    fn new(program: BorrowedFd<'_>, frame: &Frame, grown: i32, verdict: u32) -> Result<Self> {
        let (kind, wrapped) = wrap_any(program, frame)?;
        let null = |by| -> Result<Wrapped> {
            let null = bpf::load(&null(by, verdict as i32), kind).context("load a null program")?;
            let mut wrapped = wrap(null.as_fd(), frame, kind)?;
            wrapped._null = Some(null);
            Ok(wrapped)
        };
        Ok(Self {
            program: wrapped,
            adjusting: null(grown)?,
            returning: null(0)?,
        })
    }
}

/// CPU time of this thread.
pub(super) fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// A program array takes only programs of its own kind, and nothing tells the kind of a loaded one: try them all.
fn wrap_any(program: BorrowedFd<'_>, frame: &Frame) -> Result<(Kind, Wrapped)> {
    let mut last = None;
    for kind in Kind::ALL {
        match wrap(program, frame, kind) {
            Ok(wrapped) => return Ok((kind, wrapped)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("there is more than one kind"))
        .context("no kind of wrapper can tail-call the program")
}

fn wrap(program: BorrowedFd<'_>, frame: &Frame, kind: Kind) -> Result<Wrapped> {
    let array = bpf::map(MapType::ProgArray, 4, 4, 1).context("make a program array")?;
    let counter = bpf::map(MapType::Array, 4, 8, 1).context("make a counter")?;
    let insns = wrapper(frame, array.as_fd(), counter.as_fd());
    let wrapper = bpf::load(&insns, kind).context("load the wrapper")?;
    bpf::set_program(array.as_fd(), program).context("set the program to tail-call")?;
    Ok(Wrapped {
        wrapper,
        _array: array,
        _counter: counter,
        _null: None,
    })
}

/// Restores the packet and tail-calls slot 0 of `array`; aborts where it cannot.
fn wrapper(frame: &Frame, array: BorrowedFd<'_>, counter: BorrowedFd<'_>) -> Vec<Insn> {
    let mut program = Assembler::new();
    program.mov(Reg::R6, Reg::R1);
    let mut failures = vec![restore_length(&mut program, frame.bytes.len())];
    let restored = frame
        .restore
        .min(frame.bytes.len())
        .next_multiple_of(8)
        .min(frame.bytes.len() & !7);
    let touched = frame
        .vary
        .map_or(restored, |vary| restored.max(vary.offset + 4));
    if touched > 0 {
        program
            .load(Width::Word, Reg::R7, Reg::R6, DATA)
            .load(Width::Word, Reg::R8, Reg::R6, DATA_END)
            .mov(Reg::R1, Reg::R7)
            .add(Reg::R1, touched as i32);
        failures.push(program.jump_register(Jump::Greater, Reg::R1, Reg::R8));
    }
    for (number, bytes) in frame.bytes[..restored]
        .as_chunks::<8>()
        .0
        .iter()
        .enumerate()
    {
        program.set64(Reg::R2, u64::from_ne_bytes(*bytes));
        program.store(Width::Double, Reg::R7, 8 * number as i16, Reg::R2);
    }
    program.map_value(Reg::R1, counter);
    if let Some(vary) = frame.vary {
        vary_flow(&mut program, vary, frame.bytes[vary.offset]);
    }
    program.set(Reg::R3, 1).atomic_add(Reg::R1, 0, Reg::R3);
    program
        .mov(Reg::R1, Reg::R6)
        .map(Reg::R2, array)
        .set(Reg::R3, 0)
        .call(Helper::TailCall);
    for failure in failures {
        program.land(failure);
    }
    program.set(Reg::R0, XDP_ABORTED).exit();
    program.finish()
}

/// Moves the head so that the packet is `length` bytes long again. R6 is the context.
fn restore_length(program: &mut Assembler, length: usize) -> super::insn::Label {
    program
        .load(Width::Word, Reg::R7, Reg::R6, DATA)
        .load(Width::Word, Reg::R8, Reg::R6, DATA_END)
        .mov(Reg::R2, Reg::R8)
        .sub(Reg::R2, Reg::R7)
        .add(Reg::R2, -(length as i32));
    let unchanged = program.jump(Jump::Equal, Reg::R2, 0);
    program.mov(Reg::R1, Reg::R6).call(Helper::AdjustHead);
    let failed = program.jump(Jump::NotEqual, Reg::R0, 0);
    program.land(unchanged);
    failed
}

/// Derives the bytes from the number of the run. R1 is the address of the counter, R7 the head of the packet.
fn vary_flow(program: &mut Assembler, vary: Vary, first_byte: u8) {
    program
        .load(Width::Double, Reg::R2, Reg::R1, 0)
        .scatter(Reg::R2, SCATTER, vary.flows - 1, 8, first_byte)
        .store(Width::Word, Reg::R7, vary.offset as i16, Reg::R2);
}

/// Changes the head like the program, does nothing else and returns its verdict.
fn null(grown: i32, verdict: i32) -> Vec<Insn> {
    let mut program = Assembler::new();
    if grown != 0 {
        program.set(Reg::R2, -grown).call(Helper::AdjustHead);
    }
    program.set(Reg::R0, verdict).exit();
    program.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::privileged;

    const XDP_DROP: u32 = 1;
    const XDP_TX: u32 = 3;

    fn frame(vary: Option<Vary>) -> Frame {
        Frame {
            bytes: (0..60).collect(),
            restore: 32,
            vary,
        }
    }

    /// Encapsulates: pushes 16 bytes, overwrites eight of them and four of the old head; transmits only if the old head
    /// begins as in [`frame`].
    fn encapsulating() -> Result<OwnedFd> {
        let mut program = Assembler::new();
        program
            .mov(Reg::R6, Reg::R1)
            .set(Reg::R2, -16)
            .call(Helper::AdjustHead);
        program
            .load(Width::Word, Reg::R7, Reg::R6, DATA)
            .load(Width::Word, Reg::R8, Reg::R6, DATA_END)
            .mov(Reg::R1, Reg::R7)
            .add(Reg::R1, 32);
        let short = program.jump_register(Jump::Greater, Reg::R1, Reg::R8);
        program.load(Width::Word, Reg::R2, Reg::R7, 16);
        let changed = program.jump(Jump::NotEqual, Reg::R2, 0x0302_0100);
        program
            .set64(Reg::R2, u64::MAX)
            .store(Width::Double, Reg::R7, 0, Reg::R2);
        program
            .store_word(Reg::R7, 16, 0xffff_ffff)
            .set(Reg::R0, XDP_TX as i32)
            .exit();
        program
            .land(short)
            .land(changed)
            .set(Reg::R0, XDP_DROP as i32)
            .exit();
        Ok(bpf::load(&program.finish(), Kind::ALL[0])?)
    }

    #[test]
    fn every_run_sees_the_original_packet() -> Result<()> {
        if !privileged::available("every_run_sees_the_original_packet") {
            return Ok(());
        }
        let program = encapsulating()?;
        let probe = Probe::new(program.as_fd(), frame(None))?;
        assert_eq!(probe.verdict(), XDP_TX);
        let (verdict, out) = bpf::test_run(
            probe.sets[0].program.wrapper.as_fd(),
            &probe.frame.bytes,
            1000,
        )?;
        let (alone, expected) = bpf::test_run(program.as_fd(), &probe.frame.bytes, 1)?;
        assert_eq!((verdict, out), (alone, expected));
        probe.round(1000).map(drop)
    }

    #[test]
    fn a_packet_that_is_not_restored_is_noticed() -> Result<()> {
        if !privileged::available("a_packet_that_is_not_restored_is_noticed") {
            return Ok(());
        }
        let program = encapsulating()?;
        let forgetful = Frame {
            restore: 0,
            ..frame(None)
        };
        let error = Probe::new(program.as_fd(), forgetful)?
            .round(1000)
            .unwrap_err();
        assert!(error.to_string().contains("does not restore"), "{error}");
        Ok(())
    }

    #[test]
    fn flows_take_every_value_once() -> Result<()> {
        if !privileged::available("flows_take_every_value_once") {
            return Ok(());
        }
        let vary = Vary {
            offset: 24,
            flows: 16,
        };
        let kind = Kind::ALL[0];
        let target = bpf::load(&null(0, XDP_TX as i32), kind)?;
        let wrapped = wrap(target.as_fd(), &frame(Some(vary)), kind)?;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..16 {
            let (_, out) = bpf::test_run(wrapped.wrapper.as_fd(), &frame(None).bytes, 1)?;
            seen.insert(out[24..28].to_vec());
            assert_eq!(out[24], 24, "the first byte stays");
            assert_eq!(
                (&out[..24], &out[28..]),
                (&frame(None).bytes[..24], &frame(None).bytes[28..])
            );
        }
        assert_eq!(seen.len(), 16);
        Ok(())
    }
}
