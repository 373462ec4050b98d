//! Somebody else's XDP program: drops frames of one length and passes all others.

use std::path::Path;

use anyhow::{Context, Result};

use super::xdp_pass::{load, pin_program};

/// Loads one that drops frames of so many bytes and pins it.
pub fn pin(length: u16, pin: &Path) -> Result<()> {
    let [low, high] = length.to_le_bytes();
    // r2 = data_end; r3 = data; r2 -= r3; r0 = XDP_PASS; if r2 != length skip one; r0 = XDP_DROP; exit
    let program = [
        [0x61, 0x12, 4, 0, 0, 0, 0, 0],
        [0x61, 0x13, 0, 0, 0, 0, 0, 0],
        [0x1f, 0x32, 0, 0, 0, 0, 0, 0],
        [0xb7, 0, 0, 0, 2, 0, 0, 0],
        [0x55, 0x02, 1, 0, low, high, 0, 0],
        [0xb7, 0, 0, 0, 1, 0, 0, 0],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
    ];
    let loaded = load(&program, 0).context("load a program that drops")?;
    pin_program(&loaded, pin)
}
