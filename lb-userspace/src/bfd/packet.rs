//! Control packets (RFC 5880 section 4.1), and the checks of section 6.8.6 that need nothing but the packet.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-----+---------+---+-----------+---------------+---------------+
//! |Vers |  Diag   |Sta|P|F|C|A|D|M|  Detect Mult  |    Length     |
//! +-----+---------+---+-----------+---------------+---------------+
//! |                       My Discriminator                        |
//! |                      Your Discriminator                       |
//! |              Desired Min TX Interval, microseconds            |
//! |              Required Min RX Interval, microseconds           |
//! |            Required Min Echo RX Interval, microseconds        |
//! +---------------------------------------------------------------+
//! ```

#![forbid(unsafe_code)]

use std::num::NonZeroU32;
use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::fsm::State;

/// Octets of a packet without authentication.
pub const LENGTH: usize = 24;

/// Octets of the shortest packet with authentication.
const LENGTH_AUTHENTICATED_MIN: usize = 26;

const VERSION: u8 = 1;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// A control packet without authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlPacket {
    /// Why the sender's session last changed its state.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// An answer is asked for.
    pub poll: bool,
    /// This is one.
    pub is_final: bool,
    /// The sender's BFD survives its control plane (RFC 5882 section 4.3).
    pub control_plane_independent: bool,
    /// The sender wants nothing sent periodically.
    pub demand: bool,
    /// The sender is down to us once so many of its packets in a row are missing; at least 1.
    pub multiplier: u8,
    /// The sender's number of the session.
    pub my_discriminator: NonZeroU32,
    /// Ours as the sender has heard it.
    pub your_discriminator: Option<NonZeroU32>,
    /// The sender sends no faster; whole microseconds, below 2^32.
    pub desired_min_tx: Duration,
    /// The sender takes no more; zero: nothing periodic at all.
    pub required_min_rx: Duration,
    /// The sender takes no more echo packets; zero: none.
    pub required_min_echo_rx: Duration,
}

/// Why a packet does not count, in the order of the checks. The last four are found by whoever looks for its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Discard {
    /// Shorter than the fields that every packet has.
    TooShort,
    /// A version other than 1.
    Version,
    /// The length field is below what its flags ask for.
    LengthBelowMinimum,
    /// The length field goes beyond the payload.
    LengthAbovePayload,
    /// Detect Mult is zero.
    MultiplierZero,
    /// The M bit is set.
    Multipoint,
    /// My Discriminator is zero.
    MyDiscriminatorZero,
    /// Your Discriminator is zero in a state in which it is known.
    YourDiscriminatorZero,
    /// The A bit is set, and there is no authentication here.
    Authentication,
    /// TTL or hop limit is below what the session asks for (RFC 5881 section 5, RFC 5883 section 5).
    Ttl,
    /// Your Discriminator names no session.
    UnknownDiscriminator,
    /// Your Discriminator names the session of another peer.
    WrongPeer,
    /// Nobody asked for a session with this address.
    NoSession,
}

impl Discard {
    /// Every reason, in the order of the checks.
    pub const ALL: [Discard; 13] = [
        Discard::TooShort,
        Discard::Version,
        Discard::LengthBelowMinimum,
        Discard::LengthAbovePayload,
        Discard::MultiplierZero,
        Discard::Multipoint,
        Discard::MyDiscriminatorZero,
        Discard::YourDiscriminatorZero,
        Discard::Authentication,
        Discard::Ttl,
        Discard::UnknownDiscriminator,
        Discard::WrongPeer,
        Discard::NoSession,
    ];

    /// A constant name, to count by.
    pub fn label(self) -> &'static str {
        match self {
            Discard::TooShort => "too_short",
            Discard::Version => "version",
            Discard::LengthBelowMinimum => "length_below_minimum",
            Discard::LengthAbovePayload => "length_above_payload",
            Discard::MultiplierZero => "multiplier_zero",
            Discard::Multipoint => "multipoint",
            Discard::MyDiscriminatorZero => "my_discriminator_zero",
            Discard::YourDiscriminatorZero => "your_discriminator_zero",
            Discard::Authentication => "authentication",
            Discard::Ttl => "ttl",
            Discard::UnknownDiscriminator => "unknown_discriminator",
            Discard::WrongPeer => "wrong_peer",
            Discard::NoSession => "no_session",
        }
    }
}

impl ControlPacket {
    /// As it is sent.
    pub fn encode(&self) -> [u8; LENGTH] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut bytes = [0; LENGTH];
        bytes[0] = (VERSION << 5) | self.diagnostic.code();
        bytes[1] = (self.state.bits() << 6)
            | flag(self.poll, POLL)
            | flag(self.is_final, FINAL)
            | flag(self.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | flag(self.demand, DEMAND);
        bytes[2] = self.multiplier;
        bytes[3] = LENGTH as u8;
        let words = [
            self.my_discriminator.get(),
            self.your_discriminator.map_or(0, NonZeroU32::get),
            micros(self.desired_min_tx),
            micros(self.required_min_rx),
            micros(self.required_min_echo_rx),
        ];
        for (place, word) in bytes[4..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// The payload of a datagram.
    ///
    /// # Errors
    /// Why it has to be discarded, as far as the packet alone tells; the first reason in the order of RFC 5880 section 6.8.6.
    pub fn decode(payload: &[u8]) -> Result<ControlPacket, Discard> {
        let Some((fixed, _)) = payload.split_first_chunk::<LENGTH>() else {
            return Err(Discard::TooShort);
        };
        let [first, flags, multiplier, length] = [fixed[0], fixed[1], fixed[2], fixed[3]];
        let authenticated = flags & AUTHENTICATION != 0;
        let length_min = match authenticated {
            true => LENGTH_AUTHENTICATED_MIN,
            false => LENGTH,
        };
        let state = State::from_bits(flags >> 6);
        let word = |n: usize| {
            let at = 4 + 4 * n;
            u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
        };
        let your_discriminator = NonZeroU32::new(word(1));
        check(first >> 5 == VERSION, Discard::Version)?;
        let length = usize::from(length);
        check(length >= length_min, Discard::LengthBelowMinimum)?;
        check(length <= payload.len(), Discard::LengthAbovePayload)?;
        check(multiplier != 0, Discard::MultiplierZero)?;
        check(flags & MULTIPOINT == 0, Discard::Multipoint)?;
        let my_discriminator = NonZeroU32::new(word(0)).ok_or(Discard::MyDiscriminatorZero)?;
        let begins = matches!(state, State::Down | State::AdminDown);
        check(
            your_discriminator.is_some() || begins,
            Discard::YourDiscriminatorZero,
        )?;
        check(!authenticated, Discard::Authentication)?;
        Ok(ControlPacket {
            diagnostic: Diagnostic::from_bits(first),
            state,
            poll: flags & POLL != 0,
            is_final: flags & FINAL != 0,
            control_plane_independent: flags & CONTROL_PLANE_INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            multiplier,
            my_discriminator,
            your_discriminator,
            desired_min_tx: interval(word(2)),
            required_min_rx: interval(word(3)),
            required_min_echo_rx: interval(word(4)),
        })
    }
}

fn check(holds: bool, otherwise: Discard) -> Result<(), Discard> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn interval(micros: u32) -> Duration {
    Duration::from_micros(u64::from(micros))
}

fn micros(interval: Duration) -> u32 {
    u32::try_from(interval.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
