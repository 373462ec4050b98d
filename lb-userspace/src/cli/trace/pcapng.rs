//! Packets in the format of Wireshark (draft-ietf-opsawg-pcapng), byte order of this machine.
//!
//! ```text
//! section header | interface | packet | packet | interface | packet | ... | interface statistics, one per interface
//!
//! block:   type 4 | length 4 | body, padded to 4 | length 4
//! option:  code 2 | length 2 | value, padded to 4
//! ```
//!
//! Each packet has a comment, `drop no_service`, and its verdict as an XDP action, which Wireshark shows as well.

#![forbid(unsafe_code)]

use lb_common::lb::trace::CAPTURE_MAX;

use crate::status::TracedPacket;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const ETHERNET: u16 = 1;

/// Codes of options, each in its kind of block.
mod option {
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SECTION_APPLICATION: u16 = 4;
    pub(super) const INTERFACE_NAME: u16 = 2;
    pub(super) const INTERFACE_RESOLUTION: u16 = 9;
    pub(super) const PACKET_VERDICT: u16 = 7;
    pub(super) const STATISTICS_DROPPED: u16 = 5;
}

/// A file in the making: what is known of interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pcapng {
    /// In the order of their blocks, with the time of the last packet of each.
    interfaces: Vec<(String, u64)>,
}

impl Pcapng {
    /// What a file begins with.
    pub(super) fn begin() -> Vec<u8> {
        let version = concat!("anylb ", env!("CARGO_PKG_VERSION"));
        let mut body = Body::default();
        body.u32(BYTE_ORDER).u16(1).u16(0);
        // The length of the section is not known.
        body.u64(u64::MAX);
        body.option(option::SECTION_APPLICATION, version.as_bytes());
        body.block(SECTION_HEADER)
    }

    /// A packet, behind its interface where that is new.
    pub(super) fn packet(&mut self, packet: &TracedPacket) -> Vec<u8> {
        let mut out = Vec::new();
        let known = self
            .interfaces
            .iter()
            .position(|(name, _)| *name == packet.interface);
        let interface = known.unwrap_or_else(|| {
            out = interface_block(&packet.interface);
            self.interfaces.push((packet.interface.clone(), 0));
            self.interfaces.len() - 1
        });
        self.interfaces[interface].1 = packet.time_ns;
        let mut body = Body::default();
        body.u32(interface as u32);
        body.time(packet.time_ns);
        body.u32(packet.bytes.len() as u32).u32(packet.length);
        body.padded(&packet.bytes);
        let comment = format!("{} {}", packet.action, packet.exit);
        body.option(option::COMMENT, comment.as_bytes());
        if let Some(verdict) = verdict(&packet.action) {
            body.option(option::PACKET_VERDICT, &verdict);
        }
        out.extend(body.block(ENHANCED_PACKET));
        out
    }

    /// What a file ends with: packets that are not in it. Which interface they came in by is not known.
    pub(super) fn end(&self, missing: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (_, time_ns)) in self.interfaces.iter().enumerate().take(1) {
            let mut body = Body::default();
            body.u32(number as u32);
            body.time(*time_ns);
            body.option(option::STATISTICS_DROPPED, &missing.to_ne_bytes());
            out.extend(body.block(INTERFACE_STATISTICS));
        }
        out
    }
}

fn interface_block(name: &str) -> Vec<u8> {
    const NANOSECONDS: u8 = 9;
    let mut body = Body::default();
    body.u16(ETHERNET).u16(0).u32(CAPTURE_MAX as u32);
    body.option(option::INTERFACE_NAME, name.as_bytes());
    body.option(option::INTERFACE_RESOLUTION, &[NANOSECONDS]);
    body.block(INTERFACE)
}

/// The action of an XDP program: a kind, and `enum xdp_action` in eight bytes. That of a backend's program is not known here.
fn verdict(action: &str) -> Option<[u8; 9]> {
    const XDP: u8 = 2;
    let number: u64 = match action {
        "drop" => 1,
        "pass" => 2,
        "tx" => 3,
        "redirect" => 4,
        _ => return None,
    };
    let mut verdict = [XDP; 9];
    verdict[1..].copy_from_slice(&number.to_ne_bytes());
    Some(verdict)
}

/// The inside of a block.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    options: bool,
}

impl Body {
    fn u16(&mut self, number: u16) -> &mut Self {
        self.bytes.extend(number.to_ne_bytes());
        self
    }

    fn u32(&mut self, number: u32) -> &mut Self {
        self.bytes.extend(number.to_ne_bytes());
        self
    }

    fn u64(&mut self, number: u64) -> &mut Self {
        self.bytes.extend(number.to_ne_bytes());
        self
    }

    /// High half first, whatever the byte order.
    fn time(&mut self, time_ns: u64) {
        self.u32((time_ns >> 32) as u32).u32(time_ns as u32);
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.options = true;
        // The longest is the name of an interface.
        self.u16(code).u16(value.len() as u16).padded(value);
    }

    fn block(mut self, kind: u32) -> Vec<u8> {
        if self.options {
            self.u32(0);
        }
        let length = (self.bytes.len() + 12) as u32;
        let mut block = kind.to_ne_bytes().to_vec();
        block.extend(length.to_ne_bytes());
        block.extend(self.bytes);
        block.extend(length.to_ne_bytes());
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(interface: &str, action: &str, bytes: &[u8]) -> TracedPacket {
        TracedPacket {
            time_ns: 0x0102_0304_0506_0708,
            interface: interface.into(),
            length: 0x600,
            action: action.into(),
            exit: "no_service".into(),
            bytes: bytes.to_vec(),
        }
    }

    /// Words of this machine as a file has them.
    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn pair(first: u16, second: u16) -> Vec<u8> {
        [first.to_ne_bytes(), second.to_ne_bytes()].concat()
    }

    #[test]
    fn a_file_begins_with_its_section() {
        let begin = Pcapng::begin();
        assert_eq!(begin[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
        let length = begin.len() as u32;
        assert_eq!(begin[4..12], words(&[length, 0x1a2b_3c4d]));
        assert_eq!(begin[12..16], pair(1, 0), "version 1.0");
        assert_eq!(begin[16..24], [0xff; 8], "of unknown length");
        assert_eq!(begin[begin.len() - 4..], words(&[length]));
        assert_eq!(
            begin[begin.len() - 8..begin.len() - 4],
            [0; 4],
            "end of options"
        );
        assert!(length.is_multiple_of(4));
    }

    #[test]
    fn a_packet_comes_behind_its_interface() {
        let mut file = Pcapng::default();
        let found = file.packet(&packet("eth0", "drop", &[1, 2, 3, 4, 5]));
        let interface = [
            words(&[1, 40]),
            pair(1, 0),
            words(&[256]),
            pair(2, 4),
            b"eth0".to_vec(),
            pair(9, 1),
            vec![9, 0, 0, 0],
            words(&[0, 40]),
        ]
        .concat();
        let verdict = [&[2][..], &1_u64.to_ne_bytes(), &[0; 3]].concat();
        let enhanced = [
            words(&[6, 80, 0, 0x0102_0304, 0x0506_0708, 5, 0x600]),
            vec![1, 2, 3, 4, 5, 0, 0, 0],
            pair(1, 15),
            b"drop no_service\0".to_vec(),
            pair(7, 9),
            verdict,
            words(&[0, 80]),
        ]
        .concat();
        assert_eq!(enhanced.len(), 80);
        assert_eq!(found, [interface, enhanced].concat());
    }

    #[test]
    fn an_interface_is_told_once() {
        let mut file = Pcapng::default();
        let first = file.packet(&packet("eth0", "tx", &[]));
        let again = file.packet(&packet("eth0", "tx", &[]));
        let other = file.packet(&packet("eth1", "tx", &[]));
        let back = file.packet(&packet("eth0", "tx", &[]));
        assert_eq!(first.len(), 40 + again.len());
        assert_eq!(other[..4], words(&[1]));
        assert_eq!(other[48..52], words(&[1]), "the second interface");
        assert_eq!(back, again);
    }

    #[test]
    fn a_local_packet_has_no_verdict() {
        let mut file = Pcapng::default();
        let local = file.packet(&packet("eth0", "local", &[]));
        let sent = file.packet(&packet("eth0", "drop", &[]));
        // Comments of the same padded length.
        assert_eq!(local.len() - 40 + 16, sent.len());
    }

    #[test]
    fn what_is_missing_is_told_at_the_end() {
        let mut file = Pcapng::default();
        assert_eq!(file.end(7), [0; 0], "statistics belong to an interface");
        file.packet(&packet("eth0", "tx", &[]));
        let end = [
            words(&[5, 40, 0, 0x0102_0304, 0x0506_0708]),
            pair(5, 8),
            7_u64.to_ne_bytes().to_vec(),
            words(&[0, 40]),
        ]
        .concat();
        assert_eq!(end.len(), 40);
        assert_eq!(file.end(7), end);
    }
}
