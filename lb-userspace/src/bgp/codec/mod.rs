//! BGP messages to bytes and back.
//!
//! Encoding and the OPEN's parameters are `rustbgpd-wire`'s; only the files in this folder name it. What comes from a
//! peer is framed and checked by length here first, and a received UPDATE is looked at by us alone: no attribute of a
//! route that is dropped anyway is ever decoded.

#![forbid(unsafe_code)]

mod frame;
mod open;
mod received;
mod update;

#[cfg(test)]
mod mutation_tests;

pub use frame::{HEADER_LEN, MESSAGE_MAX, MessageType, frame};
pub use open::{Capabilities, GracefulRestartCapability, Open};
pub use update::{Attributes, EncodeError, Update, nlri_room, prefix_len};

use super::notification::{Notification, code};
use super::route::Family;

/// A decoded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// OPEN.
    Open(Open),
    /// An UPDATE without an error that would end the session; its routes are not kept.
    Update,
    /// NOTIFICATION.
    Notification(Notification),
    /// KEEPALIVE.
    Keepalive,
    /// A request to send all routes of a family again (RFC 2918); none: a family or subtype that was not negotiated.
    RouteRefresh(Option<Family>),
}

/// A message that cannot be accepted, with the NOTIFICATION it is answered with, by RFC 4271 event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// BGPHeaderErr.
    Header(Notification),
    /// BGPOpenMsgErr.
    Open(Notification),
    /// UpdateMsgErr.
    Update(Notification),
}

/// Decodes one whole message, as cut by [`frame`].
///
/// # Errors
/// With the NOTIFICATION that RFC 4271 section 6 and its updates ask for.
pub fn decode(message: &[u8]) -> Result<Message, DecodeError> {
    let short = || {
        DecodeError::Header(Notification::new(
            code::HEADER,
            super::notification::subcode::BAD_LENGTH,
        ))
    };
    let kind = match frame(message)? {
        Some((length, kind)) if length == message.len() => kind,
        Some(_) | None => return Err(short()),
    };
    let body = message.get(HEADER_LEN..).ok_or_else(short)?;
    match kind {
        MessageType::Open => open::decode(body)
            .map(Message::Open)
            .map_err(DecodeError::Open),
        MessageType::Update => received::check_update(body)
            .map(|()| Message::Update)
            .map_err(DecodeError::Update),
        MessageType::Notification => match body {
            [code, subcode, data @ ..] => Ok(Message::Notification(Notification::with_data(
                *code, *subcode, data,
            ))),
            _ => Err(short()),
        },
        MessageType::Keepalive => Ok(Message::Keepalive),
        MessageType::RouteRefresh => Ok(Message::RouteRefresh(received::refresh_family(body))),
    }
}

/// An OPEN message.
pub fn encode_open(open: &Open) -> Vec<u8> {
    open::encode(open)
}

/// A KEEPALIVE message.
pub fn encode_keepalive() -> Vec<u8> {
    frame::message(MessageType::Keepalive, &[])
}

/// A NOTIFICATION message.
pub fn encode_notification(notification: &Notification) -> Vec<u8> {
    let Notification {
        code,
        subcode,
        data,
    } = Notification::with_data(notification.code, notification.subcode, &notification.data);
    let mut body = vec![code, subcode];
    body.extend_from_slice(&data);
    frame::message(MessageType::Notification, &body)
}

/// An UPDATE message of at most [`MESSAGE_MAX`] bytes.
///
/// # Errors
/// What it says does not fit, or cannot be said.
pub fn encode_update(update: &Update, four_octet_as: bool) -> Result<Vec<u8>, EncodeError> {
    update::encode(update, four_octet_as)
}

/// RFC name of a NOTIFICATION; begins with "Unknown" where there is none.
pub(super) fn notification_description(code: u8, subcode: u8) -> &'static str {
    rustbgpd_wire::notification::description(
        rustbgpd_wire::NotificationCode::from_u8(code),
        subcode,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKER: [u8; 16] = [0xff; 16];

    fn raw(length: u16, kind: u8, body: &[u8]) -> Vec<u8> {
        [&MARKER[..], &length.to_be_bytes(), &[kind], body].concat()
    }

    #[test]
    fn rfc4271_4_4_keepalive_and_notification_have_these_bytes() {
        assert_eq!(encode_keepalive(), raw(19, 4, &[]));
        assert_eq!(decode(&raw(19, 4, &[])), Ok(Message::Keepalive));
        let cease = Notification::shutdown("bye");
        assert_eq!(
            encode_notification(&cease),
            raw(25, 3, &[6, 2, 3, b'b', b'y', b'e'])
        );
        assert_eq!(
            decode(&encode_notification(&cease)),
            Ok(Message::Notification(cease))
        );
        let long = Notification {
            code: 3,
            subcode: 9,
            data: vec![0; 70_000],
        };
        assert_eq!(encode_notification(&long).len(), 4096);
    }

    #[test]
    fn rfc2918_3_a_refresh_names_its_family() {
        let table: [(&str, &[u8], Option<Family>); 6] = [
            ("IPv4 unicast", &[0, 1, 0, 1], Some(Family::Ipv4)),
            ("IPv6 unicast", &[0, 2, 0, 1], Some(Family::Ipv6)),
            ("multicast was never offered", &[0, 1, 0, 2], None),
            (
                "beginning of an enhanced refresh, not negotiated",
                &[0, 1, 1, 1],
                None,
            ),
            ("unknown AFI", &[0x40, 4, 0, 71], None),
            (
                "with an ORF list, which is ignored",
                &[0, 1, 0, 1, 1, 64, 0, 0],
                Some(Family::Ipv4),
            ),
        ];
        for (what, body, family) in table {
            assert_eq!(
                decode(&raw(19 + body.len() as u16, 5, body)),
                Ok(Message::RouteRefresh(family)),
                "{what}"
            );
        }
    }

    #[test]
    fn a_length_that_is_not_that_of_the_buffer_is_an_error_and_no_panic() {
        for bytes in [
            &[][..],
            &MARKER,
            &raw(19, 4, &[])[..18],
            &raw(23, 2, &[0, 0, 0]),
        ] {
            assert!(
                matches!(decode(bytes), Err(DecodeError::Header(_))),
                "{bytes:?}"
            );
        }
        assert!(matches!(
            decode(&raw(19, 4, &[0])),
            Err(DecodeError::Header(_))
        ));
    }
}
