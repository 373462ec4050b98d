//! Which backend a flow has: a table that one CPU keeps for itself, for pools whose backends cannot pass packets on.
//!
//! A bucket is a cache line. Its place and the fingerprints in it come from a hash under a key of its own: who does not know the key can
//! aim at no bucket, and meets the fingerprint of another flow once in a thousand million.
//!
//! ```text
//!  0   5 fingerprints, zero: no flow          32  5 backends, numbered as in their pool
//!  20  3 notes: flows seen once               42  5 identities of these
//!                                             52  5 ticks of the last packet     62  settled, by bit
//! ```
//!
//! A flow's first packet leaves a note, which the next ones of the bucket push out; its second makes the entry. So floods of flows of
//! one packet write notes alone. A SYN that opens a connection never comes here: it goes by the row.
//!
//! Entries are of two generations. One is young until its flow was seen in a second tick, and again when its flow closes or was silent
//! for [`GENERATION`] ticks. A new entry takes a place that is empty, else that of the young entry that was silent longest, else that of
//! the settled one: it always has one, and flows of a moment push each other out, not those that stay.
//!
//! A tick is about a second. Times are of 16 bits: an entry that nobody asked for in 18 hours may be taken for a recent one.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::values;
use crate::layout::shaped;

/// Entries of a bucket.
pub const ENTRIES: usize = 5;
/// Notes of a bucket.
const NOTES: usize = 3;
/// After so many silent ticks a settled entry is young again.
pub const GENERATION: u16 = 64;
/// After so many a flow that was closed is forgotten, whatever its service says: its client may use the ports again.
pub const CLOSED: u16 = 10;

/// No timeout is longer, or ticks would not tell a silent flow from one to come.
pub const TIMEOUT_MAX: u16 = 0x7fff;

/// A tick is so many jiffies, as a power of two: 0.85 to 1.28 seconds at the rates that kernels are built with.
pub const fn tick_shift(jiffies_per_sec: u32) -> u32 {
    match (jiffies_per_sec as u64 * 4 / 3).checked_ilog2() {
        Some(shift) => shift,
        None => 0,
    }
}

shaped! {
    /// Value of the map.
    #[repr(C)]
    #[derive(
        Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
    )]
    pub struct Bucket {
        fingerprints: [u32; ENTRIES],
        notes: [u32; NOTES],
        backends: [u16; ENTRIES],
        identities: [u16; ENTRIES],
        seen: [u16; ENTRIES],
        /// Bit by bit of each entry: it is settled; from [`CLOSING`] on: its flow is closed.
        states: u16,
    }
}

const _: () = assert!(size_of::<Bucket>() == 64);
/// First bit of the closed ones.
const CLOSING: usize = 8;

/// A backend of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Number in its pool, which another has once this one has left.
    pub index: u16,
    /// See [`identity`].
    pub identity: u16,
}

/// A packet that a flow's client sent.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// See [`Place`].
    pub fingerprint: u32,
    /// The present tick.
    pub now: u16,
    /// Ticks of silence after which a flow of the service is another.
    pub timeout: u16,
    /// It closes the flow: FIN or RST.
    pub closes: bool,
}

/// Why nobody has a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It has no entry.
    New,
    /// Its entry's time is up.
    Expired(usize),
    /// Its backend is not there any more.
    Released(usize),
}

/// What became of a [`Sight`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The flow has an entry, and its backend the packet.
    Known,
    /// Its first packet, or the first one after its note was pushed out: it goes by the row.
    Noted,
    /// Its second: it has an entry from now on, in a place that was free.
    Entered,
    /// The same, in the place of a flow that was silent for a generation, or closed.
    Replaced,
    /// The same, in the place of a flow that may need it.
    Evicted,
    /// Its entry's time was up: it goes by the row, and keeps the place.
    Expired,
    /// The same where its backend is not there any more.
    Released,
}

values! {
    /// Packets of one CPU by what became of them, in the order of [`Outcome`].
    FlowCount = 56 {
        /// [`Outcome::Known`].
        known: u64,
        /// [`Outcome::Noted`].
        noted: u64,
        /// [`Outcome::Entered`]: so many places are taken, since none is ever given up.
        entered: u64,
        /// [`Outcome::Replaced`].
        replaced: u64,
        /// [`Outcome::Evicted`].
        evicted: u64,
        /// [`Outcome::Expired`].
        expired: u64,
        /// [`Outcome::Released`].
        released: u64,
    }
}

impl FlowCount {
    /// Counts one more.
    #[inline(always)]
    pub fn add(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Known => &mut self.known,
            Outcome::Noted => &mut self.noted,
            Outcome::Entered => &mut self.entered,
            Outcome::Replaced => &mut self.replaced,
            Outcome::Evicted => &mut self.evicted,
            Outcome::Expired => &mut self.expired,
            Outcome::Released => &mut self.released,
        };
        *count += 1;
    }
}

/// Where a flow is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the bucket, of those of the CPU.
    pub bucket: u32,
    /// Never zero.
    pub fingerprint: u32,
}

impl Place {
    /// Of a flow with this hash, which must be keyed apart from that of its row, in a table of so many buckets.
    #[inline(always)]
    pub const fn new(hash: u64, buckets: u32) -> Self {
        let fingerprint = hash as u32;
        Self {
            bucket: (((hash >> 32) * buckets as u64) >> 32) as u32,
            fingerprint: if fingerprint == 0 { 1 } else { fingerprint },
        }
    }
}

/// What tells a backend from the next one with its number: a hash of its address.
#[inline(always)]
pub const fn identity(address: [u64; 2]) -> u16 {
    (crate::abi::mix(0, address) >> 48) as u16
}

impl Bucket {
    /// Who has the flow of a packet, and notes that it was seen. `keeps`: whether that backend may keep the flow.
    #[inline(always)]
    pub fn see(
        &mut self,
        sight: &Sight,
        keeps: impl FnOnce(Member) -> bool,
    ) -> Result<Member, Unknown> {
        let Some(at) = self.find(sight.fingerprint) else {
            return Err(Unknown::New);
        };
        let silent = sight.now.wrapping_sub(self.seen[at]);
        if silent > self.timeout(at, sight.timeout) {
            return Err(Unknown::Expired(at));
        }
        let member = self.member(at);
        if !keeps(member) {
            return Err(Unknown::Released(at));
        }
        if silent != 0 {
            self.seen[at] = sight.now;
            self.states |= 1 << at;
        }
        if sight.closes {
            self.close(at);
        }
        Ok(member)
    }

    /// Who gets a flow that nobody has: whoever has its row.
    #[inline(always)]
    pub fn meet(&mut self, sight: &Sight, unknown: Unknown, first: Member) -> Outcome {
        let (at, outcome) = match unknown {
            Unknown::Expired(at) => (at, Outcome::Expired),
            Unknown::Released(at) => (at, Outcome::Released),
            Unknown::New => {
                if !self.was_noted(sight.fingerprint) {
                    return Outcome::Noted;
                }
                self.cheapest(sight.now)
            }
        };
        self.enter(at, sight, first);
        outcome
    }

    /// Who has a flow, where it has an entry.
    #[inline(always)]
    pub fn look(&self, sight: &Sight) -> Option<Member> {
        let at = self.find(sight.fingerprint)?;
        let silent = sight.now.wrapping_sub(self.seen[at]);
        (silent <= self.timeout(at, sight.timeout)).then(|| self.member(at))
    }

    /// Ticks since the last packet of a flow, where it has an entry.
    pub fn silent(&self, sight: &Sight) -> Option<u16> {
        let at = self.find(sight.fingerprint)?;
        Some(sight.now.wrapping_sub(self.seen[at]))
    }

    /// Entries in use, the silent ones too.
    pub fn entries(&self) -> usize {
        self.fingerprints
            .iter()
            .filter(|print| **print != 0)
            .count()
    }

    #[inline(always)]
    fn find(&self, fingerprint: u32) -> Option<usize> {
        (0..ENTRIES).find(|&at| self.fingerprints[at] == fingerprint)
    }

    /// Of an entry, where the service's is `timeout`.
    #[inline(always)]
    fn timeout(&self, at: usize, timeout: u16) -> u16 {
        let is_closed = self.states >> (at + CLOSING) & 1 != 0;
        if is_closed && timeout > CLOSED {
            CLOSED
        } else {
            timeout
        }
    }

    #[inline(always)]
    fn member(&self, at: usize) -> Member {
        Member {
            index: self.backends[at],
            identity: self.identities[at],
        }
    }

    /// Whether there was a note of the flow; if not, there is one now.
    #[inline(always)]
    fn was_noted(&mut self, fingerprint: u32) -> bool {
        match self.notes.iter_mut().find(|note| **note == fingerprint) {
            Some(note) => {
                *note = 0;
                true
            }
            None => {
                self.notes = [fingerprint, self.notes[0], self.notes[1]];
                false
            }
        }
    }

    /// The place that a new entry takes, and what becomes of the flow that has it.
    ///
    /// Without a branch for what an entry is: the verifier would follow every way through all of them.
    #[inline(always)]
    fn cheapest(&self, now: u16) -> (usize, Outcome) {
        let mut found = self.cheapness(0, now);
        for at in 1..ENTRIES {
            let cheapness = self.cheapness(at, now);
            if cheapness > found {
                found = cheapness;
            }
        }
        let outcome = if found >= EMPTY {
            Outcome::Entered
        } else if found >= SILENT {
            Outcome::Replaced
        } else {
            Outcome::Evicted
        };
        ((found & PLACE) as usize, outcome)
    }

    /// How little an entry is worth: empty, silent or closed, young, and the ticks of silence count in this order. The place is in
    /// the last bits.
    #[inline(always)]
    fn cheapness(&self, at: usize, now: u16) -> u32 {
        let silence = u32::from(now.wrapping_sub(self.seen[at]));
        let is_empty = 1 - ((u64::from(self.fingerprints[at]) + 0xffff_ffff) >> 32) as u32;
        let generations = silence / u32::from(GENERATION);
        let is_silent = (generations + 0xffff) >> 16;
        let is_closed = u32::from(self.states) >> (at + CLOSING) & 1;
        let is_young = !u32::from(self.states) >> at & 1;
        let kind = is_empty * EMPTY + (is_silent | is_closed) * SILENT + is_young * YOUNG;
        kind | (silence << PLACE.count_ones()) | at as u32
    }

    #[inline(always)]
    fn enter(&mut self, at: usize, sight: &Sight, first: Member) {
        if at >= ENTRIES {
            return;
        }
        self.fingerprints[at] = sight.fingerprint;
        self.backends[at] = first.index;
        self.identities[at] = first.identity;
        self.seen[at] = sight.now;
        self.states &= !((1 << at) | (1 << (at + CLOSING)));
        if sight.closes {
            self.close(at);
        }
    }

    #[inline(always)]
    fn close(&mut self, at: usize) {
        self.states = (self.states & !(1 << at)) | (1 << (at + CLOSING));
    }
}

/// Bits of [`Bucket::cheapness`], above the ticks of silence and the place.
const PLACE: u32 = 7;
const YOUNG: u32 = 1 << 20;
const SILENT: u32 = 1 << 21;
const EMPTY: u32 = 1 << 22;

#[cfg(test)]
mod tests;
