//! Values of the BPF maps: what the agent writes and the programs read.
//!
//! ```text
//! ROOT -> bank b                          a variable of the programs, the only thing overwritten
//!   BANKS[b].shared                       seeds, flow key, tunnel source
//!           .sources                      which packets no client sends
//!           .vips[hash]       -> VIP id
//!           .services[hash]   -> table, first backend, counters
//!           .extras[counter]  -> what a service has beyond the common way
//!   TABLES[table].row(hash)   -> up to four pool-local backend indexes
//!   BANKS[b].backends[first + index]      address, next hop
//! COUNTS[cpu]                             packets and bytes by exit, service, backend
//! ```
//!
//! Everything that must agree in one packet hangs below the root. A bank is one map value: one lookup finds it, and what is in it
//! costs a masked index (a lookup for each part took 7 ns of 45). The agent fills the bank that is not in use, with the rows of a
//! changed pool in the spare table of the pool's pair, stores the root, and waits for an RCU grace period before it writes
//! the old bank again: no live entry is ever overwritten.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::filter::Filter;
use crate::flow::FlowKey;
use crate::flow_table::FlowCount;
use crate::layout::shaped;
use crate::packet::{Packet, is_zero};
use crate::prefix;
use crate::rate::Rates;
use crate::sources::Sources;

/// Raised where a map means something else and [`crate::layout`] does not see it. An agent adopts pinned maps of its own layout only.
pub const ABI_VERSION: u32 = 1;
/// Banks: one in use, one to fill.
pub const BANKS: u32 = 2;
/// A bank that there is not.
pub const NO_BANK: u32 = u32::MAX;
/// Rows of a table.
pub const ROWS: u32 = 65_536;
/// Tables: two per pool.
pub const TABLES_MAX: u32 = 2048;
/// Index of the outer entry that no pool uses; replacing it waits for RCU.
pub const TABLE_BARRIER: u32 = TABLES_MAX;
/// Buckets of the VIP index, per bank.
pub const VIP_BUCKETS: u32 = 16_384;
/// Buckets of the service index, per bank.
pub const SERVICE_BUCKETS: u32 = 8_192;
/// Entries of a bucket. The agent changes the seed until no bucket overflows.
pub const BUCKET_ENTRIES: usize = 4;
/// Backends of all pools, per bank.
pub const BACKENDS_MAX: u32 = 16_384;
/// Counters by service.
pub const SERVICE_COUNTERS_MAX: u32 = 8_192;
/// Counters by service and backend.
pub const BACKEND_COUNTERS_MAX: u32 = 131_072;
/// Slots for the filters of services: at most half of them are in use for longer than a change takes.
pub const FILTERS_MAX: u32 = 2048;
/// Slots for counters by exit.
pub const EXITS_MAX: u32 = 64;
/// How many of them count ICMP errors that were sent to backends.
pub const ERRORS_MAX: u32 = crate::lb::icmp::ERRORS.len() as u32;
/// Blocks of such slots: interfaces whose indexes differ in their last six bits are told apart.
pub const EXIT_BLOCKS: u32 = 64;
/// Bytes of a VLAN tag.
pub const TAG: u32 = 4;
/// A hop that is not there.
pub const ABSENT: u16 = 0xffff;
/// Bits of a backend's index in its pool.
pub const INDEX_BITS: u32 = 14;
/// Indexes are below: one of all ones would be taken for [`ABSENT`].
pub const INDEXES_MAX: u16 = (1 << INDEX_BITS) - 1;

/// Values of maps, with the size of each.
macro_rules! values {
    ($($(#[$doc:meta])* $name:ident = $size:literal { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)* })*) => {
        $crate::abi::unpinned_values! { $($(#[$doc])* $name = $size { $($(#[$field_doc])* $field: $ty,)* })* }
        $($crate::layout::shape!($name { $($field: $ty,)* });)*
    };
}
pub(crate) use values;

/// The same of maps that end with their process: no other build ever reads them.
macro_rules! unpinned_values {
    ($($(#[$doc:meta])* $name:ident = $size:literal { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)* })*) => { $(
        $(#[$doc])*
        #[repr(C)]
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        pub struct $name { $($(#[$field_doc])* pub $field: $ty,)* }
        const _: () = assert!(core::mem::size_of::<$name>() == $size);
    )* };
}
pub(crate) use unpinned_values;

values! {
    /// The root.
    Root = 8 {
        /// Bank in use, 0 or 1: the only part that changes while packets come, and the only one that programs read. Before anything
        /// was applied [`NO_BANK`].
        bank: u32,
        /// [`ABI_VERSION`] of the agent that wrote it; zero: nothing was ever applied.
        abi_version: u32,
    }
    /// What all of a bank shares.
    Shared = 128 {
        /// Key schedule of the flow hash.
        flow: FlowKey,
        /// Seed of the VIP index.
        vip_seed: u64,
        /// Seed of the service index.
        service_seed: u64,
        /// Tunnel source, IPv6, as it lies on the wire.
        source_v6: [u64; 2],
        /// Goes into the tunnel header: [`crate::tunnel::common`].
        header: u64,
        /// Tunnel source, IPv4, as it lies on the wire.
        source_v4: u32,
        /// Goes into the tunnel header, with two bytes that are zero, as they lie on the wire.
        generation: u32,
        /// Packets that one CPU may answer by itself per jiffy.
        answers_per_jiffy: u16,
        /// Zero.
        reserved: u16,
        /// The same after a pause.
        answers_max: u32,
        /// Number of the bank that this is in.
        bank: u32,
        /// Not zero: some VIPs are prefixes.
        prefixes: u32,
    }
    /// An address that the datapath knows.
    VipEntry = 24 {
        /// The address, or the first one of a prefix, v4-mapped, as it lies on the wire.
        address: [u64; 2],
        /// See [`kind`].
        kind: u32,
        /// Number of the VIP, from 1.
        id: u32,
    }
    /// Entries are filled from the front; the first empty one ends the bucket.
    VipBucket = 96 {
        /// In no order.
        entries: [VipEntry; BUCKET_ENTRIES],
    }
    /// A service on one port, or on a range of them.
    ServiceEntry = 32 {
        /// See [`service_key`], [`ranges_key`] and [`fragments_key`]; zero: empty.
        key: u64,
        /// Index of the rows in the outer map, which the kernel reads here.
        table: u32,
        /// Counter of the service.
        service_counter: u32,
        /// Counter of the pool's first backend in this service.
        first_counter: u32,
        /// Index of the pool's first backend in the bank.
        first_backend: u16,
        /// See [`options`]; zero: nothing but the common way.
        options: u16,
        /// Headers and inner packet must fit it.
        tunnel_mtu: u16,
        /// Goes into the tunnel header with the bank's flags.
        tunnel_flags: u8,
        /// See [`encap`].
        encap: u8,
        /// First destination port.
        first_port: u16,
        /// Last destination port.
        last_port: u16,
    }
    /// Like [`VipBucket`]. Of the ranges with one key, narrower ones come first.
    ServiceBucket = 128 {
        /// Filled from the front.
        entries: [ServiceEntry; BUCKET_ENTRIES],
    }
    /// A backend and the way to it.
    ///
    /// A cache line: the one read for a packet's own backend is one miss at most.
    Backend = 64 {
        /// Its address, v4-mapped, as it lies on the wire.
        address: [u64; 2],
        /// The first eight bytes of MAC addresses, destination first, as they lie on the wire.
        macs_low: u64,
        /// What follows in its frames, as a number in the order of the wire: the rest of the MAC addresses, EtherType, and the first
        /// two bytes of the outer IP header, without DSCP and ECN.
        head: u64,
        /// Of an IPv4 address, as such a number: the end of the outer header, from the checksum on, which is all ones, to the first
        /// half of the destination.
        ends: u64,
        /// As such a number, what follows: of an IPv4 address the other half of the destination; the ports, of the source's what all
        /// flows share; length, zero; and of an IPv6 address the checksum, zero.
        udp: u64,
        /// Where the frame leaves.
        ifindex: u32,
        /// VLAN tag of its frames, EtherType first, as it lies on the wire; zero: none.
        vlan: u32,
        /// One's complement sum of the outer IPv4 header's words that no packet changes.
        checksum: u16,
        /// See [`backend_flags`].
        flags: u16,
        /// MTU of the way.
        mtu: u16,
        /// Bytes of its VLAN tag: [`TAG`] or none.
        tag_bytes: u16,
    }
    /// What a service has beyond the common way, where its [`ServiceEntry::options`] say so.
    ServiceExtra = 56 {
        /// Whose packets it takes.
        filter: Filter,
        /// How many of them.
        rates: Rates,
        /// Ticks of silence after which a flow in the flow table is forgotten; see [`crate::flow_table`].
        flow_timeout: u16,
        /// Zero.
        reserved: [u16; 3],
    }
    /// Packets and bytes of one exit. Bytes from the Ethernet header on.
    ExitCount = 16 {
        /// Packets.
        packets: u64,
        /// Bytes.
        bytes: u64,
    }
    /// What a service has had beside what the counters of its backends say: those are its own too, so that a packet is counted once.
    ServiceCount = 24 {
        /// SYNs.
        new_flows: u64,
        /// Packets to backends whose counters are another's by now. The agent keeps that, programs do not touch it.
        retired_packets: u64,
        /// Their bytes.
        retired_bytes: u64,
    }
    /// Traffic of a service and its backend as first hop.
    BackendCount = 16 {
        /// Packets.
        packets: u64,
        /// Bytes from the IP header on.
        bytes: u64,
    }
}

impl Root {
    /// That of a datapath to which nothing was ever applied.
    pub const EMPTY: Self = Self {
        bank: NO_BANK,
        abi_version: 0,
    };
}

impl Backend {
    /// Its IPv4 address, as it lies on the wire.
    #[inline(always)]
    pub fn v4(&self) -> u32 {
        let words: &[u32; 4] = zerocopy::transmute_ref!(&self.address);
        words[3]
    }

    /// The last four bytes of MAC addresses, as they lie on the wire.
    #[inline(always)]
    pub const fn macs_high(&self) -> u32 {
        ((self.head >> 32) as u32).to_be()
    }
}

shaped! {
    /// The rows of a pool, [`pack_row`]ed.
    ///
    /// What a packet waits for is the low part of its row: it says where the headers go, and how long they are. An eighth of a
    /// megabyte of those stays in the caches that are near; the other hops, written last, may come from afar.
    #[repr(C)]
    #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
    pub struct Table {
        low: [u16; ROWS as usize],
        all: [u64; ROWS as usize],
    }
}

/// A [`Table`] as the map has it: Linux 6.1 takes no map that was made without type information, as the agent makes them, for one
/// of a struct.
pub type TableWords = [u64; size_of::<Table>() / 8];

impl Table {
    /// The same words.
    #[inline(always)]
    pub fn of(words: &TableWords) -> &Self {
        zerocopy::transmute_ref!(words)
    }

    /// A row.
    #[inline(always)]
    pub fn row(&self, number: u32) -> Row {
        let number = (number & (ROWS - 1)) as usize;
        Row {
            low: self.low[number].into(),
            all: self.all[number],
        }
    }

    /// All rows, in their order.
    pub fn rows(&self) -> &[u64] {
        &self.all
    }

    /// Replaces a row that no packet reads.
    pub fn set(&mut self, number: u32, row: u64) {
        let number = (number & (ROWS - 1)) as usize;
        self.low[number] = row as u16;
        self.all[number] = row;
    }
}

impl VipBucket {
    /// The entry of an address.
    #[inline(always)]
    pub fn find(&self, address: [u64; 2]) -> Option<&VipEntry> {
        for entry in &self.entries {
            // No packet is for the unspecified address, which is that of an empty entry.
            if entry.address[1] == address[1] && entry.address[0] == address[0] {
                return Some(entry);
            }
            if entry.kind == kind::EMPTY {
                return None;
            }
        }
        None
    }
}

shaped! {
    /// What a CPU counts, and nobody else writes: one lookup for a packet, whatever of it is counted.
    #[repr(C)]
    #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
    pub struct Counts {
        /// By [`exit_counter`] and [`error_counter`].
        pub exits: [ExitCount; (EXIT_BLOCKS * EXITS_MAX) as usize],
        /// By [`ServiceEntry::service_counter`].
        pub services: [ServiceCount; SERVICE_COUNTERS_MAX as usize],
        /// From [`ServiceEntry::first_counter`] on.
        pub backends: [BackendCount; BACKEND_COUNTERS_MAX as usize],
    }
}

/// The agent maps one CPU's at a time, and pages have up to 64 KiB.
const _: () = assert!(size_of::<Counts>().is_multiple_of(64 << 10));

macro_rules! add {
    ($($name:ident { $($field:ident),* })*) => { $(
        impl core::ops::Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self { $($field: self.$field + other.$field,)* }
            }
        }
    )* };
}

add! {
    ExitCount { packets, bytes }
    BackendCount { packets, bytes }
    FlowCount { known, noted, entered, replaced, evicted, expired, released }
}

shaped! {
    /// All that must agree in one packet, but for the rows.
    #[repr(C)]
    #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
    pub struct Bank {
        /// Key, seeds, tunnel source.
        pub shared: Shared,
        /// Where the sources are that no client has.
        pub sources: Sources,
        /// A bit for every bucket of the VIP index that is not empty, so that looking for what is in none costs no cache miss.
        pub occupied: [u64; VIP_BUCKETS as usize / 64],
        /// Backends, pool by pool. So far in front their place is a part of an instruction that reads them: a packet reads up to five.
        pub backends: [Backend; BACKENDS_MAX as usize],
        /// VIPs and own addresses, by [`vip_bucket`] of their [`prefix::place`].
        pub vips: [VipBucket; VIP_BUCKETS as usize],
        /// Services, by [`service_bucket`].
        pub services: [ServiceBucket; SERVICE_BUCKETS as usize],
        /// By the number of the service's counter.
        pub extras: [ServiceExtra; SERVICE_COUNTERS_MAX as usize],
        /// Lengths of VIPs that are prefixes.
        pub prefixes: prefix::Lengths,
    }
}

/// Linux allocates no larger copy of a map value for a system call (`KMALLOC_MAX_SIZE`).
const _: () = assert!(size_of::<Bank>() <= 4 << 20);

impl ServiceEntry {
    /// Whether it takes a packet with this [`service_key`].
    #[inline(always)]
    fn takes(&self, key: u64) -> bool {
        let port = key as u16;
        let in_range = self.first_port <= port && port <= self.last_port;
        self.key == key || self.key == ranges_key(key) && in_range
    }
}

impl ServiceBucket {
    /// Place of the first entry with the key of `ranges` around this port; any other where there is none.
    #[inline(always)]
    fn narrowest<P: Packet>(&self, ranges: u64, port: u16) -> u64 {
        let port = u64::from(port);
        let mut place = 0;
        for (number, entry) in self.entries.iter().enumerate().rev() {
            let below = port.wrapping_sub(u64::from(entry.first_port));
            let above = u64::from(entry.last_port).wrapping_sub(port);
            let outside = (below | above) >> 63;
            let takes = P::settle(is_zero::<P>(entry.key ^ ranges | outside).wrapping_neg());
            place ^= (place ^ number as u64) & takes;
        }
        place
    }
}

impl Bank {
    /// An address mixed with the bank's seed: its place in both indexes.
    #[inline(always)]
    pub const fn mix(&self, address: [u64; 2]) -> u64 {
        mix(self.shared.vip_seed, address)
    }

    /// What the datapath knows about an address, with its [`Self::mix`].
    #[inline(always)]
    pub fn find_address(&self, address: [u64; 2], mixed: u64) -> Option<&VipEntry> {
        self.occupied_bucket(mixed)?.find(address)
    }

    /// The bucket of an address or a prefix that is mixed so; none where it is empty.
    #[inline(always)]
    pub fn occupied_bucket(&self, mixed: u64) -> Option<&VipBucket> {
        let index = vip_bucket(mixed);
        let occupied = self.occupied[index as usize / 64] >> (index % 64) & 1 != 0;
        occupied.then(|| &self.vips[index as usize])
    }

    /// The same for a packet's destination, which mostly is known: without a look at the bits before.
    #[inline(always)]
    pub fn find_destination(&self, address: [u64; 2], mixed: u64) -> Option<&VipEntry> {
        self.vips[vip_bucket(mixed) as usize].find(address)
    }

    /// The entry with this very key, with the [`Self::mix`] of its VIP.
    #[inline(always)]
    pub fn find_exact(&self, key: u64, mixed: u64) -> Option<&ServiceEntry> {
        let index = service_bucket(self.shared.service_seed, mixed, key);
        let mut entries = self.services[index as usize].entries.iter();
        entries.find(|entry| entry.key == key)
    }

    /// The service of a packet with this [`service_key`], with the [`Self::mix`] of its VIP: that of its port, or the narrowest
    /// range around it.
    ///
    /// Mostly it is the first of its bucket. The others are found without a branch for each.
    #[inline(always)]
    pub fn find_service<P: Packet>(&self, key: u64, mixed: u64) -> Option<&ServiceEntry> {
        let exact = service_bucket(self.shared.service_seed, mixed, key) as usize;
        let [first, second, third, fourth] = &self.services[exact].entries;
        if first.key == key {
            return Some(first);
        }
        let differences = [second, third, fourth].map(|entry| entry.key ^ key);
        let [second, third, fourth] = differences.map(is_zero::<P>);
        let place = second + 2 * third + 3 * fourth;
        let (bucket, place) = if place != 0 {
            (exact, place)
        } else {
            let ranges = ranges_key(key);
            let bucket = service_bucket(self.shared.service_seed, mixed, ranges) as usize;
            (
                bucket,
                self.services[bucket].narrowest::<P>(ranges, key as u16),
            )
        };
        let (bucket, place) = (P::settle(bucket as u64), P::settle(place));
        let bucket = &self.services[bucket as usize & (SERVICE_BUCKETS as usize - 1)];
        let entry = &bucket.entries[place as usize & (BUCKET_ENTRIES - 1)];
        entry.takes(key).then_some(entry)
    }

    /// What a service has beyond the common way; the agent gives out only counters that there are.
    #[inline(always)]
    pub fn extra(&self, counter: u32) -> &ServiceExtra {
        &self.extras[(counter & (SERVICE_COUNTERS_MAX - 1)) as usize]
    }

    /// A backend; the agent gives out only indexes that there are.
    #[inline(always)]
    pub fn backend(&self, index: u32) -> &Backend {
        &self.backends[(index & (BACKENDS_MAX - 1)) as usize]
    }
}

/// Values of [`VipEntry::kind`].
pub mod kind {
    /// No entry.
    pub const EMPTY: u32 = 0;
    /// A VIP.
    pub const VIP: u32 = 1;
    /// A node's or backend's own address: traffic to it is not ours, traffic from it to a VIP is refused.
    pub const OWN: u32 = 2;

    /// A VIP that is a prefix of so many bits; one of IPv4 has 96 more than it is written with.
    pub const fn prefix(bits: u32) -> u32 {
        PREFIX | bits << 8
    }

    /// Whether entries of this kind are prefixes.
    pub const fn is_prefix(kind: u32) -> bool {
        kind & 0xff == PREFIX
    }

    /// Whether they are VIPs.
    pub const fn is_vip(kind: u32) -> bool {
        kind == VIP || is_prefix(kind)
    }

    /// Bits of a prefix of this kind.
    pub const fn length(kind: u32) -> u32 {
        kind >> 8
    }

    const PREFIX: u32 = 3;
}

/// Values of [`ServiceEntry::encap`].
pub mod encap {
    /// GUE with every hop of the row.
    pub const ROWS: u8 = 0;
    /// GUE without private data.
    pub const GUE: u8 = 1;
    /// IP in IP.
    pub const IP: u8 = 2;
    /// None: the frame goes to the backend's MAC address.
    pub const L2: u8 = 3;
}

/// Bits of [`ServiceEntry::options`]: what a service has beyond the common way.
pub mod options {
    /// The row is that of source, destination and protocol.
    pub const HASH_SRC_DST: u16 = 0x0001;
    /// The row is that of the source alone.
    pub const HASH_SRC: u16 = 0x0002;
    /// It does not take everybody's packets.
    pub const FILTER: u16 = 0x0004;
    /// It does not take any number of them.
    pub const RATES: u16 = 0x0008;
    /// Flows go where the node remembers that they went.
    pub const FLOW_TABLE: u16 = 0x0010;
    /// It takes packets of known flows only.
    pub const ATTACK: u16 = 0x0020;
}

/// Bits of [`Backend::flags`].
pub mod backend_flags {
    /// The next hop is resolved: packets can be sent.
    pub const REACHABLE: u16 = 0x01;
    /// Verdict of the health checks.
    pub const UP: u16 = 0x02;
    /// A verdict was given at all.
    pub const JUDGED: u16 = 0x04;
    /// It is this box itself.
    pub const LOCAL: u16 = 0x08;
    /// It is on the link, with no router between.
    pub const ON_LINK: u16 = 0x10;
    /// It has been unreachable as a host for long, or the operator has disabled it: no flow can live there.
    pub const GONE: u16 = 0x20;
}

/// Key of a service: VIP number, protocol, port.
#[inline(always)]
pub const fn service_key(vip: u32, protocol: u8, port: u16) -> u64 {
    (vip as u64) << 32 | (protocol as u64) << 16 | port as u64
}

/// Key of the ranges of ports that a packet with this [`service_key`] may be in.
#[inline(always)]
pub const fn ranges_key(key: u64) -> u64 {
    // No packet has such a key: 0 is a port too.
    key & !0xffff | 1 << 24
}

/// Key of the service that takes fragments to the VIP by the protocol of this [`service_key`].
#[inline(always)]
pub const fn fragments_key(key: u64) -> u64 {
    key & !0xffff | 1 << 25
}

/// Counter of an exit, for packets that came in by this interface.
#[inline(always)]
pub const fn exit_counter(ifindex: u32, exit: u32) -> u32 {
    (ifindex & (EXIT_BLOCKS - 1)) * EXITS_MAX + exit
}

/// Counter of an ICMP error that was sent to a backend, by its place in [`crate::lb::icmp::ERRORS`]: they have the last slots of
/// an interface's block.
#[inline(always)]
pub const fn error_counter(ifindex: u32, error: u32) -> u32 {
    exit_counter(ifindex, EXITS_MAX - ERRORS_MAX + error)
}

/// Number of the VIP in a [`service_key`].
#[inline(always)]
pub const fn service_vip(key: u64) -> u32 {
    (key >> 32) as u32
}

/// An address and a seed, mixed.
#[inline(always)]
pub const fn mix(seed: u64, address: [u64; 2]) -> u64 {
    let word = address[0].wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ address[1] ^ seed;
    // A product carries upwards only, and the last octet lies on top.
    (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// What stands for the [`mix`]ed address in the service index where the VIP with this number is a prefix.
#[inline(always)]
pub const fn prefix_mixed(id: u32) -> u64 {
    (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Bucket of a [`mix`]ed address in the VIP index.
#[inline(always)]
pub const fn vip_bucket(mixed: u64) -> u32 {
    (mixed >> 40) as u32 & (VIP_BUCKETS - 1)
}

/// Bucket of a [`service_key`] in the service index. The [`mix`]ed address stands for the VIP's number: both indexes are read
/// at once, not one after the other.
#[inline(always)]
pub const fn service_bucket(seed: u64, mixed: u64, key: u64) -> u32 {
    let word = mixed ^ seed ^ (key as u32 as u64);
    (word.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 40) as u32 & (SERVICE_BUCKETS - 1)
}

/// A row of up to four hops in a word. The low 16 bits are [`ABSENT`] where there are none, or else the first hop and above it how
/// many follow; the other hops have 16 bits each.
#[inline(always)]
pub const fn pack_row([first, second, third, fourth]: [u16; 4]) -> u64 {
    let further = (second != ABSENT) as u16 + (third != ABSENT) as u16 + (fourth != ABSENT) as u16;
    let low = match first {
        ABSENT => ABSENT,
        index => index & INDEXES_MAX | further << INDEX_BITS,
    };
    low as u64 | (second as u64) << 16 | (third as u64) << 32 | (fourth as u64) << 48
}

/// A row, and its low part by itself, as a [`Table`] has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    low: u64,
    all: u64,
}

impl Row {
    /// Of a [`pack_row`]ed one.
    #[inline(always)]
    pub const fn of(packed: u64) -> Self {
        Self {
            low: packed & 0xffff,
            all: packed,
        }
    }

    /// As [`pack_row`] makes it.
    #[inline(always)]
    pub const fn packed(self) -> u64 {
        self.all
    }

    /// Whether it has no hop.
    #[inline(always)]
    pub const fn is_absent(self) -> bool {
        self.low == ABSENT as u64
    }

    /// Hops of a row that has any.
    #[inline(always)]
    pub const fn hop_count(self) -> u32 {
        (self.low as u32 >> INDEX_BITS) + 1
    }

    /// A hop of a row that has it: the index of a backend in the pool.
    #[inline(always)]
    pub const fn hop(self, number: u32) -> u32 {
        match number {
            0 => self.low as u32 & INDEXES_MAX as u32,
            _ => (self.all >> (16 * number)) as u32 & 0xffff,
        }
    }
}

/// Metadata before a packet that marks it as a node's own probe. Nothing on the wire can set it.
pub const PROBE_MARK: u64 = 0x616e_796c_6270_726f;

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    #[test]
    fn a_row_says_how_many_hops_it_has() {
        for (hops, count) in [
            ([5, ABSENT, ABSENT, ABSENT], 1),
            ([5, 6, ABSENT, ABSENT], 2),
            ([5, 0, 7, ABSENT], 3),
            ([INDEXES_MAX - 1, 6, 7, INDEXES_MAX - 1], 4),
        ] {
            let row = Row::of(pack_row(hops));
            assert!(!row.is_absent());
            assert_eq!(row.hop_count(), count);
            for number in 0..count {
                assert_eq!(row.hop(number), u32::from(hops[number as usize]));
            }
        }
        assert_eq!(pack_row([ABSENT; 4]), u64::MAX);
        assert!(Row::of(u64::MAX).is_absent());
    }

    #[test]
    fn a_table_holds_every_bit_of_its_rows() {
        let mut table = Table::new_zeroed();
        let row = |number: u32| u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..ROWS).for_each(|number| table.set(number, row(number)));
        assert!(table.rows().iter().copied().eq((0..ROWS).map(row)));
        assert!((0..ROWS).all(|number| table.row(number) == Row::of(row(number))));
    }
}
