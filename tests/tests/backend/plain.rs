//! Tunnels without a list of hops end here, whatever the sockets say.

use lb_common::backend::{Exit, Found};
use lb_tests::packet::{SYN, frame, plain_tunnel, set_ttl};

use crate::cases::{FAMILIES, ip};
use crate::check::host;

const STRANGERS: [&str; 2] = ["203.0.113.9", "2001:db8:bad::9"];
const CE: u8 = 3;
const ECT_0: u8 = 2;

#[test]
fn every_pair_of_families_ends_here() {
    for outer in &FAMILIES {
        for inner in &FAMILIES {
            for (gue, segment) in [(false, inner.data()), (true, inner.segment(SYN))] {
                let segment = segment.ip();
                let packet = plain_tunnel(ip(outer.lb), outer.hops()[0], gue, 0, &segment);
                for found in [Found::Nothing, Found::Live] {
                    let (exit, bytes) = host(found).run(&frame(&packet));
                    assert_eq!((exit, &bytes), (Exit::AcceptedPlain, &frame(&segment)));
                }
            }
        }
    }
}

#[test]
fn congestion_marks_cross_its_end() {
    for family in &FAMILIES {
        let mut segment = family.data();
        for (before, after) in [(ECT_0, Some(CE)), (0, None)] {
            segment.tos = before;
            let packet = plain_tunnel(ip(family.lb), family.hops()[0], false, CE, &segment.ip());
            let (exit, bytes) = host(Found::Nothing).run(&frame(&packet));
            match after {
                Some(tos) => {
                    segment.tos = tos;
                    assert_eq!((exit, bytes), (Exit::AcceptedPlain, frame(&segment.ip())));
                }
                None => assert_eq!(exit, Exit::EcnCongested),
            }
        }
    }
}

/// A host may have tunnels of its own: those of strangers are the kernel's, but not on our port.
#[test]
fn strangers_are_left_to_the_kernel() {
    for (family, stranger) in FAMILIES.iter().zip(STRANGERS) {
        let segment = family.data().ip();
        for (gue, expected) in [(false, Exit::NotTunnel), (true, Exit::UntrustedSource)] {
            let packet = frame(&plain_tunnel(
                ip(stranger),
                family.hops()[0],
                gue,
                0,
                &segment,
            ));
            let (exit, bytes) = host(Found::Live).run(&packet);
            assert_eq!((exit, bytes), (expected, packet), "{stranger}");
        }
        let elsewhere = frame(&plain_tunnel(
            ip(family.lb),
            family.hops()[1],
            false,
            0,
            &segment,
        ));
        let (exit, bytes) = host(Found::Live).run(&elsewhere);
        assert_eq!(
            (exit, bytes),
            (Exit::NotTunnel, elsewhere),
            "to another host"
        );
    }
}

#[test]
fn what_lies_is_dropped() {
    for family in &FAMILIES {
        let segment = family.data().ip();
        let cut = segment.len() - 1;
        let tunnel =
            |gue, inner: &[u8]| plain_tunnel(ip(family.lb), family.hops()[0], gue, 0, inner);
        let mut unknown = tunnel(true, &segment);
        let gue = unknown.len() - segment.len() - 4;
        unknown[gue + 1] = 6;
        let mut flags = tunnel(true, &segment);
        flags[gue + 3] = 1;
        let mut other_vip = segment.clone();
        set_ttl(&mut other_vip, 64);
        let vip_at = if family.vip().is_ipv4() { 19 } else { 39 };
        other_vip[vip_at] ^= 0x55;
        for (why, packet, expected) in [
            (
                "inner length",
                tunnel(false, &segment[..cut]),
                Exit::Malformed,
            ),
            (
                "inner length in GUE",
                tunnel(true, &segment[..cut]),
                Exit::Malformed,
            ),
            ("neither 4 nor 41", unknown, Exit::Malformed),
            ("GUE flags", flags, Exit::Malformed),
            ("another VIP", tunnel(false, &other_vip), Exit::NotOurVip),
        ] {
            let (exit, _) = host(Found::Live).run(&frame(&packet));
            assert_eq!(exit, expected, "{why}");
        }
    }
}
