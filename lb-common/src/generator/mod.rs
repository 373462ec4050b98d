//! The load of `anylb bench`: which packet is due, what is in it, and which of those that come in are ours.
//!
//! A CPU has a schedule of its own and takes every `stride`th flow. A packet's flow decides source address and port; everything
//! else is the same in all packets of a trial and is written anew in each, since a page that is used again holds what its last
//! reader left. The last eight bytes are the mark of run and trial, behind whatever headers a node has put before them.
//!
//! | file | holds |
//! |---|---|
//! | `turn` | when a CPU's next packet is due, and of which flow |
//! | `packet` | a flow's headers |
//! | `mark` | whose a packet is that came in |
//!
//! ```text
//! flow f   host = f * odd mod 2^17     198.18.0.0/15 (RFC 2544) or 2001:2::/48 (RFC 5180)
//!          port = 32768 + (f / 2^17 + what follows from the host) mod 2^15
//! ```

mod mark;
mod packet;
mod turn;

use crate::abi::unpinned_values;
use crate::wire::{Ethernet, Ipv4, Ipv6, Udp};

pub use mark::{Mark, Origin, TRIAL_BITS, origin};
pub use packet::{FIRST_PORT, SOURCES_V4, SOURCES_V6, write};
pub use turn::{BURST_MAX, DEBT_MAX_PS};

/// Most flows: every one has an address and port of its own.
pub const FLOWS_MAX: u32 = 1 << 24;

unpinned_values! {
    /// What all CPUs send in a trial.
    Order = 144 {
        /// Nothing is sent before, on the clock of `bpf_ktime_get_ns`.
        starts_ns: u64,
        /// Nor from then on.
        ends_ns: u64,
        /// Between two packets of one CPU.
        gap_ps: u64,
        /// Run and trial; zero: none. See [`TRIAL_BITS`].
        mark: u64,
        /// At least 1, at most [`FLOWS_MAX`].
        flows: u32,
        /// From one flow of a CPU to its next; less than `flows`.
        stride: u32,
        /// Sum of the IPv4 header without source and checksum, unfolded.
        header_sum: u32,
        /// Sum of pseudo-header and datagram without source address, source port and checksum, unfolded.
        datagram_sum: u32,
        /// Link-layer header; its EtherType tells the family.
        ethernet: Ethernet,
        /// Without source and checksum.
        ipv4: Ipv4,
        /// Without source.
        ipv6: Ipv6,
        /// Without source port and checksum.
        udp: Udp,
        /// Zero.
        padding: [u8; 14],
    }
    /// Where a CPU stands. Only that CPU writes it while a trial runs.
    Turn = 48 {
        /// Packets made.
        made: u64,
        /// When the next is due, since the start.
        due_ps: u64,
        /// Packets that the driver has not been heard of yet.
        pending: u64,
        /// Packets that the driver took.
        taken: u64,
        /// Packets that it did not.
        refused: u64,
        /// Flow of the next packet.
        flow: u32,
        /// Zero.
        padding: u32,
    }
    /// What came back to a CPU.
    Returned = 16 {
        /// Packets.
        packets: u64,
        /// Bytes from the Ethernet header on.
        bytes: u64,
    }
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::wire::Be16;

    /// Five flows, two packets per microsecond.
    pub(super) const ORDER: Order = Order {
        starts_ns: 1_000,
        ends_ns: 2_000_000,
        gap_ps: 500_000,
        mark: 0x1234_5678_9abc_0001,
        flows: 5,
        stride: 2,
        header_sum: 0,
        datagram_sum: 0,
        ethernet: Ethernet {
            macs_low: 0,
            macs_high: 0,
            ethertype: crate::wire::ETHERTYPE_IPV4,
        },
        ipv4: Ipv4 {
            version_ihl: 0x45,
            tos: 0,
            total_length: Be16::new(36),
            identification: Be16::new(0),
            fragment: Be16::new(0),
            ttl: 64,
            protocol: 17,
            checksum: 0,
            source: 0,
            destination: 0,
        },
        ipv6: Ipv6 {
            version_class_label: crate::wire::Be32::new(0),
            payload_length: Be16::new(0),
            next_header: 0,
            hop_limit: 0,
            source: [0; 2],
            destination: [0; 2],
        },
        udp: Udp {
            ports: crate::wire::Ports {
                source: Be16::new(0),
                destination: Be16::new(53),
            },
            length: Be16::new(16),
            checksum: 0,
        },
        padding: [0; 14],
    };
}
