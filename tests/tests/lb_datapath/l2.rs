//! Backends on the node's own link.

use anylb::model::{Encap, Mode, PoolName, Vlan};
use anylb::plan::{Desired, DesiredPool};
use lb_common::lb::Exit;
use lb_tests::packet::{Segment, set_ttl};

use super::stage::{Loaded, at, desired, pool, probe, service, tagged};

const BACKEND: [u8; 6] = [2, 0, 0, 0, 0, 2];
const NODE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn on_link(vlan: Option<Vlan>) -> Desired {
    let mut state = desired();
    let mut members = pool(&["10.1.0.1"], 1);
    for member in &mut members.members {
        member.next_hop = member
            .next_hop
            .map(|hop| anylb::plan::desired::NextHop { vlan, ..hop });
    }
    let members = DesiredPool {
        encap: Encap::L2,
        mode: Mode::Stateless,
        ..members
    };
    state.pools = [(PoolName("web".into()), members)].into();
    state.services = ["198.51.100.1", "2001:db8:100::1"]
        .map(|vip| service(vip, vip, "web"))
        .into();
    state
}

fn segments() -> [Segment; 2] {
    [
        ("192.0.2.7:4001", "198.51.100.1:80"),
        ("[2001:db8:c::7]:4001", "[2001:db8:100::1]:80"),
    ]
    .map(|(from, to)| Segment::new(at(from), at(to), 0x10))
}

#[test]
fn frames_get_other_addresses_and_packets_stay() {
    if !lb_tests::harness::privileged::available("frames_get_other_addresses_and_packets_stay") {
        return;
    }
    let tag = Vlan {
        ethertype: 0x8100,
        id: 7,
    };
    for vlan in [None, Some(tag)] {
        let loaded = Loaded::new("l2", &on_link(vlan));
        for segment in segments() {
            let mut frame = segment.frame();
            frame[6..12].copy_from_slice(&ROUTER);
            let mut packet = segment.ip();
            set_ttl(&mut packet, 63);
            let ethertype = &frame[12..14];
            let mut expected = [&BACKEND[..], &NODE, ethertype, &packet].concat();
            if vlan.is_some() {
                expected.splice(12..12, [0x81, 0, 0, 7]);
            }
            for came in [frame.clone(), tagged(&frame, &[0x88a8, 0x8100])] {
                assert_eq!(probe(&loaded, &came), expected, "{vlan:?}");
            }
        }
    }
}

#[test]
fn what_comes_from_the_backend_is_no_clients() {
    if !lb_tests::harness::privileged::available("what_comes_from_the_backend_is_no_clients") {
        return;
    }
    let loaded = Loaded::new("l2-loop", &on_link(None));
    for segment in segments() {
        let mut frame = segment.frame();
        frame[6..12].copy_from_slice(&BACKEND);
        let result = loaded.plane().probe(&frame).expect("a test run");
        assert!(result.agrees, "{result:?}");
        assert_eq!(result.exit, Exit::L2Loop);
    }
}
