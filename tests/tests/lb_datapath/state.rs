//! One state after another, and one agent after another.

use std::collections::BTreeSet;

use anylb::dataplane::Dataplane;
use anylb::model::{PoolName, Protocol};
use anylb::plan::Observed;
use lb_common::lb::Exit;
use lb_tests::harness::privileged;

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
