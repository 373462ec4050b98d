//! The unit of cost: one hit of a 20-byte key in a BPF hash map.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};

use super::bpf::{self, Kind, MapType};
use super::insn::{Assembler, Helper, Insn, Jump, Reg};
use super::limits::REFERENCE;
use super::series::Case;
use super::wrapper::{Frame, Probe};

const XDP_ABORTED: i32 = 0;
const XDP_PASS: i32 = 2;
/// Five words.
const KEY_SIZE: usize = 20;
const ENTRIES: u32 = 1024;
/// The entry that is looked up.
const SOUGHT: u32 = 500;

/// A program that looks a key up and passes the packet if it is there; the map with it, half full.
pub fn case() -> Result<Case> {
    let map = bpf::map(MapType::Hash, KEY_SIZE as u32, 8, ENTRIES).context("make a hash map")?;
    for number in 0..ENTRIES / 2 {
        bpf::update(map.as_fd(), &key(number), &u64::from(number))?;
    }
    let program: OwnedFd =
        bpf::load(&program(map.as_fd()), Kind::ALL[0]).context("load the reference program")?;
    let frame = Frame {
        bytes: vec![0; 60],
        restore: 0,
        vary: None,
    };
    Ok(Case {
        name: REFERENCE.to_owned(),
        probe: Probe::new(program.as_fd(), frame)?,
        verdict: XDP_PASS as u32,
    })
}

fn key(number: u32) -> [u32; KEY_SIZE / 4] {
    [0x0100_000a, number, 3, 4, 5]
}

fn program(map: BorrowedFd<'_>) -> Vec<Insn> {
    let mut program = Assembler::new();
    program
        .mov(Reg::R2, Reg::R10)
        .add(Reg::R2, -(KEY_SIZE as i32));
    for (word, value) in (0..).zip(key(SOUGHT)) {
        program.store_word(Reg::R2, 4 * word, value);
    }
    program.map(Reg::R1, map).call(Helper::MapLookup);
    let hit = program.jump(Jump::NotEqual, Reg::R0, 0);
    program.set(Reg::R0, XDP_ABORTED).exit();
    program.land(hit).set(Reg::R0, XDP_PASS).exit();
    program.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::privileged;

    #[test]
    fn the_key_is_found() -> Result<()> {
        if !privileged::available("the_key_is_found") {
            return Ok(());
        }
        let case = case()?;
        assert_eq!(case.probe.verdict(), case.verdict);
        Ok(())
    }
}
