//! What the programs must make of a packet.
//!
//! | module | holds |
//! |---|---|
//! | [`packet`] | packets byte by byte, with true checksums |
//! | [`dice`] | choices that follow from a seed, or from a fuzzer's bytes |
//! | [`make`] | packets of every form, sound and not |
//! | [`node`] | the LB node's decision, and the tables of a node with every kind of service |
//! | [`host`] | the backend's decision, and the tables of a backend with every kind of service |
//! | [`both`] | both on one box |
//! | [`promise`] | what holds for every packet, whatever the decision |
//! | [`fuzz`] | what a fuzzer's bytes are tried with |
//! | [`hostile`] | BGP messages that have broken other speakers, and the answers |
//! | [`tally`] | how often each exit was reached |
//!
//! The differential test (`tests/tests/oracle`) runs the loaded programs and these decisions on the same packets; the fuzz target
//! (`fuzz`) runs the decisions alone. Both make their packets here, of the same tables: what a new feature needs goes into
//! [`node::scene`] or [`host::scene`], and is tried by both.

#![forbid(unsafe_code)]

pub mod both;
pub mod dice;
pub mod fuzz;
pub mod host;
pub mod hostile;
pub mod make;
pub mod node;
pub mod packet;
pub mod promise;
pub mod tally;

use std::net::{IpAddr, Ipv6Addr};

use lb_common::abi::{VipEntry, kind};
use lb_common::prefix::Length;
use lb_common::wire::{address_words, v4_mapped};

/// An address as the datapath holds it.
pub fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(v4) => v4_mapped(u32::from_ne_bytes(v4.octets())),
        IpAddr::V6(v6) => address_words(v6.octets()),
    }
}

/// The IPv6 form of an address.
pub(crate) fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// The entry of a VIP: of an address, or of the prefix of the length behind it.
pub(crate) fn vip(text: &str, id: u32) -> VipEntry {
    let address = words(target(text));
    let Some((_, length)) = text.split_once('/') else {
        return VipEntry {
            address,
            kind: kind::VIP,
            id,
        };
    };
    let length: u32 = length.parse().expect("as above");
    let kind = kind::prefix(length + if address[0] == 0 { 96 } else { 0 });
    let [high, low] = Length::of(kind).mask;
    VipEntry {
        address: [address[0] & high, address[1] & low],
        kind,
        id,
    }
}

/// The address of a VIP that packets go to.
pub(crate) fn target(vip: &str) -> IpAddr {
    ip(vip.split_once('/').map_or(vip, |(address, _)| address))
}

/// An address of a scene.
pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse()
        .expect("the scenes' addresses are written down here")
}
