//! The programs in the kernel, with real sockets.

use std::net::TcpListener;

use anyhow::{Result, ensure};
use anylb::backend::datapath::{Datapath, Entry};
use anylb::backend::host;
use anylb::backend::image::{Image, Wanted};
use anylb::backend::kernel_types::Offsets;
use lb_common::backend::{Exit, Found};
use lb_common::backend_abi::Macs;
use lb_tests::harness::privileged;
use lb_tests::packet::{ACK, RST, SYN, Segment, Tunnel, frame, icmp_error, plain_tunnel};

use crate::cases::{FAMILIES, Family, ip, wanted};
use crate::check::forwarded;
use crate::stage::{ENTRIES, Stage, connection, ghost, half_open, namespace};

fn staged(test: &str, work: impl Fn(Stage) -> Result<()> + Sync) {
    staged_with(test, &wanted(), work);
}

/// Runs `work` on backends in namespaces of their own, one for each program, where that is possible.
pub fn staged_with(test: &str, wanted: &Wanted, work: impl Fn(Stage) -> Result<()> + Sync) {
    if !privileged::available(test) {
        return;
    }
    for entry in ENTRIES {
        let netns = namespace(test).expect("a namespace");
        let outcome = netns.run(|| work(Stage::set(wanted, entry)?));
        outcome.unwrap_or_else(|error| panic!("{entry:?}: {error:#}"));
    }
}

#[test]
fn the_verifier_takes_the_programs() {
    if !privileged::available("the_verifier_takes_the_programs") {
        return;
    }
    let image = Image::new(&wanted()).expect("it fits");
    let known = host::offsets();
    assert_ne!(known, Offsets::default(), "this kernel has no BTF");
    for offsets in [known, Offsets::default()] {
        for entry in ENTRIES {
            Datapath::load(&image, offsets, entry)
                .unwrap_or_else(|error| panic!("{entry:?}, {offsets:?}: {error:#?}"));
        }
    }
}

#[test]
fn listeners_and_connections() {
    staged("live", |mut stage| {
        for family in &FAMILIES {
            let (tunnel, go) = (family.tunnel(), forwarded(family));
            let (syn, data) = (family.segment(SYN).ip(), family.data().ip());
            stage.same("SYN, nothing", &tunnel, &syn, Found::Nothing, go)?;
            stage.same("data, nothing", &tunnel, &data, Found::Nothing, go)?;
            let listener = TcpListener::bind(family.vip())?;
            stage.same("SYN", &tunnel, &syn, Found::Listener, Exit::AcceptedSyn)?;
            stage.same("no cookie", &tunnel, &data, Found::Listener, go)?;
            drop(listener);

            let (client, server) = connection(family)?;
            stage.same("data", &tunnel, &data, Found::Live, Exit::AcceptedSocket)?;
            stage.same("SYN", &tunnel, &syn, Found::Live, Exit::AcceptedSyn)?;
            let error = icmp_error(family.client().ip(), unreachable(family), &reply(family, 1));
            stage.same("error", &tunnel, &error, Found::Live, Exit::AcceptedSocket)?;
            let other = Segment {
                source: (family.client().ip(), 40001).into(),
                ..family.data()
            };
            stage.same("other", &tunnel, &other.ip(), Found::Nothing, go)?;

            // The server closes first: half closed until the client closes too, then TIME_WAIT.
            drop(server);
            stage.becomes("half closed", &tunnel, &data, Exit::AcceptedSocket)?;
            stage.same("FIN", &tunnel, &data, Found::Live, Exit::AcceptedSocket)?;
            drop(client);
            stage.becomes("TIME_WAIT", &tunnel, &data, go)?;
            stage.same("TIME_WAIT", &tunnel, &data, Found::TimeWait, go)?;
            let last = Tunnel { index: 3, ..tunnel };
            stage.same("end", &last, &data, Found::TimeWait, Exit::AcceptedSocket)?;
        }
        Ok(())
    });
}

#[test]
fn handshakes_by_the_number_they_acknowledge() {
    staged("handshake", |mut stage| {
        for family in &FAMILIES {
            let (tunnel, go) = (family.tunnel(), forwarded(family));
            let _listener = TcpListener::bind(family.vip())?;
            let ghost = ghost(family, 41000);
            let sent = half_open(family, ghost)?;
            let found = Found::Handshake(Some(sent));
            let from_ghost = |flags, acknowledgment| {
                Segment {
                    acknowledgment,
                    ..Segment::new(ghost, family.vip(), flags)
                }
                .ip()
            };
            let fits = from_ghost(ACK, sent.wrapping_add(1));
            stage.same("fits", &tunnel, &fits, found, Exit::AcceptedHandshake)?;
            let other = from_ghost(ACK, sent.wrapping_add(2));
            stage.same("another's", &tunnel, &other, found, go)?;
            let reset = from_ghost(RST, 0);
            stage.same("reset", &tunnel, &reset, found, go)?;
            let again = from_ghost(SYN, 0);
            stage.same("again", &tunnel, &again, found, Exit::AcceptedSyn)?;
            for (off, expected) in [(0, Exit::AcceptedHandshake), (1, go)] {
                let quoted = Segment {
                    sequence: sent.wrapping_add(off),
                    ..Segment::new(family.vip(), ghost, SYN | ACK)
                };
                let error = icmp_error(ghost.ip(), unreachable(family), &quoted.ip());
                stage.same("error", &tunnel, &error, found, expected)?;
            }
        }
        Ok(())
    });
}

#[test]
fn cookies_of_this_host() {
    staged("cookie", |mut stage| {
        const ALWAYS: &str = "2";
        std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", ALWAYS)?;
        for family in &FAMILIES {
            let (tunnel, go) = (family.tunnel(), forwarded(family));
            let _listener = TcpListener::bind(family.vip())?;
            let ghost = ghost(family, 42000);
            let cookie = half_open(family, ghost)?;
            let answer = |cookie: u32| {
                let syn = Segment::new(ghost, family.vip(), SYN);
                Segment {
                    flags: ACK,
                    sequence: syn.sequence.wrapping_add(1),
                    acknowledgment: cookie.wrapping_add(1),
                    ..syn
                }
                .ip()
            };
            let valid = answer(cookie);
            stage.same(
                "valid",
                &tunnel,
                &valid,
                Found::Cookie,
                Exit::AcceptedCookie,
            )?;
            let forged = answer(cookie ^ 0x0800_0000);
            stage.same("forged", &tunnel, &forged, Found::Listener, go)?;
        }
        Ok(())
    });
}

#[test]
fn next_hops_are_asked_for_and_used() {
    staged("nexthop", |mut stage| {
        for family in &FAMILIES {
            let packet = family.tunnel().frame(&family.data().ip());
            let next = ip(family.hops[1]);
            stage.kernel(&packet)?;
            ensure!(stage.datapath.next_wanted() == Some(next), "asked for");
            stage.kernel(&packet)?;
            ensure!(stage.datapath.next_wanted().is_none(), "once a while");
            let macs = Macs {
                low: 0x0807_0605_0403_0201,
                high: 0x0c0b_0a09,
                padding: 0,
            };
            stage.datapath.set_next_hop(next, Some(macs))?;
            stage
                .host
                .next_hops
                .insert(anylb::plan::desired::words(next), macs);
            // The cache holds the old answer for a second.
            let start = std::time::Instant::now();
            while stage.kernel(&packet)? != stage.host.run(&packet) {
                ensure!(start.elapsed().as_secs() < 5, "the new way is taken");
                std::thread::yield_now();
            }
        }
        Ok(())
    });
}

#[test]
fn every_pair_of_families_and_marks_ends_here() {
    const FINAL: u8 = 2;
    const ECT_0: u8 = 2;
    staged("pairs", |stage| {
        for (outer, inner) in FAMILIES
            .iter()
            .flat_map(|one| FAMILIES.map(|two| (one, two)))
        {
            for (mark, tos) in [(0, ECT_0), (3, ECT_0), (3, 0)] {
                let segment = Segment {
                    tos,
                    ..inner.data()
                };
                let segment = segment.ip();
                let with_hops = Tunnel {
                    tos: mark,
                    flags: FINAL,
                    ..outer.tunnel()
                };
                let plain = |gue| {
                    let (from, to) = (ip(outer.lb), ip(outer.hops[0]));
                    frame(&plain_tunnel(from, to, gue, mark, &segment))
                };
                for packet in [with_hops.frame(&segment), plain(true), plain(false)] {
                    let kernel = stage.kernel(&packet)?;
                    ensure!(kernel == stage.host.run(&packet), "{kernel:02x?}");
                    let drops = mark == 3 && tos == 0;
                    ensure!(kernel.0.accepted().is_some() != drops, "{:?}", kernel.0);
                }
            }
        }
        Ok(())
    });
}

#[test]
fn damaged_packets_leave_alike() {
    staged("damaged", |stage| {
        let good: Vec<Vec<u8>> = FAMILIES
            .iter()
            .flat_map(|family| {
                let error =
                    icmp_error(family.client().ip(), unreachable(family), &reply(family, 9));
                let options = Segment {
                    ip_options: vec![1; 8],
                    ..family.data()
                };
                [
                    family.data().ip(),
                    family.segment(SYN).ip(),
                    error,
                    options.ip(),
                ]
                .map(|inner| family.tunnel().frame(&inner))
            })
            .collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        // Test runs of TC programs insist on an IP header.
        let least = if stage.entry == Entry::Tc { 54 } else { 14 };
        for round in 0..20_000 {
            let mut packet = good[round % good.len()].clone();
            for _ in 0..=random(2) {
                let at = 12 + random(packet.len().min(180) - 12);
                packet[at] = match random(3) {
                    0 => packet[at] ^ 1 << random(8),
                    1 => random(256) as u8,
                    _ => packet[at].wrapping_add(1),
                };
            }
            if random(10) == 0 {
                packet.truncate(least + random(packet.len() - least));
            }
            let (kernel, host) = (stage.kernel(&packet)?, stage.host.run(&packet));
            ensure!(
                kernel == host,
                "{packet:02x?}: kernel {kernel:02x?}, host {host:02x?}"
            );
        }
        Ok(())
    });
}

fn unreachable(family: &Family) -> u8 {
    if family.vip().is_ipv4() { 3 } else { 1 }
}

/// A segment of the server's, as errors quote it.
fn reply(family: &Family, sequence: u32) -> Vec<u8> {
    Segment {
        sequence,
        ..Segment::new(family.vip(), family.client(), ACK)
    }
    .ip()
}
