//! A filter of two levels in each family, made by hand, that cuts through the addresses of clients.

use std::sync::Arc;

use lb_common::filter::{Element, Filter, Verdict};

use Verdict::{Denied, NotAllowed, Pass};

/// Last octets of clients, each the end of a range with a verdict.
const FIRST: [(u8, Verdict); 4] = [(15, Denied), (31, Pass), (47, NotAllowed), (127, Pass)];
const SECOND: [(u8, Verdict); 3] = [(143, Denied), (200, Pass), (254, NotAllowed)];
const V4: u32 = 0xc000_0200;
const V6: [u64; 2] = [0x2001_0db8_000c_0000, 0];

/// Where it is, in any slot.
pub(super) fn place() -> Filter {
    Filter {
        fingerprint: 0x6c69_7374,
        slot: 0,
        levels_v4: 2,
        levels_v6: 2,
        root_v6: 2,
    }
}

/// What is in it.
pub(super) fn elements() -> Arc<[Element]> {
    let nodes = [
        node_v4(&[V4 | 127], 1),
        node_v4(&ends_v4(&FIRST), verdicts(&FIRST)),
        node_v4(&ends_v4(&SECOND), verdicts(&SECOND)),
        [0; 8],
    ];
    let pairs = nodes.chunks(2).map(|pair| {
        let mut words = [0; 16];
        words[..8].copy_from_slice(&pair[0]);
        words[8..].copy_from_slice(&pair[1]);
        words
    });
    let v6 = [
        node_v6(&[[V6[0], 127]], 3),
        node_v6(&ends_v6(&FIRST), verdicts(&FIRST)),
        node_v6(&ends_v6(&SECOND), verdicts(&SECOND)),
    ];
    pairs.chain(v6).map(|words| Element { words }).collect()
}

/// What lies before the first client passes; so does what lies behind the last.
fn verdicts(ranges: &[(u8, Verdict)]) -> u32 {
    let bits = (2..).step_by(2).zip(ranges);
    bits.fold(0, |all, (bit, (_, verdict))| all | (*verdict as u32) << bit)
}

fn ends_v4(ranges: &[(u8, Verdict)]) -> Vec<u32> {
    let ends = ranges.iter().map(|(end, _)| V4 | u32::from(*end));
    [V4 - 1].into_iter().chain(ends).collect()
}

fn ends_v6(ranges: &[(u8, Verdict)]) -> Vec<[u64; 2]> {
    let ends = ranges.iter().map(|(end, _)| [V6[0], u64::from(*end)]);
    [[V6[0] - 1, u64::MAX]].into_iter().chain(ends).collect()
}

fn node_v4(ends: &[u32], tail: u32) -> [u64; 8] {
    let end = |n: usize| u64::from(ends.get(n).copied().unwrap_or(u32::MAX));
    std::array::from_fn(|n| match n {
        7 => end(14) | u64::from(tail) << 32,
        _ => end(2 * n) | end(2 * n + 1) << 32,
    })
}

fn node_v6(ends: &[[u64; 2]], tail: u32) -> [u64; 16] {
    std::array::from_fn(|n| match n {
        14 => tail.into(),
        15 => 0,
        _ => ends.get(n / 2).map_or(u64::MAX, |end| end[n % 2]),
    })
}
