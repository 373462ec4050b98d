//! Token buckets of a service and of prefixes of sources.

use std::net::SocketAddr;

use anylb::dataplane::jiffies;
use anylb::model::{RateLimit, SourceLimit};
use anylb::plan::{Desired, ServiceOptions};
use lb_common::lb::Exit;
use lb_tests::bench::bpf::test_run_once;
use lb_tests::harness::privileged;
use lb_tests::packet::{Segment, frame};

use crate::stage::{Loaded, desired, ip};

/// One a second, which is less than a test takes to run.
const fn limit(burst: u32, only_new_flows: bool) -> RateLimit {
    RateLimit {
        per_sec: 1,
        burst,
        only_new_flows,
    }
}

fn of_each(limit: RateLimit) -> SourceLimit {
    SourceLimit {
        limit,
        prefix_v4: 24,
        prefix_v6: 56,
        buckets: 4096,
    }
}

/// Every service with these limits.
fn with(rate: Option<RateLimit>, source_rate: Option<SourceLimit>) -> Desired {
    let mut state = desired();
    state.jiffies_per_sec = jiffies::per_second();
    for service in &mut state.services {
        service.options = ServiceOptions {
            rate,
            source_rate,
            ..ServiceOptions::default()
        };
    }
    state
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn packet(source: &str, flags: u8) -> Vec<u8> {
    let source: SocketAddr = (ip(source), 4001).into();
    let vip = match source {
        SocketAddr::V4(_) => ip("198.51.100.1"),
        SocketAddr::V6(_) => ip("2001:db8:100::1"),
    };
    frame(&Segment::new(source, (vip, 80).into(), flags).ip())
}

/// How many of so many packets go out.
fn passed(loaded: &Loaded, packet: &[u8], count: usize) -> usize {
    const XDP_TX: u32 = 3;
    let program = loaded.plane().program_fd().expect("a program");
    let mut output = [0; 2048];
    let sent = (0..count).filter(|_| {
        let (verdict, _) = test_run_once(program, packet, 0, &mut output).expect("a test run");
        verdict == XDP_TX
    });
    sent.count()
}

fn count(loaded: &Loaded, exit: Exit) -> u64 {
    let counters = loaded.plane().counters().expect("readable");
    let mut exits = counters.exits.iter();
    exits
        .find(|(one, _)| *one == exit)
        .map_or(0, |(_, count)| count.packets)
}

#[test]
fn a_service_takes_its_burst_and_no_more() {
    if !privileged::available("a_service_takes_its_burst_and_no_more") {
        return;
    }
    let loaded = Loaded::new("rate", &with(Some(limit(5, false)), None));
    for source in ["192.0.2.7", "2001:db8:c::7"] {
        let packet = packet(source, ACK);
        let probe = loaded.plane().probe(&packet).expect("a test run");
        assert_eq!(probe.exit, Exit::Sent, "a probe");
        let sent = passed(&loaded, &packet, 50);
        assert!((5..=6).contains(&sent), "{source}: {sent}");
        let probe = loaded.plane().probe(&packet).expect("a test run");
        assert_eq!(probe.exit, Exit::Sent, "a probe takes nothing");
    }
    assert!(count(&loaded, Exit::RateLimited) >= 88);
}

#[test]
fn sources_of_a_prefix_share_what_it_may_send() {
    if !privileged::available("sources_of_a_prefix_share_what_it_may_send") {
        return;
    }
    let loaded = Loaded::new("source-rate", &with(None, Some(of_each(limit(4, false)))));
    for (same, neighbour, other) in [
        ("192.0.2.7", "192.0.2.200", "192.0.3.7"),
        ("2001:db8:c::7", "2001:db8:c:ff::9", "2001:db8:c:100::7"),
    ] {
        let sent = passed(&loaded, &packet(same, ACK), 20);
        assert!((4..=5).contains(&sent), "{same}: {sent}");
        assert!(passed(&loaded, &packet(neighbour, ACK), 20) <= 1);
        let sent = passed(&loaded, &packet(other, ACK), 20);
        assert!((4..=5).contains(&sent), "{other}: {sent}");
    }
    assert!(count(&loaded, Exit::SourceLimited) >= 80);
    assert_eq!(count(&loaded, Exit::RateLimited), 0);
}

#[test]
fn what_a_source_sends_too_much_takes_nothing_from_the_service() {
    if !privileged::available("what_a_source_sends_too_much_takes_nothing_from_the_service") {
        return;
    }
    let state = with(Some(limit(10, false)), Some(of_each(limit(4, false))));
    let loaded = Loaded::new("both-rates", &state);
    let sent = ["192.0.2.7", "192.0.3.7", "192.0.4.7", "192.0.5.7"]
        .map(|source| passed(&loaded, &packet(source, ACK), 30));
    let total: usize = sent.iter().sum();
    assert!((4..=5).contains(&sent[0]), "{sent:?}");
    assert!((10..=11).contains(&total), "{sent:?}");
}

#[test]
fn new_flows_are_limited_and_established_ones_are_not() {
    if !privileged::available("new_flows_are_limited_and_established_ones_are_not") {
        return;
    }
    let loaded = Loaded::new("new-flows", &with(Some(limit(3, true)), None));
    let sent = passed(&loaded, &packet("192.0.2.7", SYN), 20);
    assert!((3..=4).contains(&sent), "{sent}");
    assert_eq!(passed(&loaded, &packet("192.0.2.7", ACK), 20), 20);
}

#[test]
fn buckets_come_and_go_with_the_limit() {
    if !privileged::available("buckets_come_and_go_with_the_limit") {
        return;
    }
    let mut loaded = Loaded::new("buckets", &with(None, None));
    let buckets = |loaded: &Loaded| -> Vec<u32> {
        let observed = loaded.plane().observed().expect("readable");
        observed.buckets.values().copied().collect()
    };
    assert_eq!(buckets(&loaded), [0_u32; 0]);
    loaded.apply(&with(Some(limit(3, false)), None));
    assert_eq!(buckets(&loaded), [8; 4]);
    loaded.apply(&with(None, Some(of_each(limit(3, false)))));
    assert_eq!(buckets(&loaded), [8 + 4096; 4]);
    loaded.reopen();
    assert_eq!(loaded.apply(&with(None, Some(of_each(limit(3, false))))), 0);
    loaded.apply(&with(None, None));
    assert_eq!(buckets(&loaded), [0_u32; 0]);
}
