//! Frames that really leave: the program as the driver's receive path runs it, over a pair of virtual interfaces.
//!
//! BPF_PROG_TEST_RUN with live frames (Linux 5.18) makes pages, runs the program on them in batches as a driver does and sends
//! what it transmits. The peer of the pair counts and drops. What the loop around costs, the wrapper that restores the packet
//! included, is seen by [`EMPTY`]: a program that transmits and does nothing else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;

use super::bpf::{self, Kind, MapType};
use super::insn::{Assembler, Insn, Reg};
use super::series::{Effort, Figures, interleaved};
use super::wrapper::{Frame, Wrapped, cpu_time};

/// The case beside which the others stand.
pub const EMPTY: &str = "live-empty";

const XDP_DROP: i32 = 1;
const XDP_TX: i32 = 3;
const NEAR: &str = "anylb-live0";
const FAR: &str = "anylb-live1";

/// The two interfaces and what drops at the far one.
#[derive(Debug)]
pub struct Pair {
    /// Index of the interface that frames come in by and leave by.
    pub interface: u32,
    counter: OwnedFd,
    _drop: OwnedFd,
    _link: OwnedFd,
}

impl Pair {
    /// Makes both in this namespace, which takes them with it.
    pub fn new() -> Result<Self> {
        ip(&["link", "add", NEAR, "type", "veth", "peer", "name", FAR])?;
        for interface in [NEAR, FAR] {
            // The kernel's own packets, such as router solicitations, would be counted with ours.
            let silent = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
            std::fs::write(&silent, "1").context(silent)?;
            ip(&["link", "set", interface, "up"])?;
        }
        let counter = bpf::map(MapType::Array, 4, 8, 1).context("make a counter")?;
        let drop = bpf::load(&counting_drop(counter.as_fd()), Kind::ALL[0])
            .context("load the far end's program")?;
        let link = bpf::attach(drop.as_fd(), if_nametoindex(FAR)?)
            .context("attach the far end's program")?;
        Ok(Self {
            interface: if_nametoindex(NEAR)?,
            counter,
            _drop: drop,
            _link: link,
        })
    }

    /// Frames that have arrived at the far end.
    fn arrived(&self) -> Result<u64> {
        let value = bpf::lookup(self.counter.as_fd(), 0, 8)?;
        Ok(u64::from_ne_bytes(
            value
                .as_slice()
                .try_into()
                .context("a counter of 8 bytes")?,
        ))
    }
}

/// A program and the frame that it transmits.
#[derive(Debug)]
pub struct Live {
    name: String,
    frame: Frame,
    wrapped: Wrapped,
}

impl Live {
    /// Name in the report.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of a program that transmits `frame` by the interface it came in by.
    pub fn new(name: String, program: BorrowedFd<'_>, frame: Frame) -> Result<Self> {
        let wrapped = Wrapped::of_any_kind(program, &frame)?;
        Ok(Self {
            name,
            frame,
            wrapped,
        })
    }

    /// The case [`EMPTY`].
    pub fn empty(frame: Frame) -> Result<Self> {
        let mut program = Assembler::new();
        program.set(Reg::R0, XDP_TX).exit();
        let program = bpf::load(&program.finish(), Kind::ALL[0])?;
        Self::new(EMPTY.to_owned(), program.as_fd(), frame)
    }

    /// One round: nanoseconds per frame, sent and dropped at the far end.
    fn round(&self, pair: &Pair, repeat: u32) -> Result<f64> {
        let before = pair.arrived()?;
        let start = cpu_time()?;
        let program = self.wrapped.wrapper();
        bpf::test_run_live(program, &self.frame.bytes, pair.interface, repeat)?;
        let took = cpu_time()? - start;
        let arrived = pair.arrived()? - before;
        ensure!(
            arrived == u64::from(repeat),
            "{arrived} of {repeat} frames arrived: the program does not transmit them all, or the pair loses some"
        );
        Ok(took.as_nanos() as f64 / f64::from(repeat))
    }
}

/// Runs every case once per round.
pub fn measure(cases: &[Live], pair: &Pair, effort: Effort) -> Result<Vec<Figures>> {
    interleaved(
        cases,
        effort.rounds,
        |case| &case.name,
        |case| case.round(pair, effort.repeat),
        |_| (),
    )
}

/// Counts the frame and drops it.
fn counting_drop(counter: BorrowedFd<'_>) -> Vec<Insn> {
    let mut program = Assembler::new();
    program.map_value(Reg::R1, counter);
    program.set(Reg::R3, 1).atomic_add(Reg::R1, 0, Reg::R3);
    program.set(Reg::R0, XDP_DROP).exit();
    program.finish()
}

fn ip(arguments: &[&str]) -> Result<()> {
    let status = Command::new("ip").args(arguments).status().context("ip")?;
    ensure!(status.success(), "ip {}: {status}", arguments.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::netns::Netns;
    use crate::harness::privileged;

    const REPEAT: u32 = 1000;

    fn frame() -> Frame {
        Frame {
            bytes: vec![0; 60],
            restore: 0,
            vary: None,
        }
    }

    #[test]
    fn what_is_transmitted_arrives_and_a_drop_is_noticed() -> Result<()> {
        if !privileged::available("what_is_transmitted_arrives_and_a_drop_is_noticed") {
            return Ok(());
        }
        Netns::create("anylb-test-live")?.run(|| {
            let pair = Pair::new()?;
            let effort = Effort {
                rounds: 3,
                repeat: REPEAT,
            };
            let figures = measure(&[Live::empty(frame())?], &pair, effort)?;
            assert_eq!(
                (figures[0].name.as_str(), figures[0].rounds.len()),
                (EMPTY, 3)
            );
            let counter = bpf::map(MapType::Array, 4, 8, 1)?;
            let drop = bpf::load(&counting_drop(counter.as_fd()), Kind::ALL[0])?;
            let error = Live::new("drop".to_owned(), drop.as_fd(), frame())?
                .round(&pair, REPEAT)
                .unwrap_err();
            assert!(error.to_string().starts_with("0 of 1000 frames"), "{error}");
            Ok(())
        })
    }
}
