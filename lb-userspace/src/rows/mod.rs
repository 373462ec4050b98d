//! Rows: which backends a flow may live on. Weighted rendezvous hashing with bounded loads, and previous inputs as
//! alternates. Pure: integer maths only, the same bytes on every CPU and in every build.
//!
//! | file | holds |
//! |---|---|
//! | [`input`] | what a table is a function of: backends, weights, administrative states |
//! | [`view`] | health as this node sees it; never part of an input |
//! | [`history`] | the inputs that live flows may still need |
//! | `sip`, `keys`, `score`, `log2` | keyed hash, its keys, the number each backend draws in a row, the logarithm |
//! | `rank` | the best backends of each row |
//! | `column` | a backend for each row, in little memory |
//! | `owner` | the owner of each row: best rank still under its cap |
//! | `hops` | owner, previous owners and ranks to the hops of a row |
//! | [`change`] | what a change does to the flows that live in the rows |
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
//! 3. **Cost.** A backend draws a 64-bit number in each row: the upper 16 bits are a secret permutation of the row numbers,
//!    the lower 48 the upper ones of `SipHash-1-3(backend's key, row as 4 bytes, little endian)`; see `score`. With `u` the
//!    draw plus one over `2^64`, its cost is `floor(floor(-log2(u) * 2^57) / weight)`, the logarithm being the integer
//!    procedure in `log2`. The lowest cost ranks first, so a backend is first in a share of the rows that is its share of
//!    the weights; equal costs rank by identity.
//! 4. **Walk.** Rows are visited in ascending order of `(SipHash-1-3(walk, row as 4 bytes), row)`.
//! 5. **Owner.** Each visited row goes to the best-ranked *active* backend that owns fewer than its cap,
//!    `ceil(1.05 * rows * weight / sum of active weights)`. Where no backend is active, all count as active. Health has no
//!    part in it.
//! 6. **Set of hops.** The owner; then the row's owners under previous inputs, newest first; then the newest heir under a
//!    previous input (who had the row if its owner was down: the best-ranked other active one); then the other backends of
//!    the input by rank, whatever their health. None twice, backends that are gone left out, at most `hops`.
//! 7. **First hop.** The owner where it is up. Else the best-ranked of the set that is active, up and under its cap among
//!    those up; else the best-ranked of the set that is active and up; else, outside the set, the best-ranked that is
//!    active, up and under its cap, in place of the set's last. The others follow in the order of 6, down ones last.
//!
//! # What follows
//!
//! - A verdict moves the rows of that backend and no other.
//! - While one of a row's set is active and up, verdicts only permute the set. So whichever of two views a flow was born
//!   under, its backend is among the hops under the other, whatever the two disagree about. Rows whose whole set is down
//!   are the exception: with half of ten backends down 2.4 % of the rows.
//! - One change of the input leaves every owner under the input before it among the hops, whatever the change; so do
//!   several, as long as a row had no more than four owners. Who had the row of a down backend is kept through a change as
//!   well, if it was its heir: one backend of ten down, then forty, loses 7.5 % of the rows without the heir and none with
//!   it.
//! - 1 to 5 hold the owners and the digest; 6 and 7 may change without changing either, but two nodes should not differ in
//!   them for long.
#![forbid(unsafe_code)]

pub mod builder;
pub mod change;
mod column;
pub mod history;
mod hops;
pub mod input;
mod keys;
mod log2;
mod owner;
mod rank;
mod score;
mod sip;
pub mod table;
#[cfg(test)]
mod tests;
pub mod view;

pub use builder::{Builder, build};
pub use change::{Basis, Change, Uncovered};
pub use history::History;
pub use input::{Input, Member};
pub use table::Table;
pub use view::View;

/// Rows of a table.
pub const ROWS: usize = lb_common::abi::ROWS as usize;
/// Most hops of a row; the tunnel's.
pub const HOPS_MAX: usize = lb_common::tunnel::HOPS_MAX;
/// No backend at this place of a row; the datapath's.
pub const ABSENT: u16 = lb_common::abi::ABSENT;
/// Version of the algorithm that turns an input into owners; part of the digest.
pub const VERSION: u8 = 1;
/// Most previous inputs that [`build`] looks at, newest first. Each costs 256 KiB, and time when it is new.
pub const PREVIOUS_MAX: usize = 8;
