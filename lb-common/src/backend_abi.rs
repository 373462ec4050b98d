//! Values of the backend's BPF maps: what its agent writes and its programs read.
//!
//! ```text
//! CONFIG[0]            own addresses, trusted prefixes, limits     written before the programs are attached, never after
//! VIPS[hash]           addresses that this host answers for        the same
//! SERVICES[hash]       address and port: is a listener visible     only the word `blind` of an entry changes
//! NEXT_HOPS{address}   where frames to another backend go          replaced whole, as hash maps do
//! NEXT_HOP_CACHE[hash] the same, per CPU                           the program's own
//! FRAGMENTED{packet}   where its first part was passed on to     the program's own
//! BUDGET[0]            forwards left, per CPU                      the program's own
//! EXITS[exit]          packets and bytes, per CPU                  the program's own
//! ```
//!
//! A changed configuration is a new set of maps under a new program, put in place of the old one by one link update: no
//! packet meets half of each.

use crate::abi::{self, BUCKET_ENTRIES, VipEntry, unpinned_values};
use crate::prefix;

/// Addresses per family that the tunnel may end at.
pub const OWN_MAX: usize = 4;
/// Trusted prefixes per family.
pub const PREFIXES_MAX: usize = 16;
/// Buckets of the VIP index and of the service index.
pub const BUCKETS: u32 = 4096;
/// Backends whose next hop is known.
pub const NEXT_HOPS_MAX: u32 = 4096;
/// Fragmented packets whose first part was passed on.
pub const FRAGMENTED_MAX: u32 = 4096;
/// Slots of the next-hop cache of one CPU.
pub const CACHE_SLOTS: u32 = 1024;
/// Bytes of the ring buffer in which the program asks for next hops.
pub const WANTED_BYTES: usize = 4096;

unpinned_values! {
    /// What every packet needs to know. All zero: nothing is a tunnel packet.
    Config = 1784 {
        /// Seed of the VIP index.
        vip_seed: u64,
        /// Seed of the service index.
        service_seed: u64,
        /// Where tunnels end, IPv6, as they lie on the wire; zero: none.
        own_v6: [[u64; 2]; OWN_MAX],
        /// Where encapsulated packets may come from.
        sources_v6: [PrefixV6; PREFIXES_MAX],
        /// Where packets may be passed on to.
        backends_v6: [PrefixV6; PREFIXES_MAX],
        /// Like `own_v6`.
        own_v4: [u32; OWN_MAX],
        /// Like `sources_v6`.
        sources_v4: [PrefixV4; PREFIXES_MAX],
        /// Like `backends_v6`.
        backends_v4: [PrefixV4; PREFIXES_MAX],
        /// Packets that one CPU may pass on per jiffy.
        budget_per_jiffy: u32,
        /// Packets that one CPU may pass on after a pause.
        budget_max: u32,
        /// Jiffies for which a next hop is taken from the cache.
        cache_jiffies: u32,
        /// UDP destination port of the tunnel, as it lies on the wire.
        tunnel_port: u16,
        /// Largest MSS in a SYN-ACK over IPv4; zero: left alone.
        mss_v4: u16,
        /// The same over IPv6.
        mss_v6: u16,
        /// Zero.
        padding: [u8; 6],
        /// Lengths of VIPs that are prefixes.
        prefixes: prefix::Lengths,
    }
    /// An IPv4 prefix. `address` has no bit outside `mask`, but for the prefix that holds nothing: [`PrefixV4::NONE`].
    PrefixV4 = 8 {
        /// As it lies on the wire.
        address: u32,
        /// As it lies on the wire.
        mask: u32,
    }
    /// An IPv6 prefix, like [`PrefixV4`].
    PrefixV6 = 32 {
        /// As it lies on the wire.
        address: [u64; 2],
        /// As it lies on the wire.
        mask: [u64; 2],
    }
    /// A VIP and its ports.
    Service = 16 {
        /// See [`abi::service_key`] and [`abi::ranges_key`]; zero: empty.
        key: u64,
        /// First destination port.
        first_port: u16,
        /// Last destination port.
        last_port: u16,
        /// Not zero: no listener was ever seen in this network namespace, so sockets say nothing.
        blind: u8,
        /// Not zero: UDP flows have connected sockets.
        connected: u8,
        /// Zero.
        padding: u16,
    }
    /// Entries are filled from the front; the first empty one ends the bucket.
    ServiceBucket = 64 {
        /// Of the ranges with one key, narrower ones come first.
        entries: [Service; BUCKET_ENTRIES],
    }
    /// The MAC addresses of a frame, destination first, as they lie on the wire; all zero: not resolved.
    Macs = 16 {
        /// Destination (6 bytes) and the first two bytes of the source.
        low: u64,
        /// The last four bytes of the source.
        high: u32,
        /// Zero.
        padding: u32,
    }
    /// A slot of the next-hop cache.
    CachedMacs = 40 {
        /// The backend, v4-mapped, as it lies on the wire.
        address: [u64; 2],
        /// Not resolved is cached too.
        macs: Macs,
        /// Valid before this jiffy.
        expires: u64,
    }
}

impl PrefixV4 {
    /// Holds no address.
    pub const NONE: Self = Self {
        address: 1,
        mask: 0,
    };

    /// Whether `address`, as it lies on the wire, is inside.
    #[inline(always)]
    pub const fn holds(&self, address: u32) -> bool {
        address & self.mask == self.address
    }
}

impl PrefixV6 {
    /// Holds no address.
    pub const NONE: Self = Self {
        address: [1, 1],
        mask: [0, 0],
    };

    /// Whether `address`, as it lies on the wire, is inside.
    #[inline(always)]
    pub const fn holds(&self, address: [u64; 2]) -> bool {
        address[0] & self.mask[0] == self.address[0] && address[1] & self.mask[1] == self.address[1]
    }
}

impl Macs {
    /// Whether they can be put before a packet.
    #[inline(always)]
    pub const fn resolved(&self) -> bool {
        self.low != 0
    }
}

impl CachedMacs {
    /// Whether the slot holds the way to `address` at the jiffy `now`.
    #[inline(always)]
    pub const fn answers(&self, address: [u64; 2], now: u64) -> bool {
        self.address[1] == address[1] && self.address[0] == address[0] && now < self.expires
    }
}

/// Bucket of a VIP.
#[inline(always)]
pub const fn vip_bucket(seed: u64, address: [u64; 2]) -> u32 {
    abi::vip_bucket(abi::mix(seed, address)) & (BUCKETS - 1)
}

/// Bucket of an entry of the VIP index.
#[inline(always)]
pub const fn entry_bucket(seed: u64, entry: &VipEntry) -> u32 {
    abi::vip_bucket(prefix::place(seed, entry)) & (BUCKETS - 1)
}

/// Bucket of an [`abi::service_key`].
#[inline(always)]
pub const fn service_bucket(seed: u64, key: u64) -> u32 {
    abi::vip_bucket(abi::mix(seed, [0, key])) & (BUCKETS - 1)
}

/// Slot of an address in the next-hop cache.
#[inline(always)]
pub const fn cache_slot(address: [u64; 2]) -> u32 {
    abi::vip_bucket(abi::mix(0, address)) & (CACHE_SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_nothing_holds_nothing() {
        assert!(!PrefixV4::NONE.holds(0) && !PrefixV4::NONE.holds(u32::MAX));
        assert!(!PrefixV6::NONE.holds([0; 2]) && !PrefixV6::NONE.holds([u64::MAX; 2]));
        assert!(
            PrefixV4::default().holds(7),
            "0.0.0.0/0 holds every address"
        );
    }

    #[test]
    fn buckets_are_inside_their_maps() {
        for seed in 0..1000_u64 {
            let address = [seed, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)];
            assert!(vip_bucket(seed, address) < BUCKETS && cache_slot(address) < CACHE_SLOTS);
            assert!(service_bucket(seed, address[1]) < BUCKETS);
        }
    }
}
