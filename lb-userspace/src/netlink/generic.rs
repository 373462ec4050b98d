//! Generic netlink (`genetlink`): families by name, one question, one answer.
//!
//! ```text
//! request, answer:  nlmsghdr (16) | genlmsghdr (4) | attributes
//! attribute:        length (2) | type (2) | value, padded to four bytes
//! ```

use std::io;

use rtnetlink::sys::protocols::NETLINK_GENERIC;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::Error;

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
/// Nested attributes are marked so.
pub(super) const NESTED: u16 = 0x8000;
/// The bits of an attribute's type that are its type.
const TYPE: u16 = 0x3fff;

/// The family that knows the others (`linux/genetlink.h`).
const CONTROLLER: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// What is asked: a command of a family with attributes.
#[derive(Debug)]
pub(super) struct Question<'a> {
    /// Of the family; see [`family`].
    pub(super) family: u16,
    /// In the family's numbers.
    pub(super) command: u8,
    /// Encoded by [`attribute`].
    pub(super) attributes: &'a [u8],
}

/// Number of a family; none where this kernel has it not.
pub(super) async fn family(name: &str) -> Result<Option<u16>, Error> {
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    let question = Question {
        family: CONTROLLER,
        command: CTRL_CMD_GETFAMILY,
        attributes: &attribute(CTRL_ATTR_FAMILY_NAME, &text),
    };
    let answer = match ask(name, question).await {
        Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(None),
        answer => answer?,
    };
    let id = attributes(&answer).find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID);
    Ok(id
        .and_then(|(_, value)| value.try_into().ok())
        .map(u16::from_ne_bytes))
}

/// The attributes of the answer, still encoded.
pub(super) async fn ask(what: &str, question: Question<'_>) -> Result<Vec<u8>, Error> {
    let refused = |source| Error::Refused {
        what: what.to_owned(),
        source,
    };
    let socket = TokioSocket::new(NETLINK_GENERIC).map_err(Error::Socket)?;
    let kernel = SocketAddr::new(0, 0);
    let request = encode(&question);
    socket.send_to(&request, &kernel).await.map_err(refused)?;
    let mut buffer = Vec::with_capacity(64 * 1024);
    socket.recv(&mut buffer).await.map_err(refused)?;
    decode(&buffer).map_err(refused)
}

fn encode(question: &Question<'_>) -> Vec<u8> {
    let length = (16 + 4 + question.attributes.len()) as u32;
    let (sequence, port_id) = (1_u32, 0_u32);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(question.family.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(port_id.to_ne_bytes());
    // Version 1 of each family's commands.
    message.extend([question.command, 1, 0, 0]);
    message.extend(question.attributes);
    message
}

fn decode(message: &[u8]) -> io::Result<Vec<u8>> {
    let garbled = || io::Error::from(io::ErrorKind::InvalidData);
    let (length, rest) = message.split_first_chunk().ok_or_else(garbled)?;
    let (kind, _) = rest.split_first_chunk().ok_or_else(garbled)?;
    let body = message
        .get(16..u32::from_ne_bytes(*length) as usize)
        .ok_or_else(garbled)?;
    if u16::from_ne_bytes(*kind) == NLMSG_ERROR {
        let (errno, _) = body.split_first_chunk().ok_or_else(garbled)?;
        return Err(io::Error::from_raw_os_error(
            i32::from_ne_bytes(*errno).wrapping_neg(),
        ));
    }
    body.get(4..).map(<[u8]>::to_vec).ok_or_else(garbled)
}

/// An attribute, padded.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut encoded = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    encoded.extend(kind.to_ne_bytes());
    encoded.extend(value);
    encoded.resize(encoded.len().next_multiple_of(4), 0);
    encoded
}

/// Types and values; what does not fit ends them.
pub(super) fn attributes(mut encoded: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, rest) = encoded.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = encoded.get(4..length)?;
        encoded = encoded
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        Some((u16::from_ne_bytes(*kind) & TYPE, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::testing::in_namespace;

    #[test]
    fn attributes_there_and_back() {
        let encoded = [
            attribute(7, &[1, 2, 3, 4, 5]),
            attribute(NESTED | 9, &[]),
            attribute(1, &[8]),
        ]
        .concat();
        assert_eq!(encoded.len(), 12 + 4 + 8);
        let found: Vec<_> = attributes(&encoded).collect();
        assert_eq!(found, [(7, &[1, 2, 3, 4, 5][..]), (9, &[]), (1, &[8])]);
        let cut: Vec<_> = attributes(&encoded[..8]).collect();
        assert_eq!(cut, [], "a length beyond the end");
        assert_eq!(
            attributes(&[2, 0, 1, 0, 9, 9]).count(),
            0,
            "shorter than its own head"
        );
    }

    #[test]
    fn a_question_is_a_header_and_its_attributes() {
        let encoded = encode(&Question {
            family: 0x10,
            command: 3,
            attributes: &attribute(2, b"netdev\0"),
        });
        let (length, flags) = (32_u32.to_ne_bytes(), 1_u16.to_ne_bytes());
        assert_eq!(encoded[..4], length);
        assert_eq!(encoded[6..8], flags);
        assert_eq!(encoded[16..20], [3, 1, 0, 0]);
        assert_eq!(&encoded[24..31], b"netdev\0");
    }

    #[test]
    fn refusals_and_garbage_are_errors() {
        let mut refusal = 36_u32.to_ne_bytes().to_vec();
        refusal.extend(NLMSG_ERROR.to_ne_bytes());
        refusal.resize(16, 0);
        refusal.extend((-libc::ENOENT).to_ne_bytes());
        refusal.resize(36, 0);
        let error = decode(&refusal).expect_err("a refusal");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        for garbage in [&[][..], &[1, 2], &refusal[..10], &[255; 20]] {
            assert!(decode(garbage).is_err(), "{garbage:?}");
        }
    }

    #[test]
    fn the_kernel_knows_its_controller_and_not_everything() {
        in_namespace(|| async {
            assert_eq!(family("nlctrl").await.unwrap(), Some(CONTROLLER));
            assert_eq!(family("no such family").await.unwrap(), None);
        });
    }
}
