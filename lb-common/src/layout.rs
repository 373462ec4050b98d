//! What the bytes in pinned maps mean, as one number: builds that have the same read each other's maps.
//!
//! Sizes are not enough: two fields that change places, or an exit that gets another number, are read as something else without
//! any error. So [`FINGERPRINT`] is computed from the types (names, offsets and types of their fields), the limits, the numbers that
//! stand for something, the names of what is counted in the order of their counters, and what the functions that find a place return.
//! What none of these show is for [`ABI_VERSION`].

use core::mem::size_of;

use crate::abi::{self, ABI_VERSION, backend_flags, encap, kind, options};
use crate::filter::{self, Element, Verdict};
use crate::flow_table::{self, Bucket, FlowCount};
use crate::lb::icmp::ERRORS;
use crate::prefix::{self, LENGTHS_MAX};
use crate::rate::{self, counts};
use crate::{lb, tunnel};

/// A type of values of maps, with how it lies in memory and what its parts are called as a number.
pub trait Shape {
    /// Differs where any of that differs.
    const SHAPE: u64;
}

macro_rules! integers {
    ($($ty:ty)*) => { $(
        impl Shape for $ty {
            const SHAPE: u64 = text(START, stringify!($ty));
        }
    )* };
}

integers! { u8 u16 u32 u64 }

impl<T: Shape, const N: usize> Shape for [T; N] {
    const SHAPE: u64 = numbers(START, &[T::SHAPE, N as u64]);
}

/// [`Shape`] of a struct whose fields have one.
macro_rules! shape {
    ($name:ident { $($field:ident: $ty:ty,)* }) => {
        impl $crate::layout::Shape for $name {
            const SHAPE: u64 = $crate::layout::of_struct(core::mem::size_of::<Self>(), &[
                $((stringify!($field), core::mem::offset_of!(Self, $field), <$ty as $crate::layout::Shape>::SHAPE),)*
            ]);
        }
    };
}
pub(crate) use shape;

/// A struct with its [`Shape`].
macro_rules! shaped {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident { $($(#[$doc:meta])* $visible:vis $field:ident: $ty:ty,)* }
    ) => {
        $(#[$attribute])*
        pub struct $name { $($(#[$doc])* $visible $field: $ty,)* }
        $crate::layout::shape!($name { $($field: $ty,)* });
    };
}
pub(crate) use shaped;

/// Of a struct of so many bytes: name, offset and shape of each field.
pub(crate) const fn of_struct(bytes: usize, fields: &[(&str, usize, u64)]) -> u64 {
    let mut hash = numbers(START, &[bytes as u64]);
    let mut at = 0;
    while at < fields.len() {
        let (name, offset, shape) = fields[at];
        hash = numbers(text(hash, name), &[offset as u64, shape]);
        at += 1;
    }
    hash
}

/// Of the LB node's pinned maps, but for the flow table.
pub const FINGERPRINT: u64 = {
    let mut hash = numbers(START, &[ABI_VERSION as u64]);
    hash = numbers(hash, &MAPS);
    hash = numbers(hash, &MEANINGS);
    hash = numbers(hash, &PLACES);
    let mut at = 0;
    while at < lb::Exit::ALL.len() {
        hash = text(hash, lb::Exit::ALL[at].name());
        at += 1;
    }
    at = 0;
    while at < ERRORS.len() {
        hash = text(text(hash, ERRORS[at].0), ERRORS[at].1);
        at += 1;
    }
    hash
};

/// Of the flow table.
pub const FLOW_TABLE: u64 = numbers(
    START,
    &[Bucket::SHAPE, flow_table::identity(ADDRESS) as u64],
);

/// [`FINGERPRINT`] in hexadecimal.
pub const NAME: [u8; 16] = hexadecimal(FINGERPRINT);

/// Values and sizes, in the order of the maps.
const MAPS: [u64; 11] = [
    abi::Root::SHAPE,
    abi::Bank::SHAPE,
    abi::BANKS as u64,
    abi::Table::SHAPE,
    abi::TABLES_MAX as u64,
    Element::SHAPE,
    abi::FILTERS_MAX as u64,
    abi::Counts::SHAPE,
    abi::SERVICE_COUNTERS_MAX as u64,
    FlowCount::SHAPE,
    abi::TABLE_BARRIER as u64,
];

/// Numbers that stand for something.
const MEANINGS: [u64; 33] = [
    kind::EMPTY as u64,
    kind::VIP as u64,
    kind::OWN as u64,
    kind::prefix(1) as u64,
    encap::ROWS as u64,
    encap::GUE as u64,
    encap::IP as u64,
    encap::L2 as u64,
    options::HASH_SRC_DST as u64,
    options::HASH_SRC as u64,
    options::FILTER as u64,
    options::RATES as u64,
    options::FLOW_TABLE as u64,
    options::ATTACK as u64,
    backend_flags::REACHABLE as u64,
    backend_flags::UP as u64,
    backend_flags::JUDGED as u64,
    backend_flags::LOCAL as u64,
    backend_flags::ON_LINK as u64,
    backend_flags::GONE as u64,
    tunnel::flags::SETTLING as u64,
    tunnel::flags::KNOWN_ONLY as u64,
    abi::ABSENT as u64,
    Verdict::Pass as u64,
    Verdict::Denied as u64,
    Verdict::NotAllowed as u64,
    filter::RANGES_V4 as u64,
    filter::RANGES_V6 as u64,
    rate::FIRST_SOURCE as u64,
    counts::SERVICE_OPENS as u64,
    counts::SOURCE_OPENS as u64,
    LENGTHS_MAX as u64,
    abi::TAG as u64,
];

/// Where things are found: what the functions say of arguments that have every bit somewhere.
const PLACES: [u64; 12] = [
    MIXED,
    abi::vip_bucket(MIXED) as u64,
    abi::service_bucket(SEED, MIXED, KEY) as u64,
    abi::prefix_mixed(0x0102_0304),
    prefix::place_of(SEED, kind::prefix(101), ADDRESS),
    KEY,
    abi::ranges_key(KEY),
    abi::fragments_key(KEY),
    abi::service_vip(KEY) as u64,
    abi::pack_row([0x0102, 0x0304, 0x0506, 0x0708]),
    abi::exit_counter(0x0102_0304, 5) as u64,
    abi::error_counter(0x0102_0304, 5) as u64,
];

const SEED: u64 = 0x0123_4567_89ab_cdef;
const ADDRESS: [u64; 2] = [0xfedc_ba98_7654_3210, 0x0f1e_2d3c_4b5a_6978];
const MIXED: u64 = abi::mix(SEED, ADDRESS);
const KEY: u64 = abi::service_key(0x0102_0304, 0x05, 0x0607);

/// FNV-1a (Fowler, Noll, Vo), 64 bits.
const START: u64 = 0xcbf2_9ce4_8422_2325;

const fn bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

const fn numbers(mut hash: u64, numbers: &[u64]) -> u64 {
    let mut at = 0;
    while at < numbers.len() {
        hash = bytes(hash, &numbers[at].to_le_bytes());
        at += 1;
    }
    hash
}

/// With its end, so that two texts are not taken for one.
const fn text(hash: u64, text: &str) -> u64 {
    bytes(bytes(hash, text.as_bytes()), &[0])
}

const fn hexadecimal(number: u64) -> [u8; 2 * size_of::<u64>()] {
    let mut digits = [0; 2 * size_of::<u64>()];
    let mut at = 0;
    while at < digits.len() {
        let digit = number >> (60 - 4 * at) & 0xf;
        digits[at] = b"0123456789abcdef"[digit as usize];
        at += 1;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_difference_of_a_struct_is_another_shape() {
        let word = u32::SHAPE;
        let fields = [("first", 0, word), ("second", 4, word)];
        let same = of_struct(8, &fields);
        let others = [
            (
                "places changed",
                of_struct(8, &[("second", 0, word), ("first", 4, word)]),
            ),
            (
                "another name",
                of_struct(8, &[("first", 0, word), ("last", 4, word)]),
            ),
            (
                "another type",
                of_struct(8, &[("first", 0, word), ("second", 4, <[u16; 2]>::SHAPE)]),
            ),
            ("one less", of_struct(8, &[("first", 0, word)])),
            ("another size", of_struct(16, &fields)),
        ];
        for (about, other) in others {
            assert_ne!(other, same, "{about}");
        }
        assert_ne!(<[u32; 2]>::SHAPE, <[u32; 3]>::SHAPE);
    }

    /// A build with another name takes over as well, but makes its maps beside those of the former one: a change must be meant. Then
    /// write the new numbers here.
    #[test]
    fn a_change_of_the_layout_is_deliberate() {
        assert_eq!(core::str::from_utf8(&NAME), Ok("c374cc3db6c0909f"));
        assert_eq!(FLOW_TABLE, 16_486_501_105_579_125_965);
    }
}
