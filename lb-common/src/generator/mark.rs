//! Whose a packet is that came in, by its last bytes.

use core::mem::size_of;

use super::Order;
use crate::packet::Packet;
use crate::wire::wire;

/// Low bits of a mark, which tell the trials of a run apart.
pub const TRIAL_BITS: u32 = 16;

wire! {
    /// The last bytes of a packet of ours.
    Mark {
        /// As in [`Order`].
        value: u64,
    }
}

/// Whose a packet is that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This trial's.
    Trial,
    /// An earlier trial's of the same run.
    Late,
    /// Somebody else's.
    Other,
}

/// Whose the packet is, by its last bytes.
#[inline(always)]
pub fn origin<P: Packet>(packet: &P, order: &Order) -> Origin {
    let length = packet.len();
    if order.mark == 0 || length < size_of::<Mark>() {
        return Origin::Other;
    }
    let Some(mark) = packet.get_at::<Mark>(length - size_of::<Mark>()) else {
        return Origin::Other;
    };
    let found = mark.value;
    if found == order.mark {
        Origin::Trial
    } else if found >> TRIAL_BITS == order.mark >> TRIAL_BITS {
        Origin::Late
    } else {
        Origin::Other
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::ORDER;
    use super::*;

    #[test]
    fn packets_are_known_by_their_last_bytes() {
        let ending = |mark: u64, before: usize| {
            let mut bytes = std::vec![7; before];
            bytes.extend(mark.to_ne_bytes());
            crate::frame::Frame::new(&bytes).unwrap()
        };
        for (mark, order, expected, why) in [
            (ORDER.mark, ORDER, Origin::Trial, "this one's"),
            (ORDER.mark + 1, ORDER, Origin::Late, "another trial's"),
            (ORDER.mark ^ 1 << 40, ORDER, Origin::Other, "another run's"),
            (
                0,
                Order { mark: 0, ..ORDER },
                Origin::Other,
                "nothing is sent",
            ),
        ] {
            for before in [14, 61, 1500] {
                assert_eq!(origin(&ending(mark, before), &order), expected, "{why}");
            }
        }
        let short = crate::frame::Frame::new(&[1; 7]).unwrap();
        assert_eq!(origin(&short, &ORDER), Origin::Other);
    }
}
