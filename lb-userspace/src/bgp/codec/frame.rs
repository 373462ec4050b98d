//! The message header (RFC 4271 section 4.1).
//!
//! ```text
//!  0                   1                   2                   3
//! +---------------------------------------------------------------+
//! |                    Marker: 16 octets of ones                  |
//! +-------------------------------+---------------+---------------+
//! |            Length             |      Type     |
//! +-------------------------------+---------------+
//! ```

use super::DecodeError;
use crate::bgp::notification::{Notification, code, subcode};

/// Octets of the header.
pub const HEADER_LEN: usize = 19;

/// Octets of the longest message; extended messages (RFC 8654) are not offered.
pub const MESSAGE_MAX: usize = 4096;

const MARKER: [u8; 16] = [0xff; 16];

/// Message types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// 1.
    Open,
    /// 2.
    Update,
    /// 3.
    Notification,
    /// 4.
    Keepalive,
    /// 5 (RFC 2918).
    RouteRefresh,
}

impl MessageType {
    fn from_u8(value: u8) -> Option<MessageType> {
        match value {
            1 => Some(MessageType::Open),
            2 => Some(MessageType::Update),
            3 => Some(MessageType::Notification),
            4 => Some(MessageType::Keepalive),
            5 => Some(MessageType::RouteRefresh),
            _ => None,
        }
    }

    fn as_u8(self) -> u8 {
        match self {
            MessageType::Open => 1,
            MessageType::Update => 2,
            MessageType::Notification => 3,
            MessageType::Keepalive => 4,
            MessageType::RouteRefresh => 5,
        }
    }

    /// `open`, `update`, `notification`, `keepalive`, `route_refresh`.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageType::Open => "open",
            MessageType::Update => "update",
            MessageType::Notification => "notification",
            MessageType::Keepalive => "keepalive",
            MessageType::RouteRefresh => "route_refresh",
        }
    }

    fn length_is_valid(self, length: usize) -> bool {
        match self {
            MessageType::Open => length >= 29,
            MessageType::Update => length >= 23,
            MessageType::Notification => length >= 21,
            MessageType::Keepalive => length == 19,
            MessageType::RouteRefresh => length >= 23,
        }
    }
}

/// Length and type of the message at the start of `buffer`; `None` while some of it is missing.
///
/// A wrong header is an error as soon as the header is there: nobody waits for the body of a message that cannot be.
///
/// # Errors
/// 1/1, 1/2 with the length, 1/3 with the type (RFC 4271 section 6.1).
pub fn frame(buffer: &[u8]) -> Result<Option<(usize, MessageType)>, DecodeError> {
    let Some((header, _)) = buffer.split_first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let [marker @ .., high, low, kind] = header;
    let error = |subcode, data: &[u8]| {
        DecodeError::Header(Notification::with_data(code::HEADER, subcode, data))
    };
    if *marker != MARKER {
        return Err(error(subcode::NOT_SYNCHRONIZED, &[]));
    }
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if !(HEADER_LEN..=MESSAGE_MAX).contains(&length) {
        return Err(error(subcode::BAD_LENGTH, &[*high, *low]));
    }
    let Some(message_type) = MessageType::from_u8(*kind) else {
        return Err(error(subcode::BAD_TYPE, &[*kind]));
    };
    if !message_type.length_is_valid(length) {
        return Err(error(subcode::BAD_LENGTH, &[*high, *low]));
    }
    Ok((buffer.len() >= length).then_some((length, message_type)))
}

/// A whole message; `body` must leave it within [`MESSAGE_MAX`].
pub(super) fn message(message_type: MessageType, body: &[u8]) -> Vec<u8> {
    let length = (HEADER_LEN + body.len()) as u16;
    [
        &MARKER[..],
        &length.to_be_bytes(),
        &[message_type.as_u8()],
        body,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u16, kind: u8) -> Vec<u8> {
        [&MARKER[..], &length.to_be_bytes(), &[kind]].concat()
    }

    #[test]
    fn rfc4271_6_1_a_length_outside_its_types_range_is_answered_with_1_2() {
        let table = [
            ("OPEN at its shortest", 29, 1, true),
            ("OPEN too short", 28, 1, false),
            ("UPDATE at its shortest", 23, 2, true),
            ("UPDATE too short", 22, 2, false),
            ("NOTIFICATION at its shortest", 21, 3, true),
            ("NOTIFICATION too short", 20, 3, false),
            ("KEEPALIVE", 19, 4, true),
            ("KEEPALIVE with a body", 20, 4, false),
            ("ROUTE-REFRESH", 23, 5, true),
            ("ROUTE-REFRESH too short", 22, 5, false),
            ("longest", 4096, 2, true),
            ("too long", 4097, 2, false),
            ("shorter than a header", 18, 4, false),
            ("zero", 0, 4, false),
            ("all ones", 65535, 2, false),
        ];
        for (what, length, kind, valid) in table {
            let result = frame(&header(length, kind));
            if valid {
                assert_eq!(result.map(|f| f.is_some()), Ok(length == 19), "{what}");
            } else {
                let notification = Notification::with_data(1, 2, &length.to_be_bytes());
                assert_eq!(result, Err(DecodeError::Header(notification)), "{what}");
            }
        }
    }

    #[test]
    fn rfc4271_6_1_marker_is_answered_with_1_1_and_type_with_1_3() {
        let mut bad = header(19, 4);
        bad[7] = 0xfe;
        assert_eq!(
            frame(&bad),
            Err(DecodeError::Header(Notification::new(1, 1)))
        );
        for kind in [0, 6, 255] {
            let expected = Notification::with_data(1, 3, &[kind]);
            assert_eq!(frame(&header(19, kind)), Err(DecodeError::Header(expected)));
        }
    }

    #[test]
    fn a_part_of_a_header_is_no_message_yet() {
        for n in 0..19 {
            assert_eq!(frame(&header(19, 4)[..n]), Ok(None));
        }
        assert_eq!(
            frame(&[header(19, 4), header(19, 4)].concat()),
            Ok(Some((19, MessageType::Keepalive)))
        );
    }
}
