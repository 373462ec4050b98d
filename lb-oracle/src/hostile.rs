//! BGP messages that have broken other speakers, and what RFC 4271 and its updates answer to each.
//!
//! Their sender is of AS 65000 and has the identifier 192.0.2.2; it offers IPv4 unicast, route refresh and four-octet AS numbers.

/// A message, or several.
#[derive(Clone, Debug)]
pub struct Vector {
    /// In words.
    pub name: &'static str,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// Code and subcode of the NOTIFICATION that ends the session; none: nothing ends.
    pub answer: Option<(u8, u8)>,
}

/// A message with the right header; `body` leaves it within 65,535 octets.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

/// An UPDATE whose lengths are right.
pub fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    message(
        2,
        &[&counted(withdrawn), &counted(attributes), nlri].concat(),
    )
}

fn counted(part: &[u8]) -> Vec<u8> {
    [&(part.len() as u16).to_be_bytes()[..], part].concat()
}

/// An OPEN that is accepted.
pub fn open() -> Vec<u8> {
    open_with(OPEN, &CAPABILITIES)
}

/// Version, AS, hold time, identifier.
const OPEN: [u8; 9] = [4, 0xfd, 0xe8, 0, 90, 192, 0, 2, 2];

const CAPABILITIES: [u8; 16] = [2, 14, 1, 4, 0, 1, 0, 1, 2, 0, 65, 4, 0, 0, 0xfd, 0xe8];

fn open_with(fixed: [u8; 9], parameters: &[u8]) -> Vec<u8> {
    open_of(fixed, parameters.len() as u8, parameters)
}

/// With any length of the parameters.
fn open_of(fixed: [u8; 9], length: u8, parameters: &[u8]) -> Vec<u8> {
    message(1, &[&fixed[..], &[length], parameters].concat())
}

/// With one octet of the fixed part another one.
fn altered(at: usize, octet: u8) -> Vec<u8> {
    let mut fixed = OPEN;
    fixed[at] = octet;
    open_with(fixed, &CAPABILITIES)
}

/// Sent in the place of the OPEN. Where it has no answer the session comes up.
pub fn opening() -> Vec<Vector> {
    let capability = |code: u8, value: &[u8]| {
        let value_len = value.len() as u8;
        let whole = [&[2, value_len + 2, code, value_len], value].concat();
        open_with(OPEN, &[&CAPABILITIES[..], &whole].concat())
    };
    let extended = |length: u16, parameters: &[u8]| {
        let start = [&[255][..], &length.to_be_bytes()].concat();
        open_of(OPEN, 255, &[&start, parameters].concat())
    };
    let of_parameters = |parameters: &[u8]| open_with(OPEN, parameters);
    let mut no_as = OPEN;
    no_as[1..3].fill(0);
    let mut no_identifier = OPEN;
    no_identifier[5..].fill(0);
    let ends = |name, bytes, answer| vector(name, bytes, Some(answer));
    vec![
        ends("version 3", altered(0, 3), (2, 1)),
        ends(
            "another AS",
            open_with([4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 2], &[]),
            (2, 2),
        ),
        ends("AS 0", open_with(no_as, &[]), (2, 2)),
        ends(
            "AS 0 by capability",
            of_parameters(&[2, 6, 65, 4, 0, 0, 0, 0]),
            (2, 2),
        ),
        ends(
            "identifier 0.0.0.0",
            open_with(no_identifier, &CAPABILITIES),
            (2, 3),
        ),
        ends("hold time of 1", altered(4, 1), (2, 6)),
        ends("hold time of 2", altered(4, 2), (2, 6)),
        ends("authentication", of_parameters(&[1, 1, 0]), (2, 4)),
        ends("parameter 254", of_parameters(&[254, 0]), (2, 4)),
        ends(
            "IPv4 multicast alone",
            of_parameters(&[2, 6, 1, 4, 0, 1, 0, 2]),
            (2, 7),
        ),
        ends(
            "parameters beyond the message",
            open_of(OPEN, 200, &[2, 0]),
            (2, 0),
        ),
        ends(
            "parameter beyond its list",
            of_parameters(&[2, 200, 1, 4]),
            (2, 0),
        ),
        ends("parameter without length", of_parameters(&[2]), (2, 0)),
        ends(
            "capability beyond its parameter",
            of_parameters(&[2, 2, 1, 4]),
            (2, 0),
        ),
        ends(
            "capability without length",
            of_parameters(&[2, 1, 1]),
            (2, 0),
        ),
        ends(
            "extended length of 65535",
            extended(0xffff, &[2, 0, 0]),
            (2, 0),
        ),
        ends("extended length cut", open_of(OPEN, 255, &[255, 0]), (2, 0)),
        ends("OPEN of 28", message(1, &OPEN), (1, 2)),
        ends("KEEPALIVE", message(4, &[]), (5, 1)),
        ends("UPDATE", update(&[], &[], &[]), (5, 1)),
        ends("ROUTE-REFRESH", message(5, &[0, 1, 0, 1]), (5, 1)),
        ends(
            "HTTP",
            b"GET / HTTP/1.1\r\nHost: 192.0.2.10\r\n\r\n".to_vec(),
            (1, 1),
        ),
        vector(
            "long-lived graceful restart, cut",
            capability(71, &[0, 1, 1, 0x80, 0]),
            None,
        ),
        vector(
            "FQDN of 255 in three octets",
            capability(73, &[255, b'a', b'b']),
            None,
        ),
        vector(
            "an unknown capability of 100",
            capability(199, &[0xff; 100]),
            None,
        ),
        vector(
            "extended length",
            extended(
                17,
                &[2, 0, 14, 1, 4, 0, 1, 0, 1, 2, 0, 65, 4, 0, 0, 0xfd, 0xe8],
            ),
            None,
        ),
    ]
}

fn vector(name: &'static str, bytes: Vec<u8>, answer: Option<(u8, u8)>) -> Vector {
    Vector {
        name,
        bytes,
        answer,
    }
}

/// ORIGIN, AS_PATH, NEXT_HOP.
pub const ATTRIBUTES: [u8; 20] = [
    0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe8, 0x40, 3, 4, 192, 0, 2, 2,
];

/// 198.51.100.0/24.
const NLRI: [u8; 4] = [24, 198, 51, 100];

/// Sent in an Established session.
pub fn established() -> Vec<Vector> {
    let mut vectors = ending();
    vectors.extend(
        harmless()
            .into_iter()
            .map(|(name, bytes)| vector(name, bytes, None)),
    );
    vectors
}

fn ending() -> Vec<Vector> {
    let unreach = [0x80, 15, 3, 0, 2, 1];
    let mut marker = message(4, &[]);
    marker[3] = 0;
    let mut short = message(4, &[]);
    short[17] = 18;
    let reach = |value: &[u8]| {
        let attribute = [&[0x80, 14, value.len() as u8][..], value].concat();
        update(&[], &attribute, &[])
    };
    let long_wrong = [&[0x90, 14, 0x0f, 0xa0, 0, 2, 1, 4][..], &[0; 3996]].concat();
    let ends = |name, bytes, answer| vector(name, bytes, Some(answer));
    vec![
        ends("marker", marker, (1, 1)),
        ends("18 octets", short, (1, 2)),
        ends("4097 octets", message(2, &[0; 4078]), (1, 2)),
        ends("65535 octets", message(2, &[0; 65_516]), (1, 2)),
        ends("KEEPALIVE of 20", message(4, &[0]), (1, 2)),
        ends("UPDATE of 21", message(2, &[0, 0]), (1, 2)),
        ends("NOTIFICATION of 20", message(3, &[6]), (1, 2)),
        ends("ROUTE-REFRESH of 22", message(5, &[0, 1, 0]), (1, 2)),
        ends("type 9", message(9, &[]), (1, 3)),
        ends("type 0", message(0, &[]), (1, 3)),
        ends(
            "parameters beyond an OPEN",
            open_of(OPEN, 200, &[2, 0]),
            (2, 0),
        ),
        ends("a second OPEN", open(), (5, 3)),
        ends(
            "withdrawn beyond the message",
            message(2, &[0xff, 0xff, 0, 0]),
            (3, 1),
        ),
        ends(
            "attributes beyond the message",
            message(2, &[0, 0, 0xff, 0xff]),
            (3, 1),
        ),
        ends(
            "no room for the length of attributes",
            message(2, &[0, 1, 0, 0]),
            (3, 1),
        ),
        ends(
            "MP_UNREACH_NLRI twice",
            update(&[], &[unreach, unreach].concat(), &[]),
            (3, 1),
        ),
        ends("MP_REACH_NLRI of two", reach(&[0, 2]), (3, 9)),
        ends(
            "next hop beyond MP_REACH_NLRI",
            reach(&[0, 2, 1, 16, 0]),
            (3, 9),
        ),
        ends(
            "IPv6 next hop of four",
            reach(&[0, 2, 1, 4, 1, 2, 3, 4, 0]),
            (3, 9),
        ),
        ends("IPv6 next hop of zero", reach(&[0, 2, 1, 0, 0]), (3, 9)),
        ends(
            "MP_REACH_NLRI of 4000",
            update(&[], &long_wrong, &[]),
            (3, 9),
        ),
        ends(
            "IPv6 prefix of 129 bits",
            update(&[], &[0x80, 15, 4, 0, 2, 1, 129], &[]),
            (3, 9),
        ),
        ends(
            "prefix of 33 bits",
            update(&[], &[], &[33, 1, 2, 3, 4, 5]),
            (3, 10),
        ),
        ends(
            "prefix cut",
            update(&[], &ATTRIBUTES, &[24, 198, 51]),
            (3, 10),
        ),
        ends(
            "withdrawn prefix cut",
            update(&[24, 198], &[], &[]),
            (3, 10),
        ),
    ]
}

/// Treated as a withdrawal, or not looked at (RFC 7606): the routes are found, and they are all that it concerns.
fn harmless() -> Vec<(&'static str, Vec<u8>)> {
    let of = |attributes: &[u8]| update(&[], attributes, &NLRI);
    let beside = |attribute: &[u8]| of(&[&ATTRIBUTES[..], attribute].concat());
    let long_path = [
        &[0x50, 2, 3, 0xfe, 2, 255][..],
        &[0, 0, 0xfd, 0xe8].repeat(255),
    ]
    .concat();
    vec![
        ("prefix-SID of one octet", of(&[0xc0, 40, 1, 1])),
        (
            "prefix-SID, TLV beyond it",
            beside(&[0xc0, 40, 3, 1, 0xff, 0xff]),
        ),
        ("tunnel encapsulation without end", of(&[0xc0, 23, 1, 0])),
        (
            "tunnel encapsulation, sub-TLVs of no length",
            beside(&[0xc0, 23, 8, 0, 1, 0, 4, 99, 0, 99, 0]),
        ),
        ("only-to-customer of none", of(&[0xc0, 35, 0])),
        ("unknown, marked well-known", of(&[0x40, 250, 0])),
        (
            "unknown, transitive, of 255",
            beside(&[&[0xc0, 251, 255][..], &[0xff; 255]].concat()),
        ),
        (
            "ATTR_SET in itself",
            of(&[0xc0, 128, 6, 0, 0, 0, 1, 0xc0, 128]),
        ),
        ("NEXT_HOP of one", of(&[0x40, 3, 1, 9])),
        ("ORIGIN of 255", of(&[0x40, 1, 1, 255])),
        ("ORIGIN twice", beside(&[0x40, 1, 1, 0])),
        ("AS4_PATH before AS_PATH", of(&[0xc0, 17, 0, 0x40, 2, 0])),
        ("AS_PATH of zero octets", of(&[0x40, 2, 0])),
        ("AS_PATH, a segment of none", of(&[0x40, 2, 2, 2, 0])),
        ("AS_PATH, a segment beyond it", of(&[0x40, 2, 2, 2, 255])),
        (
            "AS_PATH, a segment of type 9",
            of(&[0x40, 2, 6, 9, 1, 0, 0, 0xfd, 0xe8]),
        ),
        (
            "path of 255 with a length beyond it",
            of(&long_path[..1024]),
        ),
        (
            "communities of three octets",
            beside(&[0xc0, 8, 3, 0, 0, 0]),
        ),
        (
            "AGGREGATOR of six for four-octet numbers",
            beside(&[0xc0, 7, 6, 0, 1, 192, 0, 2, 2]),
        ),
        ("an attribute longer than the list", of(&[0x40, 1, 200, 0])),
        ("a list that ends in a header", of(&[0x40])),
        ("nothing mandatory", of(&[])),
        (
            "our own AS in the path",
            of(&[
                0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9, 0x40, 3, 4, 192, 0, 2, 2,
            ]),
        ),
        (
            "a family of its own",
            update(&[], &[0x80, 14, 7, 0x40, 4, 71, 0, 0, 0xff, 0xff], &[]),
        ),
        (
            "the same prefix withdrawn and announced",
            update(&NLRI, &ATTRIBUTES, &NLRI),
        ),
        ("End-of-RIB", update(&[], &[], &[])),
        ("host bits set", update(&[], &ATTRIBUTES, &[12, 198, 0xff])),
        ("the default route", update(&[], &ATTRIBUTES, &[0])),
    ]
}
