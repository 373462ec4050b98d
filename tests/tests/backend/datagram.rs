//! The decision about UDP, for both families.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use anylb::backend::image::{Endpoint, Wanted};
use anylb::model::{Ports, Protocol};
use lb_common::backend::{Exit, Found};
use lb_tests::packet::{Tunnel, datagram, icmp_error};
use socket2::{Domain, Socket, Type};

use crate::cases::{FAMILIES, Family, ip, wanted};
use crate::check::{check, forwarded, swapped};
use crate::host::Host;
use crate::kernel::staged_with;

const FINAL: u8 = 2;
const KNOWN_ONLY: u8 = 0x20;

/// The host at `own` with UDP services around the VIPs' port; `has_sockets`: their servers connect.
fn udp(own: IpAddr, has_sockets: bool) -> Wanted {
    let endpoint = |family: &Family| Endpoint {
        protocol: Protocol::Udp,
        ports: Ports::range(70, 90).expect("a range"),
        has_sockets,
        ..Endpoint::tcp(family.vip())
    };
    Wanted {
        own: [own].into(),
        endpoints: FAMILIES.iter().map(endpoint).collect(),
        ..wanted()
    }
}

/// A first hop whose servers connect.
fn first_hop(family: &Family, found: Found) -> Host {
    Host {
        found,
        ..Host::new(&udp(family.hops()[0], true))
    }
}

fn question(family: &Family) -> Vec<u8> {
    datagram(family.client(), family.vip())
}

#[test]
fn without_sockets_any_backend_answers() {
    for family in &FAMILIES {
        let host = Host::new(&udp(family.hops()[0], false));
        let inner = question(family);
        let exit = Exit::AcceptedStateless;
        check("stateless", &host, &family.tunnel(), &inner, exit);
        assert_eq!(host.flow.take(), None, "no socket is looked up");
    }
}

#[test]
fn a_flow_stays_with_its_socket() {
    for family in &FAMILIES {
        let host = first_hop(family, Found::Live);
        let exit = Exit::AcceptedSocket;
        check("socket", &host, &family.tunnel(), &question(family), exit);
    }
}

/// From hop to hop, then back to the first, which accepts it whatever its sockets say.
#[test]
fn a_new_flow_begins_at_its_first_hop() {
    for family in &FAMILIES {
        let (hops, inner) = (family.hops(), question(family));
        let mut tunnel = family.tunnel();
        let mut packet = tunnel.frame(&inner);
        for (hop, to) in [(0, 1), (1, 2), (2, 3), (3, 0)] {
            let (exit, bytes) = Host::new(&udp(hops[hop], true)).run(&packet);
            assert_eq!(exit, forwarded(family), "at hop {hop}");
            tunnel = Tunnel {
                source: hops[hop],
                destination: hops[to],
                index: to as u8,
                flags: if to == 0 { FINAL } else { 0 },
                ttl: tunnel.ttl - 1,
                ..tunnel
            };
            let mut expected = tunnel.frame(&inner);
            if hop % 2 == 0 {
                swapped(&mut expected);
            }
            assert_eq!(bytes, expected, "at hop {hop}");
            packet = bytes;
        }
        let host = first_hop(family, Found::Nothing);
        check("FINAL", &host, &tunnel, &inner, Exit::AcceptedFinal);
    }
}

#[test]
fn what_cannot_be_passed_on_is_accepted() {
    for family in &FAMILIES {
        let inner = question(family);
        let only = Tunnel::new(ip(family.lb), &family.hops()[..1]);
        let host = first_hop(family, Found::Nothing);
        check("one hop", &host, &only, &inner, Exit::AcceptedLastHop);
        host.budget.set(0);
        let exit = Exit::AcceptedNoBudget;
        check("no budget", &host, &family.tunnel(), &inner, exit);
        let mut blind = udp(family.hops()[0], true);
        blind.blind = blind.endpoints.clone();
        let exit = Exit::AcceptedBlind;
        check("blind", &Host::new(&blind), &family.tunnel(), &inner, exit);
    }
}

#[test]
fn under_attack_no_flow_begins() {
    for family in &FAMILIES {
        let inner = question(family);
        let attacked = |hops: &[IpAddr], index: u8| Tunnel {
            flags: KNOWN_ONLY,
            destination: family.hops()[0],
            index,
            ..Tunnel::new(ip(family.lb), hops)
        };
        let all = attacked(&family.hops(), 0);
        let live = first_hop(family, Found::Live);
        check("socket", &live, &all, &inner, Exit::AcceptedSocket);
        let host = first_hop(family, Found::Nothing);
        check("hops left", &host, &all, &inner, forwarded(family));
        let only = attacked(&family.hops()[..1], 0);
        check("one hop", &host, &only, &inner, Exit::AttackUnknown);
        let last = attacked(&family.hops(), 3);
        check("last hop", &host, &last, &inner, Exit::AttackUnknown);
        host.budget.set(0);
        check("no budget", &host, &all, &inner, Exit::AttackUnknown);
    }
}

#[test]
fn an_error_follows_its_flow_and_begins_none() {
    for family in &FAMILIES {
        let v4 = family.vip().is_ipv4();
        let (router, unreachable) = if v4 {
            (ip("203.0.113.1"), 3)
        } else {
            (ip("2001:db8:9::1"), 1)
        };
        let reply = datagram(family.vip(), family.client());
        let error = icmp_error(router, unreachable, &reply);
        let host = first_hop(family, Found::Live);
        check(
            "socket",
            &host,
            &family.tunnel(),
            &error,
            Exit::AcceptedSocket,
        );
        let flow = host.flow.take();
        host.run(&family.tunnel().frame(&question(family)));
        assert_eq!(flow, host.flow.take(), "the client's own flow");
        let host = first_hop(family, Found::Nothing);
        check(
            "no socket",
            &host,
            &family.tunnel(),
            &error,
            forwarded(family),
        );
        let last = Tunnel {
            destination: family.hops()[0],
            index: 3,
            ..family.tunnel()
        };
        check("last hop", &host, &last, &error, Exit::AcceptedLastHop);
    }
}

#[test]
fn sockets_of_the_kernel() {
    let mut wanted = udp(ip(FAMILIES[0].hops[0]), true);
    wanted.own.insert(ip(FAMILIES[1].hops[0]));
    staged_with("udp", &wanted, |mut stage| {
        for family in &FAMILIES {
            let (tunnel, inner, go) = (family.tunnel(), question(family), forwarded(family));
            stage.same("nothing", &tunnel, &inner, Found::Nothing, go)?;
            let _bound = bound(family.vip())?;
            stage.same("bound", &tunnel, &inner, Found::Listener, go)?;
            let connected = bound(family.vip())?;
            connected.connect(&family.client().into())?;
            let exit = Exit::AcceptedSocket;
            stage.same("connected", &tunnel, &inner, Found::Live, exit)?;
            let other = datagram((family.client().ip(), 40001).into(), family.vip());
            stage.same("another's", &tunnel, &other, Found::Listener, go)?;
            drop(connected);
            // A program that another test starts has the socket for a moment too.
            stage.becomes("closed", &tunnel, &inner, go)?;
            stage.same("closed", &tunnel, &inner, Found::Listener, go)?;
            if family.vip().is_ipv4() {
                let _both = for_both_families(family)?;
                stage.same("of both families", &tunnel, &inner, Found::Live, exit)?;
            }
            let last = Tunnel { index: 3, ..tunnel };
            let (exit, _) = stage.kernel(&last.frame(&inner))?;
            assert_eq!(exit, go, "back to the first hop");
        }
        Ok(())
    });
}

/// The socket of a server that waits on IPv6 for IPv4 as well, connected to the client.
fn for_both_families(family: &Family) -> Result<Socket> {
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    let socket = bound(mapped(family.vip()))?;
    socket.connect(&mapped(family.client()).into())?;
    Ok(socket)
}

/// A socket beside others on the same address.
fn bound(address: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
