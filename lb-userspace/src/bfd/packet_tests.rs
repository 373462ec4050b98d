use super::*;

const MICRO: Duration = Duration::from_micros(1);

fn packet() -> ControlPacket {
    ControlPacket {
        diagnostic: Diagnostic::NEIGHBOR_SIGNALED_DOWN,
        state: State::Up,
        poll: true,
        is_final: false,
        control_plane_independent: true,
        demand: false,
        multiplier: 3,
        my_discriminator: NonZeroU32::new(0x0102_0304).expect("not zero"),
        your_discriminator: NonZeroU32::new(0x0506_0708),
        desired_min_tx: MICRO * 100_000,
        required_min_rx: MICRO * 300_000,
        required_min_echo_rx: Duration::ZERO,
    }
}

/// `packet` as RFC 5880 section 4.1 draws it.
const GOLDEN: [u8; LENGTH] = [
    0x23, 0xe8, 3, 24, 1, 2, 3, 4, 5, 6, 7, 8, 0x00, 0x01, 0x86, 0xa0, 0x00, 0x04, 0x93, 0xe0, 0,
    0, 0, 0,
];

#[test]
fn golden_bytes_both_ways() {
    assert_eq!(packet().encode(), GOLDEN);
    assert_eq!(ControlPacket::decode(&GOLDEN), Ok(packet()));
}

#[test]
fn every_first_word_round_trips() {
    for diagnostic in 0..32 {
        for flags in 0..=255u8 {
            let mut bytes = GOLDEN;
            bytes[0] = (VERSION << 5) | diagnostic;
            bytes[1] = flags;
            match ControlPacket::decode(&bytes) {
                Ok(packet) => assert_eq!(packet.encode(), bytes),
                Err(reason) => assert!(
                    matches!(
                        (flags & MULTIPOINT, flags & AUTHENTICATION, reason),
                        (1, _, Discard::LengthBelowMinimum | Discard::Multipoint)
                            | (_, AUTHENTICATION, Discard::LengthBelowMinimum)
                    ),
                    "{flags:#x}: {reason:?}"
                ),
            }
        }
    }
}

#[test]
fn intervals_beyond_the_field_are_its_largest() {
    let sent = ControlPacket {
        desired_min_tx: Duration::from_secs(1 << 20),
        ..packet()
    };
    let heard = ControlPacket::decode(&sent.encode()).expect("in order");
    assert_eq!(heard.desired_min_tx, MICRO * u32::MAX);
}

#[test]
fn each_check_has_its_reason() {
    let with = |place: usize, bytes: &[u8]| {
        let mut packet = GOLDEN.to_vec();
        packet[place..place + bytes.len()].copy_from_slice(bytes);
        packet
    };
    let padded = |mut packet: Vec<u8>, length: usize| {
        packet.resize(length, 0);
        packet
    };
    let authenticated = padded(with(1, &[0xc4, 3, 28]), 28);
    let table: [(&str, Vec<u8>, Discard); 17] = [
        ("nothing", vec![], Discard::TooShort),
        ("a byte short", GOLDEN[..23].to_vec(), Discard::TooShort),
        ("version 0", with(0, &[0x00]), Discard::Version),
        ("version 2", with(0, &[0x40]), Discard::Version),
        ("length 0", with(3, &[0]), Discard::LengthBelowMinimum),
        ("length 23", with(3, &[23]), Discard::LengthBelowMinimum),
        ("length 25", with(3, &[25]), Discard::LengthAbovePayload),
        (
            "A and length 24",
            with(1, &[0xc4]),
            Discard::LengthBelowMinimum,
        ),
        (
            "A and length 25",
            with(1, &[0xc4, 3, 25]),
            Discard::LengthBelowMinimum,
        ),
        (
            "A and length 26 in 24",
            with(1, &[0xc4, 3, 26]),
            Discard::LengthAbovePayload,
        ),
        ("no multiplier", with(2, &[0]), Discard::MultiplierZero),
        ("multipoint", with(1, &[0xc1]), Discard::Multipoint),
        (
            "my discriminator",
            with(4, &[0; 4]),
            Discard::MyDiscriminatorZero,
        ),
        (
            "Up without yours",
            with(8, &[0; 4]),
            Discard::YourDiscriminatorZero,
        ),
        (
            "Init without yours",
            with(1, &[0x80, 3, 24, 1, 1, 1, 1, 0, 0, 0, 0]),
            Discard::YourDiscriminatorZero,
        ),
        (
            "authentication",
            authenticated.clone(),
            Discard::Authentication,
        ),
        (
            "the order is the RFC's",
            padded(with(0, &[0x00, 0xff, 0, 0, 0, 0, 0, 0]), 24),
            Discard::Version,
        ),
    ];
    for (about, bytes, reason) in table {
        assert_eq!(ControlPacket::decode(&bytes), Err(reason), "{about}");
    }
}

#[test]
fn what_is_no_reason() {
    let longer = [&GOLDEN[..], &[0xff; 8]].concat();
    assert_eq!(
        ControlPacket::decode(&longer),
        Ok(packet()),
        "bytes behind the packet"
    );
    for (state, bits) in [(State::AdminDown, 0x08), (State::Down, 0x48)] {
        let mut bytes = GOLDEN;
        bytes[1] = bits;
        bytes[8..12].fill(0);
        let heard = ControlPacket::decode(&bytes).expect("in order");
        assert_eq!((heard.state, heard.your_discriminator), (state, None));
    }
}

/// Nothing panics, and whatever is taken says the same when it is sent on.
#[test]
fn mutated_packets() {
    let mut random = 1u64;
    let mut taken = 0;
    for _ in 0..200_000 {
        let mut bytes = GOLDEN.to_vec();
        for _ in 0..3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            bytes[(random >> 8) as usize % LENGTH] = random as u8;
        }
        bytes.truncate(LENGTH - usize::from(random >> 60 == 0));
        if let Ok(packet) = ControlPacket::decode(&bytes) {
            assert_eq!(ControlPacket::decode(&packet.encode()), Ok(packet));
            taken += 1;
        }
    }
    assert!(taken > 20_000, "{taken}");
}

#[test]
fn labels_are_names_of_their_own() {
    let labels: std::collections::BTreeSet<&str> =
        Discard::ALL.into_iter().map(Discard::label).collect();
    assert_eq!(labels.len(), Discard::ALL.len());
}
