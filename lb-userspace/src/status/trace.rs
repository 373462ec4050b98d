//! What is told of packets while somebody watches.

#![forbid(unsafe_code)]

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::Vip;

/// Body of `POST /v1/trace`: which packets to tell of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceRequest {
    /// Only those to this VIP, or to this address of one.
    #[serde(default)]
    pub vip: Option<Vip>,
    /// Only those of these clients.
    #[serde(default)]
    pub source: Option<IpNet>,
    /// Only those that leave at this exit.
    #[serde(default)]
    pub exit: Option<String>,
    /// One in so many, on each CPU; none: all.
    #[serde(default)]
    pub sample: Option<u32>,
}

/// A trace has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStarted {
    /// Its number, for `POST /v1/trace/next`.
    pub trace: u64,
    /// It ends when nobody has asked for its packets for so long.
    pub lease_secs: u64,
    /// Packets per second that each CPU tells of at most.
    pub packets_per_sec: u32,
}

/// Body of `POST /v1/trace/next`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceNext {
    /// Number of the trace.
    pub trace: u64,
    /// The trace ends with the answer.
    #[serde(default)]
    pub last: bool,
}

/// Packets since the answer before, and what was not told since the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceBatch {
    /// In the order of their ring; packets of two CPUs may have changed places.
    pub packets: Vec<TracedPacket>,
    /// There are more at once.
    pub more: bool,
    /// Packets asked for that were not told: more than a CPU may tell of.
    pub limited: u64,
    /// The same: the ring was full.
    pub lost: u64,
}

/// A packet as it came in, and where it left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedPacket {
    /// When it came in, nanoseconds since the epoch.
    pub time_ns: u64,
    /// Interface that it came in by.
    pub interface: String,
    /// Its bytes from the Ethernet header on.
    pub length: u32,
    /// `pass`, `drop`, `tx`, `redirect`, `local`.
    pub action: String,
    /// Where it left the program.
    pub exit: String,
    /// The first bytes of it, before any header was put in front, in hexadecimal.
    #[serde(with = "hexadecimal")]
    pub bytes: Vec<u8>,
}

mod hexadecimal {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let digit = |digit: &u8| char::from(*digit).to_digit(16);
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
            _ => None,
        };
        let bytes: Option<_> = text.as_bytes().chunks(2).map(byte).collect();
        bytes.ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_hexadecimal() {
        let packet = TracedPacket {
            bytes: vec![0, 0x0a, 0xff],
            ..TracedPacket::default()
        };
        let text = serde_json::to_string(&packet).expect("no map with odd keys");
        assert!(text.contains(r#""bytes":"000aff""#), "{text}");
        let read: TracedPacket = serde_json::from_str(&text).expect("its own text");
        assert_eq!(read, packet);
        for wrong in ["0", "0g", "é0"] {
            let text = text.replace("000aff", wrong);
            assert!(
                serde_json::from_str::<TracedPacket>(&text).is_err(),
                "{wrong}"
            );
        }
    }
}
