//! Diagnostic codes.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// Why a session last changed its state (RFC 5880 section 4.1): five bits, of which a peer may send any.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Diagnostic(u8);

impl Diagnostic {
    /// 0.
    pub const NONE: Diagnostic = Diagnostic(0);
    /// 1: nothing was heard for the detection time.
    pub const DETECTION_TIME_EXPIRED: Diagnostic = Diagnostic(1);
    /// 2; never sent, as the echo function is not used.
    pub const ECHO_FAILED: Diagnostic = Diagnostic(2);
    /// 3: the peer said that its side is down.
    pub const NEIGHBOR_SIGNALED_DOWN: Diagnostic = Diagnostic(3);
    /// 4: what the peer knew of our forwarding does not hold any more.
    pub const FORWARDING_PLANE_RESET: Diagnostic = Diagnostic(4);
    /// 5; never sent: it is for what runs below this protocol and knows that the path to the peer is down.
    pub const PATH_DOWN: Diagnostic = Diagnostic(5);
    /// 6; never sent: it is for another path, behind us.
    pub const CONCATENATED_PATH_DOWN: Diagnostic = Diagnostic(6);
    /// 7: the operator's word.
    pub const ADMINISTRATIVELY_DOWN: Diagnostic = Diagnostic(7);
    /// 8; never sent.
    pub const REVERSE_CONCATENATED_PATH_DOWN: Diagnostic = Diagnostic(8);

    /// Of the low five bits.
    pub const fn from_bits(bits: u8) -> Diagnostic {
        Diagnostic(bits & 0x1f)
    }

    /// 0..=31.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The name in RFC 5880.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "No Diagnostic",
            1 => "Control Detection Time Expired",
            2 => "Echo Function Failed",
            3 => "Neighbor Signaled Session Down",
            4 => "Forwarding Plane Reset",
            5 => "Path Down",
            6 => "Concatenated Path Down",
            7 => "Administratively Down",
            8 => "Reverse Concatenated Path Down",
            _ => "unknown diagnostic",
        }
    }
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.0, self.name())
    }
}
