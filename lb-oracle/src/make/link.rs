//! Ethernet around an IP packet.

use crate::dice::Dice;
use crate::packet::MACS;

/// Tags before the frame's own EtherType, outermost first.
const TAGS: [&[u16]; 9] = [
    &[0x8100],
    &[0x88a8],
    &[0x8100, 0x8100],
    &[0x88a8, 0x8100],
    &[0x88a8, 0x88a8],
    &[0x8100, 0x88a8],
    &[0x8100, 0x8100, 0x8100],
    &[0x88a8, 0x8100, 0x8100],
    &[0x9100],
];

/// A frame; one in `tagged` has tags, few are padded or carry something else.
pub(super) fn frame(
    dice: &mut Dice<'_>,
    tagged: usize,
    ip: &[u8],
    trail: &mut Vec<&'static str>,
) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ip.len() + 64);
    frame.extend(MACS);
    if dice.once_in(tagged) {
        trail.push("tags");
        for tag in dice.pick(&TAGS) {
            frame.extend(tag.to_be_bytes());
            frame.extend((dice.word() as u16).to_be_bytes());
        }
    }
    let version = ip.first().map_or(0, |byte| byte >> 4);
    let ethertype: u16 = match dice.below(64) {
        0 => dice.pick(&[0x0806, 0x8847, 0x8863, 0x88cc, 0]),
        1 => dice.pick(&[0x0800, 0x86dd]),
        _ if version == 6 => 0x86dd,
        _ => 0x0800,
    };
    frame.extend(ethertype.to_be_bytes());
    frame.extend(ip);
    if dice.once_in(6) {
        trail.push("padding");
        frame.extend(std::iter::repeat_n(0x5a, dice.below(47)));
    }
    frame
}
