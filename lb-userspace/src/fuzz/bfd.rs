//! BFD: packets and whose they are, a session's machine.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use lb_oracle::dice::Dice;

use crate::bfd::fsm::watch::Watch;
use crate::bfd::fsm::{Settings, State};
use crate::bfd::packet::{ControlPacket, Discard, LENGTH};
use crate::bfd::sessions::{Datagram, Output, Sessions};
use crate::bfd::{Ends, Hops, SessionConfig};

/// Operations of one run of a machine.
const STEPS_MAX: usize = 500;

/// One datagram, alone and to a process with a session of either kind. The first byte says from whom it comes and how, and
/// whether it names a session that there is.
///
/// # Panics
/// Where a promise is broken.
pub fn bfd_packet(data: &[u8]) {
    let Some((&how, payload)) = data.split_first() else {
        return;
    };
    let decoded = ControlPacket::decode(payload);
    match &decoded {
        Ok(packet) => {
            let bytes = packet.encode();
            assert_eq!(ControlPacket::decode(&bytes), Ok(*packet));
            let mut same = payload[..LENGTH].to_vec();
            same[3] = LENGTH as u8;
            assert_eq!(bytes[..], same, "what is understood is all that there is");
        }
        Err(reason) => assert_eq!(*reason == Discard::TooShort, payload.len() < LENGTH),
    }
    to_a_process(how, payload, decoded.is_ok());
}

/// It counts once: for a session, whose packets alone may follow, or for a reason.
fn to_a_process(how: u8, payload: &[u8], valid: bool) {
    let now = Instant::now();
    let mut sessions = Sessions::new(1);
    let begun = sessions.run(
        &[
            config(1, Hops::Single),
            config(2, Hops::Multi { ttl_min: 250 }),
        ],
        now,
    );
    let numbers: Vec<NonZeroU32> = begun.iter().filter_map(number).collect();
    let mut payload = payload.to_vec();
    if let (Some(place), Some(known)) = (payload.get_mut(8..12), numbers.get(usize::from(how >> 6)))
    {
        place.copy_from_slice(&known.get().to_be_bytes());
    }
    let datagram = Datagram {
        from: peer(how & 3),
        interface: None,
        ttl: [255, 254, 250, 249][usize::from(how >> 2 & 3)],
        multihop: how & 0x10 != 0,
        payload: &payload,
    };
    let out = sessions.receive(&datagram, now);
    let reports = sessions.report(now);
    let received: u64 = reports.iter().map(|report| report.received).sum();
    let of_sessions = reports.iter().flat_map(|report| report.discards.values());
    let discarded: u64 = of_sessions.chain(sessions.discards().values()).sum();
    assert_eq!(received + discarded, 1);
    assert!(valid || received == 0 || payload.len() >= LENGTH);
    let taken = reports.iter().find(|report| report.received == 1);
    assert!(out.is_empty() || taken.is_some_and(|report| report.name == datagram.from.to_string()));
    assert!(out.len() <= 4, "{out:?}");
    for report in &reports {
        assert!(report.state != State::Up || taken == Some(report));
    }
    assert!(sessions.next_deadline().is_some());
}

fn number(output: &Output) -> Option<NonZeroU32> {
    match output {
        Output::Send(number, _) => Some(*number),
        Output::Changed(..) | Output::Gone(_) => None,
    }
}

fn peer(n: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, n).into()
}

fn config(n: u8, hops: Hops) -> SessionConfig {
    SessionConfig {
        name: peer(n).to_string(),
        ends: Some(Ends::to(peer(n))),
        hops,
        interval_us: 100_000,
        multiplier: 3,
    }
}

/// Operations and packets for the machine of one session, as the bytes choose.
///
/// # Panics
/// Where a promise is broken.
pub fn bfd_machine(data: &[u8]) {
    let mut dice = Dice::Script(data);
    let settings = Settings::symmetric(Duration::from_millis(100), 3);
    let mut watch = Watch::new(settings, Instant::now());
    for _ in 0..STEPS_MAX {
        if matches!(dice, Dice::Script([])) {
            return;
        }
        watch.step(&mut dice);
    }
}
