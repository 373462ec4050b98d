//! What no sender makes.

use super::FRAME_MIN;
use crate::dice::Dice;
use crate::packet::mend;

type Trail = Vec<&'static str>;

/// Values of one byte at which something changes.
const EDGES: [u8; 12] = [0, 1, 2, 4, 5, 15, 16, 63, 127, 128, 254, 255];

/// Changes one field of an IP header, which may be a length. The checksum holds sometimes.
pub fn about_ip(dice: &mut Dice<'_>, packet: &mut [u8], trail: &mut Trail) {
    const V4: [(usize, usize); 7] = [(0, 1), (2, 2), (2, 2), (6, 2), (8, 1), (9, 1), (10, 2)];
    const V6: [(usize, usize); 7] = [(0, 1), (4, 2), (4, 2), (6, 1), (7, 1), (40, 1), (41, 1)];
    let Some(first) = packet.first().copied() else {
        return;
    };
    let v4 = first >> 4 == 4;
    let (at, width) = dice.pick(if v4 { &V4 } else { &V6 });
    let Some(field) = packet.get_mut(at..at + width) else {
        return;
    };
    trail.push("a field that lies");
    if let [high, low] = field {
        let value = u16::from_be_bytes([*high, *low]);
        let lie = match dice.below(8) {
            0 => value.wrapping_add(1),
            1 => value.wrapping_sub(1),
            2 => value / 2,
            3 => dice.below(80) as u16,
            4 => value.wrapping_sub(dice.below(40) as u16),
            5 => value.wrapping_add(dice.below(40) as u16),
            6 => dice.pick(&[0, 0xffff, 0x7fff, 0x8000, 0x1fff, 0x2000, 0x4000]),
            _ => dice.word() as u16,
        };
        [*high, *low] = lie.to_be_bytes();
    } else {
        field[0] = match dice.below(4) {
            0 => field[0] ^ 1 << dice.below(8),
            1 => field[0].wrapping_add(1),
            2 => dice.pick(&EDGES),
            _ => dice.byte(),
        };
    }
    let header = usize::from(packet[0] & 15) * 4;
    if v4 && at != 10 && (20..=packet.len()).contains(&header) && dice.below(2) == 0 {
        mend(packet);
    }
}

/// Changes bytes, puts some in, takes some out, or cuts the end off.
pub fn mutate(dice: &mut Dice<'_>, frame: &mut Vec<u8>, trail: &mut Trail) {
    /// Headers are here.
    const FRONT: usize = 160;
    match dice.below(8) {
        0..4 => {
            trail.push("changed bytes");
            for _ in 0..1 + dice.below(4) {
                let at = dice.below(frame.len().min(FRONT));
                frame[at] = match dice.below(3) {
                    0 => dice.pick(&EDGES),
                    1 => frame[at] ^ 1 << dice.below(8),
                    _ => dice.byte(),
                };
            }
        }
        4..6 => {
            trail.push("cut");
            let end = frame.len().min(FRONT + 40);
            frame.truncate(FRAME_MIN + dice.below(end - FRAME_MIN + 1));
        }
        6 => {
            trail.push("bytes put in");
            let at = dice.below(frame.len().min(FRONT) + 1);
            let count = 1 + dice.below(16);
            frame.splice(at..at, dice.bytes(count));
        }
        _ => {
            trail.push("bytes taken out");
            let at = FRAME_MIN + dice.below(frame.len().min(FRONT) - FRAME_MIN + 1);
            let end = frame.len().min(at + 1 + dice.below(16));
            frame.drain(at.min(end)..end);
        }
    }
}

/// Headers end before.
const HEADERS: usize = 400;

/// Every frame that is `frame` cut short, down to an Ethernet header.
pub fn every_cut(frame: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (FRAME_MIN..frame.len().min(HEADERS)).map(|end| frame[..end].to_vec())
}

/// Every frame that is `frame` with one byte changed, in its first 160.
pub fn every_change(frame: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let changes = |at: usize| {
        let byte = frame[at];
        [0, 0xff, byte ^ 1, byte ^ 0x10, byte.wrapping_add(1)].map(|to| (at, to))
    };
    let all = (0..frame.len().min(160)).flat_map(changes);
    all.map(|(at, to)| {
        let mut changed = frame.to_vec();
        changed[at] = to;
        changed
    })
}
