//! Rows: which backends a flow may live on. Weighted rendezvous hashing with bounded loads, and previous inputs as
//! alternates. Pure: integer maths only, the same bytes on every CPU and in every build.
//!
//! | file | holds |
//! |---|---|
//! | [`input`] | what a table is a function of: backends, weights, administrative states |
//! | [`view`] | health as this node sees it; never part of an input |
//! | [`history`] | the inputs that live flows may still need |
//! | `sip`, `keys`, `log2` | the keyed hash, its keys, the logarithm |
//! | `rank` | the best backends of each row |
//! | `owner` | the owner of each row: best rank still under its cap |
//! | `hops` | owner, previous owners and ranks to the hops of a row |
//! | [`builder`] | joins them and keeps what the next build can use again |
//! | [`table`] | the result: hops, digest, comparisons |
//!
//! # The format, version 1
//!
//! Nodes that differ in any of this send one flow to two backends, so it is fixed, and [`VERSION`] is in the digest.
//!
//! 1. **Identity.** A backend is its canonical 16-byte address, IPv4 as v4-mapped (`::ffff:a.b.c.d`); never a name, a
//!    position or a slot. All lists are in ascending order of identity.
//! 2. **Keys.** `subkey(K, message)` is two SipHash-2-4 words under the key `K`, `SipHash(K, 0x00 || message)` and
//!    `SipHash(K, 0x01 || message)`. From the node's 128-bit key (two little-endian words): `rank = subkey(key, "anylb rows
//!    rank")`, `walk = subkey(key, "anylb rows walk")`, `digest = subkey(key, "anylb rows digest")`. Each backend has
//!    `subkey(rank, identity)`.
//! 3. **Cost.** `h = SipHash-1-3(backend's key, row as 4 bytes, little endian)`, `u = (h + 1) / 2^64`, and the cost of a
//!    backend in a row is `floor(-log2(u) * 2^57 / weight)`, the logarithm being the integer procedure in `log2`. The
//!    lowest cost ranks first, so a backend is first in a share of the rows that is its share of the weights; equal costs
//!    rank by identity.
//! 4. **Walk.** Rows are visited in ascending order of `(SipHash-1-3(walk, row as 4 bytes), row)`.
//! 5. **Owner.** Each visited row goes to the best-ranked *active* backend that owns fewer than its cap,
//!    `ceil(1.05 * rows * weight / sum of active weights)`. Where no backend is active, all count as active. Health has no
//!    part in it.
//! 6. **Set of hops.** Owner; then the newest two distinct owners of this row under previous inputs; then the other
//!    backends of the input by rank, whatever their health. Backends that are gone are left out. At most `hops` of them.
//! 7. **First hop.** The owner where it is up. Else the best-ranked of the set that is active, up and under its cap among
//!    those up; else the best-ranked of the set that is active and up; else, outside the set, the best-ranked that is
//!    active, up and under its cap, in place of the set's last. The others follow in the order of 6, down ones last.
//!
//! So a verdict moves the rows of that backend and no other, and only permutes the set: whichever of two views of health a
//! flow was born under, its backend is among the hops of the other (see [`view`]).
#![forbid(unsafe_code)]

pub mod builder;
pub mod history;
mod hops;
pub mod input;
mod keys;
mod log2;
mod owner;
mod rank;
mod sip;
pub mod table;
pub mod view;

pub use builder::{Builder, build};
pub use history::History;
pub use input::{Input, Member};
pub use table::Table;
pub use view::View;

/// Rows of a table.
pub const ROWS: usize = 65_536;
/// Most hops of a row.
pub const HOPS_MAX: usize = 4;
/// No backend at this place of a row.
pub const ABSENT: u16 = 0xffff;
/// Version of the algorithm that turns an input into owners; part of the digest.
pub const VERSION: u8 = 1;
/// Version of the flow hash that finds the row of a packet; part of the digest.
pub const FLOW_HASH_VERSION: u8 = 1;
/// Most previous inputs that [`build`] looks at, newest first. Each costs 128 KiB and a re-ranking when it is new.
pub const PREVIOUS_MAX: usize = 8;
/// Most owners under previous inputs that one row keeps as alternates.
pub const PREVIOUS_OWNERS_MAX: usize = 2;
