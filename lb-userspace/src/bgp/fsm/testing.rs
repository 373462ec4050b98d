//! What the tests of the state machine share.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::{Direction, Settings};
use crate::bgp::codec::{Capabilities, Open};
use crate::bgp::route::Family;

pub(super) const OUT: Direction = Direction::Outgoing;
pub(super) const IN: Direction = Direction::Incoming;
pub(super) const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11));

pub(in crate::bgp) fn settings() -> Settings {
    Settings {
        asn: 65001,
        identifier: Ipv4Addr::new(192, 0, 2, 10),
        hold_time_secs: 9,
        peer_asn: 65000,
        passive: false,
        next_hop_v4: None,
        next_hop_v6: None,
        graceful_restart: None,
    }
}

pub(super) fn open(last: u8) -> Open {
    Open {
        asn: 65000,
        hold_time_secs: 9,
        identifier: Ipv4Addr::new(192, 0, 2, last),
        capabilities: Capabilities {
            families: BTreeSet::from(Family::ALL),
            route_refresh: true,
            four_octet_as: true,
            ..Default::default()
        },
    }
}
