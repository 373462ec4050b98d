//! NOTIFICATION: why a session ends (RFC 4271 section 4.5).

#![forbid(unsafe_code)]

use std::borrow::Cow;

/// Error codes of the IANA registry "BGP Error (Notification) Codes".
pub mod code {
    /// Message Header Error.
    pub const HEADER: u8 = 1;
    /// OPEN Message Error.
    pub const OPEN: u8 = 2;
    /// UPDATE Message Error.
    pub const UPDATE: u8 = 3;
    /// Hold Timer Expired.
    pub const HOLD_TIMER: u8 = 4;
    /// Finite State Machine Error.
    pub const FSM: u8 = 5;
    /// Cease.
    pub const CEASE: u8 = 6;
    /// ROUTE-REFRESH Message Error (RFC 7313); never sent, since enhanced refresh is not offered.
    pub const ROUTE_REFRESH: u8 = 7;
    /// Send Hold Timer Expired (RFC 9687).
    pub const SEND_HOLD_TIMER: u8 = 8;
}

/// Subcodes that are sent or looked at.
pub mod subcode {
    /// 1/1 Connection Not Synchronized.
    pub const NOT_SYNCHRONIZED: u8 = 1;
    /// 1/2 Bad Message Length.
    pub const BAD_LENGTH: u8 = 2;
    /// 1/3 Bad Message Type.
    pub const BAD_TYPE: u8 = 3;
    /// 2/1 Unsupported Version Number.
    pub const UNSUPPORTED_VERSION: u8 = 1;
    /// 2/2 Bad Peer AS.
    pub const BAD_PEER_AS: u8 = 2;
    /// 2/3 Bad BGP Identifier.
    pub const BAD_IDENTIFIER: u8 = 3;
    /// 2/4 Unsupported Optional Parameter.
    pub const UNSUPPORTED_PARAMETER: u8 = 4;
    /// 2/6 Unacceptable Hold Time.
    pub const UNACCEPTABLE_HOLD_TIME: u8 = 6;
    /// 2/7 Unsupported Capability (RFC 5492).
    pub const UNSUPPORTED_CAPABILITY: u8 = 7;
    /// 3/1 Malformed Attribute List.
    pub const MALFORMED_ATTRIBUTES: u8 = 1;
    /// 3/9 Optional Attribute Error.
    pub const OPTIONAL_ATTRIBUTE: u8 = 9;
    /// 3/10 Invalid Network Field.
    pub const INVALID_NETWORK: u8 = 10;
    /// 6/2 Administrative Shutdown.
    pub const ADMINISTRATIVE_SHUTDOWN: u8 = 2;
    /// 6/4 Administrative Reset.
    pub const ADMINISTRATIVE_RESET: u8 = 4;
    /// 6/5 Connection Rejected.
    pub const CONNECTION_REJECTED: u8 = 5;
    /// 6/7 Connection Collision Resolution.
    pub const COLLISION: u8 = 7;
    /// 6/8 Out of Resources.
    pub const OUT_OF_RESOURCES: u8 = 8;
    /// 6/10 BFD Down (RFC 9384).
    pub const BFD_DOWN: u8 = 10;
}

/// Octets of a message that are left for the data field.
const DATA_MAX: usize = 4096 - 21;

/// Octets of a shutdown communication (RFC 9003 section 2).
pub const COMMUNICATION_MAX: usize = 255;

/// A NOTIFICATION, sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode, 0 where there is none.
    pub subcode: u8,
    /// Data, at most 4075 octets.
    pub data: Vec<u8>,
}

impl Notification {
    /// Without data.
    pub const fn new(code: u8, subcode: u8) -> Notification {
        Notification {
            code,
            subcode,
            data: Vec::new(),
        }
    }

    /// With data, cut at what fits into a message.
    pub fn with_data(code: u8, subcode: u8, data: &[u8]) -> Notification {
        Notification {
            code,
            subcode,
            data: data[..data.len().min(DATA_MAX)].to_vec(),
        }
    }

    /// Cease/Administrative Shutdown with a shutdown communication, cut at 255 octets between characters; none for an
    /// empty `message`.
    pub fn shutdown(message: &str) -> Notification {
        let mut end = message.len().min(COMMUNICATION_MAX);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let mut data = Vec::new();
        if end > 0 {
            data.push(end as u8);
            data.extend_from_slice(&message.as_bytes()[..end]);
        }
        Notification {
            code: code::CEASE,
            subcode: subcode::ADMINISTRATIVE_SHUTDOWN,
            data,
        }
    }

    /// What the peer's operator wrote (RFC 9003), without control characters; none where there is none or where it is
    /// not what it says.
    pub fn communication(&self) -> Option<String> {
        let administrative = [
            subcode::ADMINISTRATIVE_SHUTDOWN,
            subcode::ADMINISTRATIVE_RESET,
        ];
        if self.code != code::CEASE || !administrative.contains(&self.subcode) {
            return None;
        }
        let (&length, text) = self.data.split_first()?;
        if text.len() != usize::from(length) || text.is_empty() {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        Some(
            text.chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
        )
    }

    /// The AS that one side will not have of the other, where 2/2 names it in two or four octets.
    fn bad_peer_as(&self) -> Option<u32> {
        if (self.code, self.subcode) != (code::OPEN, subcode::BAD_PEER_AS) {
            return None;
        }
        match self.data[..] {
            [a, b] => Some(u32::from(u16::from_be_bytes([a, b]))),
            [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
            _ => None,
        }
    }

    /// RFC name of code and subcode.
    pub fn description(&self) -> Cow<'static, str> {
        let name = super::codec::notification_description(self.code, self.subcode);
        if name.starts_with("Unknown") {
            Cow::from("unknown error")
        } else {
            Cow::from(name)
        }
    }
}

impl std::fmt::Display for Notification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} {}", self.code, self.subcode, self.description())?;
        match (self.communication(), self.bad_peer_as()) {
            (Some(text), _) => write!(f, " ({text})"),
            (None, Some(asn)) => write!(f, " (AS {asn})"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9003_2_a_communication_is_cut_between_characters() {
        let notification = Notification::shutdown(&"é".repeat(200));
        assert_eq!(notification.data.len(), 1 + 254);
        assert_eq!(notification.data[0], 254);
        assert_eq!(notification.communication(), Some("é".repeat(127)));
        assert!(Notification::shutdown("").data.is_empty());
        assert_eq!(Notification::shutdown("").communication(), None);
    }

    #[test]
    fn rfc9003_3_a_communication_that_lies_about_its_length_is_not_shown() {
        for data in [
            &[][..],
            &[0],
            &[5, b'a'],
            &[1, b'a', b'b'],
            &[2, 0xff, 0xfe],
        ] {
            assert_eq!(
                Notification::with_data(6, 2, data).communication(),
                None,
                "{data:?}"
            );
        }
        assert_eq!(
            Notification::with_data(6, 5, &[1, b'a']).communication(),
            None,
            "not an administrative one"
        );
        assert_eq!(
            Notification::with_data(6, 4, &[3, b'a', 7, b'b']).communication(),
            Some("a b".into())
        );
    }

    #[test]
    fn data_fits_a_message() {
        assert_eq!(Notification::with_data(3, 9, &[0; 65536]).data.len(), 4075);
    }

    #[test]
    fn words() {
        assert_eq!(
            Notification::shutdown("upgrade").to_string(),
            "6/2 Administrative Shutdown (upgrade)"
        );
        assert_eq!(
            Notification::with_data(2, 2, &[0, 0, 0xfd, 0xe8]).to_string(),
            "2/2 Bad Peer AS (AS 65000)"
        );
        assert_eq!(
            Notification::with_data(2, 2, &[1]).to_string(),
            "2/2 Bad Peer AS"
        );
        assert_eq!(
            Notification::new(4, 0).to_string(),
            "4/0 Hold Timer Expired"
        );
        assert_eq!(Notification::new(99, 1).to_string(), "99/1 unknown error");
    }
}
