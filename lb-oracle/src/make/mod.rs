//! Packets of every form: each layer makes a sound one most of the time, and every other that it knows some of the time.
//!
//! | file | holds |
//! |---|---|
//! | [`cast`] | who sends to whom |
//! | `client` | what clients send: IP, extension headers, TCP, UDP, ICMP and what it quotes |
//! | `tunnel` | what LB nodes send to backends |
//! | `link` | Ethernet, VLAN tags, padding |
//! | [`lie`](mod@lie) | what no sender makes: lengths that lie, changed and missing bytes |

pub mod cast;
mod client;
pub mod lie;
mod link;
mod tunnel;

pub use cast::{Cast, Service, Tunnels};

use crate::dice::Dice;

/// A frame and how it was made.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// What is in it, from the inside out.
    pub trail: Vec<&'static str>,
}

impl Made {
    /// The trail as one line.
    pub fn story(&self) -> String {
        self.trail.join(", ")
    }
}

/// The smallest frame that the kernel runs a program on: an Ethernet header.
pub const FRAME_MIN: usize = 14;
/// The longest inner packet: what fits a page of the kernel's with all headers.
const LONGEST: usize = 3000;

/// A frame for an LB node, and whatever else comes along.
pub fn for_node(dice: &mut Dice<'_>, cast: &Cast) -> Made {
    let mut made = Made::default();
    made.bytes = client::packet(dice, cast, &mut made.trail);
    finish(dice, 5, made)
}

/// A frame for a backend; some have no tunnel.
pub fn for_backend(dice: &mut Dice<'_>, cast: &Cast, tunnels: &Tunnels) -> Made {
    let mut made = Made::default();
    made.bytes = client::packet(dice, cast, &mut made.trail);
    if dice.once_in(6) {
        lie::about_ip(dice, &mut made.bytes, &mut made.trail);
    }
    if !dice.once_in(40) {
        made.bytes = tunnel::around(dice, tunnels, &made.bytes, &mut made.trail);
    }
    finish(dice, 40, made)
}

/// One in `tagged` has VLAN tags.
fn finish(dice: &mut Dice<'_>, tagged: usize, mut made: Made) -> Made {
    if dice.once_in(6) {
        lie::about_ip(dice, &mut made.bytes, &mut made.trail);
    }
    made.bytes = link::frame(dice, tagged, &made.bytes, &mut made.trail);
    if dice.once_in(4) {
        lie::mutate(dice, &mut made.bytes, &mut made.trail);
    }
    made
}
