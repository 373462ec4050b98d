//! VIPs as entries of the datapath's index.

use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::abi::{VipEntry, kind};
use lb_common::prefix::Length;

use super::desired::{address_of, words};
use crate::model::Vip;

/// What an IPv4 address has before it in its IPv6 form.
const V4_BITS: u32 = 96;

/// The entry of a VIP with this number.
pub fn entry(vip: Vip, id: u32) -> VipEntry {
    VipEntry {
        address: words(vip.net().network()),
        kind: match vip.single() {
            Some(_) => kind::VIP,
            None => kind::prefix(bits(vip.net())),
        },
        id,
    }
}

/// The VIP of an entry.
pub fn of(entry: &VipEntry) -> Vip {
    let address = address_of(entry.address);
    if !kind::is_prefix(entry.kind) {
        return address.into();
    }
    let before = if address.is_ipv4() { V4_BITS } else { 0 };
    let bits = kind::length(entry.kind).saturating_sub(before);
    // Of what is in the kernel and no prefix at all the address is left.
    IpNet::new(address, bits as u8).map_or_else(|_| address.into(), Vip::from)
}

/// Bits of a prefix as the datapath holds it.
pub fn bits(net: IpNet) -> u32 {
    let before = match net.addr() {
        IpAddr::V4(_) => V4_BITS,
        IpAddr::V6(_) => 0,
    };
    before + u32::from(net.prefix_len())
}

/// First address and mask of a prefix, as the datapath holds them.
pub fn masked(net: IpNet) -> ([u64; 2], [u64; 2]) {
    let mask = Length::of(kind::prefix(bits(net))).mask;
    (words(net.network()), mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(text: &str) -> Vip {
        text.parse().unwrap()
    }

    #[test]
    fn an_entry_tells_its_vip() {
        for text in [
            "198.51.100.1",
            "203.0.113.0/24",
            "10.0.0.0/8",
            "2001:db8::1",
            "2001:db8:1::/64",
            "2001:db8::/127",
        ] {
            assert_eq!(of(&entry(vip(text), 1)), vip(text));
        }
    }
}
