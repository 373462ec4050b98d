//! One state after another, and one agent after another.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anylb::dataplane::Dataplane;
use anylb::model::{PoolName, Protocol};
use anylb::plan::Observed;
use lb_common::lb::Exit;
use lb_tests::bench::bpf::test_run;
use lb_tests::harness::privileged;
use lb_tests::packet::{ACK, SYN, Segment, frame};

use crate::stage::{Loaded, at, desired, ip, pool};

#[test]
fn an_equal_state_needs_nothing_and_a_change_swaps_the_bank() {
    if !privileged::available("an_equal_state_needs_nothing_and_a_change_swaps_the_bank") {
        return;
    }
    let mut state = desired();
    let mut loaded = Loaded::new("swap", &state);
    assert_eq!(loaded.apply(&state), 0);
    let before = loaded.plane().observed().expect("readable").bank;
    let four = state
        .pools
        .get_mut(&PoolName("four".into()))
        .expect("the pool");
    *four = pool(&["10.1.0.9", "10.1.0.1"], 4);
    loaded.apply(&state);
    assert_ne!(loaded.plane().observed().expect("readable").bank, before);
    let result = loaded
        .plane()
        .probe(&Dataplane::probe_packet(
            Protocol::Tcp,
            at("192.0.2.7:4001"),
            at("198.51.100.1:80"),
        ))
        .expect("a test run");
    let hops: BTreeSet<_> = result.hops.iter().copied().collect();
    assert_eq!(hops, BTreeSet::from([ip("10.1.0.1"), ip("10.1.0.9")]));
    state
        .services
        .retain(|service| service.vip != ip("198.51.100.1").into());
    loaded.apply(&state);
    let result = loaded
        .plane()
        .probe(&Dataplane::probe_packet(
            Protocol::Tcp,
            at("192.0.2.7:4001"),
            at("198.51.100.1:80"),
        ))
        .expect("a test run");
    assert_eq!(result.exit, Exit::NotVip, "a removed VIP is foreign");
}

#[test]
fn a_service_keeps_what_its_former_backends_had() {
    if !privileged::available("a_service_keeps_what_its_former_backends_had") {
        return;
    }
    const FLOWS: u16 = 64;
    let open = |loaded: &Loaded| {
        for port in 0..FLOWS {
            let port = 4000 + port;
            for flags in [SYN, ACK] {
                let client = SocketAddr::new(ip("192.0.2.7"), port);
                let segment = Segment::new(client, at("198.51.100.1:80"), flags).ip();
                let program = loaded.plane().program_fd().expect("loaded");
                let (verdict, _) = test_run(program, &frame(&segment), 1).expect("a test run");
                assert_eq!(verdict, 3, "sent");
            }
        }
    };
    let mut state = desired();
    let mut loaded = Loaded::new("retired", &state);
    let flows = u64::from(FLOWS);
    open(&loaded);
    assert_eq!(loaded.counted("web-v4"), (2 * flows, flows, 2 * flows));
    let mut with = |loaded: &mut Loaded, backends: std::ops::Range<u8>| {
        let backends: Vec<_> = backends.map(|n| format!("10.1.1.{n}")).collect();
        let backends: Vec<_> = backends.iter().map(String::as_str).collect();
        let name = PoolName("four".into());
        *state.pools.get_mut(&name).expect("the pool") = pool(&backends, 4);
        loaded.apply(&state);
    };

    with(&mut loaded, 1..6);
    assert_eq!(
        loaded.counted("web-v4"),
        (2 * flows, flows, 0),
        "other backends under the same numbers"
    );
    open(&loaded);
    with(&mut loaded, 1..41);
    assert_eq!(
        loaded.counted("web-v4"),
        (4 * flows, 2 * flows, 0),
        "more of them than there were numbers"
    );
    open(&loaded);
    loaded.reopen();
    assert_eq!(loaded.counted("web-v4"), (6 * flows, 3 * flows, 2 * flows));
    assert_eq!(loaded.counted("voice-v4"), (0, 0, 0));
}

#[test]
fn a_second_agent_adopts_the_pinned_state() {
    if !privileged::available("a_second_agent_adopts_the_pinned_state") {
        return;
    }
    let state = desired();
    let mut loaded = Loaded::new("adopt", &state);
    let observed = loaded.plane().observed().expect("readable");
    loaded.reopen();
    assert_eq!(loaded.plane().observed().expect("readable"), observed);
    assert_ne!(observed, Observed::default());
    assert_eq!(
        loaded.apply(&state),
        0,
        "an adopted datapath is not touched"
    );
}
