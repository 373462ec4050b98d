//! What was asked for, in full.

#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use super::frame::{self, smallest};

/// Room for the largest tunnel header, which the packets have on their way back.
const TUNNEL_ROOM: u32 = lb_common::tunnel::OVERHEAD_V6 as u32;
/// Between the smallest frame and the largest.
const MIDDLE: u32 = 512;
/// Largest frame of Ethernet without a tag (IEEE 802.3).
const ETHERNET_MAX: u32 = 1518;

/// What to measure, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The interface that the packets leave by and come back to.
    pub interface: String,
    /// VIP and port of a UDP service of the node under test.
    pub vip: SocketAddr,
    /// Who takes them there.
    pub way: Way,
    /// Sources, at least 1, at most [`lb_common::generator::FLOWS_MAX`].
    pub flows: u32,
    /// Frame sizes with their checksum; empty: [`usual_sizes`].
    pub frames: Vec<u32>,
    /// Length of a trial.
    pub seconds: u64,
    /// One trial at this rate, packets per second; none: a search.
    pub rate: Option<u64>,
    /// Loss that a search takes for none, percent.
    pub loss_percent: f64,
    /// CPUs that send; none: all.
    pub cpus: Option<usize>,
}

/// Who takes the packets to the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Whom the route to the VIP names.
    Route,
    /// This neighbour.
    Via(IpAddr),
    /// Whoever has this MAC address.
    Mac([u8; 6]),
}

/// The smallest frame, and where they come back with a tunnel header on a link of this MTU, one of 512 bytes and the largest.
pub fn usual_sizes(v6: bool, mtu: u32) -> Vec<u32> {
    let largest = ETHERNET_MAX.min((mtu + frame::LINK_BYTES).saturating_sub(TUNNEL_ROOM));
    let mut sizes = vec![smallest(v6)];
    let larger = [MIDDLE.min(largest), largest].into_iter();
    sizes.extend(larger.filter(|size| *size > smallest(v6)));
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_leave_room_for_the_way_back() {
        for (v6, mtu, expected) in [
            (false, 1700, &[64, 512, 1518][..]),
            (false, 1500, &[64, 512, 1394]),
            (true, 9000, &[74, 512, 1518]),
            (false, 600, &[64, 494]),
            (false, 576, &[64, 470]),
            (false, 170, &[64]),
            (false, 68, &[64]),
        ] {
            assert_eq!(usual_sizes(v6, mtu), expected, "{v6} {mtu}");
        }
    }
}
