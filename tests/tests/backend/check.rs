//! Runs one packet on the host and holds the bytes against what its exit promises.

use lb_common::backend::{Exit, Found};
use lb_tests::packet::{MACS, Tunnel, frame};

use crate::cases::{Family, wanted};
use crate::host::Host;

pub fn host(found: Found) -> Host {
    Host {
        found,
        ..Host::new(&wanted())
    }
}

/// What a packet becomes when it is passed on without a known next hop.
pub fn passed_on(tunnel: &Tunnel, inner: &[u8]) -> Vec<u8> {
    let next = tunnel.hops[usize::from(tunnel.index) + 1];
    let mut packet = Tunnel {
        source: tunnel.destination,
        destination: next,
        index: tunnel.index + 1,
        ttl: tunnel.ttl - 1,
        ..tunnel.clone()
    }
    .frame(inner);
    swapped(&mut packet);
    packet
}

/// Exchanges the MAC addresses.
pub fn swapped(packet: &mut [u8]) {
    packet[..6].copy_from_slice(&MACS[6..]);
    packet[6..12].copy_from_slice(&MACS[..6]);
}

/// Runs `inner` as `tunnel` carries it and holds the bytes against what the exit promises.
pub fn check(why: &str, host: &Host, tunnel: &Tunnel, inner: &[u8], expected: Exit) {
    let packet = tunnel.frame(inner);
    let (exit, bytes) = host.run(&packet);
    assert_eq!(exit, expected, "{why}");
    let promised = if exit.accepted().is_some() {
        frame(inner)
    } else if exit.forwarded().is_some() {
        passed_on(tunnel, inner)
    } else {
        packet
    };
    assert_eq!(bytes, promised, "{why}: bytes after {exit:?}");
}

pub fn forwarded(family: &Family) -> Exit {
    if family.vip().is_ipv4() {
        Exit::ForwardedV4
    } else {
        Exit::ForwardedV6
    }
}
