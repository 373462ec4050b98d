//! UPDATEs that are sent (RFC 4271 section 4.3, RFC 4760).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use rustbgpd_wire::{
    Afi, AsPath, AsPathSegment, ExtendedCommunity, Ipv4NlriEntry, Ipv4Prefix, Ipv4UnicastMode,
    Ipv6Prefix, LargeCommunity, MpReachNlri, MpUnreachNlri, NlriEntry, Origin, PathAttribute,
    Prefix, Safi, UpdateMessage,
};

use super::frame::{HEADER_LEN, MESSAGE_MAX};
use crate::bgp::community::{Communities, LinkBandwidth};
use crate::bgp::route::Family;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// These prefixes, all of one family, are no longer announced.
    Withdraw {
        /// Their family.
        family: Family,
        /// At least one.
        prefixes: Vec<IpNet>,
    },
    /// These prefixes, all of one family, are announced.
    Announce {
        /// What is said about each of them.
        attributes: Attributes,
        /// At least one.
        prefixes: Vec<IpNet>,
    },
    /// End-of-RIB of a family (RFC 4724 section 2).
    EndOfRib(Family),
}

/// Path attributes of an announcement; ORIGIN is always IGP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributes {
    /// Of the prefixes.
    pub family: Family,
    /// AS_PATH as one sequence; empty towards internal peers.
    pub as_path: Vec<u32>,
    /// NEXT_HOP, or where it is an IPv6 address the next hop of MP_REACH_NLRI, for prefixes of either family (RFC 8950).
    pub next_hop: IpAddr,
    /// Beside a global IPv6 next hop, the link-local address of the same host (RFC 2545 section 3).
    pub link_local: Option<Ipv6Addr>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF, for internal peers only.
    pub local_pref: Option<u32>,
    /// COMMUNITIES and LARGE_COMMUNITY; each absent when empty.
    pub communities: Communities,
    /// The link bandwidth in EXTENDED COMMUNITIES (RFC 4360), and the AS that says so.
    pub bandwidth: Option<(LinkBandwidth, u32)>,
}

/// An UPDATE that cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// What the library refuses.
    #[error("cannot encode UPDATE: {0}")]
    Wire(#[from] rustbgpd_wire::EncodeError),
}

/// Octets left for prefixes beside everything else that `attributes` make a message hold.
pub fn nlri_room(
    attributes: Option<&Attributes>,
    family: Family,
    four_octet_as: bool,
) -> Result<usize, EncodeError> {
    let empty = match attributes {
        Some(attributes) => Update::Announce {
            attributes: attributes.clone(),
            prefixes: Vec::new(),
        },
        None => Update::Withdraw {
            family,
            prefixes: Vec::new(),
        },
    };
    let used = message(&empty, four_octet_as)?.encoded_len();
    // A multiprotocol attribute above 255 octets has one more octet of length.
    let multiprotocol = match attributes {
        Some(attributes) => attributes.next_hop.is_ipv6(),
        None => family == Family::Ipv6,
    };
    let extended = usize::from(multiprotocol);
    Ok(MESSAGE_MAX.saturating_sub(used + extended))
}

/// Octets of a prefix in a message.
pub fn prefix_len(prefix: &IpNet) -> usize {
    1 + usize::from(prefix.prefix_len()).div_ceil(8)
}

/// The whole message.
pub(super) fn encode(update: &Update, four_octet_as: bool) -> Result<Vec<u8>, EncodeError> {
    let message = message(update, four_octet_as)?;
    let mut bytes = Vec::with_capacity(message.encoded_len().max(HEADER_LEN));
    message.encode(&mut bytes)?;
    Ok(bytes)
}

fn message(update: &Update, four_octet_as: bool) -> Result<UpdateMessage, EncodeError> {
    let (announced, withdrawn, attributes) = match update {
        Update::Withdraw {
            family: Family::Ipv4,
            prefixes,
        } => (vec![], ipv4(prefixes), vec![]),
        Update::Withdraw {
            family: Family::Ipv6,
            prefixes,
        } => (vec![], vec![], vec![mp_unreach(prefixes)]),
        Update::EndOfRib(Family::Ipv4) => (vec![], vec![], vec![]),
        Update::EndOfRib(Family::Ipv6) => (vec![], vec![], vec![mp_unreach(&[])]),
        Update::Announce {
            attributes,
            prefixes,
        } => match attributes.next_hop {
            IpAddr::V4(next_hop) => (
                ipv4(prefixes),
                vec![],
                ipv4_attributes(attributes, next_hop),
            ),
            IpAddr::V6(next_hop) => (
                vec![],
                vec![],
                multiprotocol_attributes(attributes, next_hop, prefixes),
            ),
        },
    };
    let body = Ipv4UnicastMode::Body;
    Ok(UpdateMessage::try_build(
        &announced,
        &withdrawn,
        &attributes,
        four_octet_as,
        false,
        body,
    )?)
}

fn ipv4(prefixes: &[IpNet]) -> Vec<Ipv4NlriEntry> {
    let ipv4 = |p: &IpNet| match p {
        IpNet::V4(p) => Some(*p),
        IpNet::V6(_) => None,
    };
    let entry = |p: Ipv4Net| Ipv4NlriEntry {
        path_id: 0,
        prefix: Ipv4Prefix::new(p.addr(), p.prefix_len()),
    };
    prefixes.iter().filter_map(ipv4).map(entry).collect()
}

/// For a multiprotocol attribute.
fn entries(prefixes: &[IpNet]) -> Vec<NlriEntry> {
    let entry = |p: &IpNet| NlriEntry {
        path_id: 0,
        prefix: match p {
            IpNet::V4(p) => Prefix::V4(Ipv4Prefix::new(p.addr(), p.prefix_len())),
            IpNet::V6(p) => Prefix::V6(Ipv6Prefix::new(p.addr(), p.prefix_len())),
        },
    };
    prefixes.iter().map(entry).collect()
}

/// In the order of their type codes (RFC 4271 section 5).
fn ipv4_attributes(attributes: &Attributes, next_hop: Ipv4Addr) -> Vec<PathAttribute> {
    let mut list = vec![
        PathAttribute::Origin(Origin::Igp),
        as_path(attributes),
        PathAttribute::NextHop(next_hop),
    ];
    list.extend(optional(attributes));
    list
}

/// With MP_REACH_NLRI first, as RFC 7606 section 5.1 asks for; no NEXT_HOP.
fn multiprotocol_attributes(
    attributes: &Attributes,
    next_hop: Ipv6Addr,
    prefixes: &[IpNet],
) -> Vec<PathAttribute> {
    let mut list = vec![
        mp_reach(attributes, next_hop, prefixes),
        PathAttribute::Origin(Origin::Igp),
        as_path(attributes),
    ];
    list.extend(optional(attributes));
    list
}

fn as_path(attributes: &Attributes) -> PathAttribute {
    let segments = match attributes.as_path.as_slice() {
        [] => vec![],
        path => vec![AsPathSegment::AsSequence(path.to_vec())],
    };
    PathAttribute::AsPath(AsPath { segments })
}

fn optional(attributes: &Attributes) -> impl Iterator<Item = PathAttribute> {
    let Communities { standard, large } = &attributes.communities;
    let standard: Vec<u32> = standard.iter().map(|one| one.0).collect();
    let large: Vec<_> = large
        .iter()
        .map(|one| LargeCommunity::new(one.0, one.1, one.2))
        .collect();
    let med = attributes.med.map(PathAttribute::Med);
    let local_pref = attributes.local_pref.map(PathAttribute::LocalPref);
    let standard = (!standard.is_empty()).then_some(PathAttribute::Communities(standard));
    let extended = attributes.bandwidth.map(|(bandwidth, asn)| {
        let community = ExtendedCommunity::new(bandwidth.extended_community(asn));
        PathAttribute::ExtendedCommunities(vec![community])
    });
    let large = (!large.is_empty()).then_some(PathAttribute::LargeCommunities(large));
    [med, local_pref, standard, extended, large]
        .into_iter()
        .flatten()
}

fn mp_reach(attributes: &Attributes, next_hop: Ipv6Addr, prefixes: &[IpNet]) -> PathAttribute {
    PathAttribute::MpReachNlri(Box::new(MpReachNlri {
        afi: match attributes.family {
            Family::Ipv4 => Afi::Ipv4,
            Family::Ipv6 => Afi::Ipv6,
        },
        safi: Safi::Unicast,
        next_hop: IpAddr::V6(next_hop),
        link_local_next_hop: attributes.link_local,
        announced: entries(prefixes),
        flowspec_announced: vec![],
        evpn_announced: vec![],
        bgpls_announced: vec![],
        vpn_announced: vec![],
        labeled_announced: vec![],
        rtc_announced: vec![],
    }))
}

fn mp_unreach(prefixes: &[IpNet]) -> PathAttribute {
    PathAttribute::MpUnreachNlri(Box::new(MpUnreachNlri {
        afi: Afi::Ipv6,
        safi: Safi::Unicast,
        withdrawn: entries(prefixes),
        flowspec_withdrawn: vec![],
        evpn_withdrawn: vec![],
        bgpls_withdrawn: vec![],
        vpn_withdrawn: vec![],
        labeled_withdrawn: vec![],
        rtc_withdrawn: vec![],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bgp::community::{AnyCommunity, Community};

    fn attributes(next_hop: &str) -> Attributes {
        let next_hop: IpAddr = next_hop.parse().expect("an address");
        Attributes {
            family: match next_hop {
                IpAddr::V4(_) => Family::Ipv4,
                IpAddr::V6(_) => Family::Ipv6,
            },
            as_path: vec![65001],
            next_hop,
            link_local: None,
            med: Some(7),
            local_pref: None,
            communities: [AnyCommunity::Standard(Community(65001 << 16 | 100))]
                .into_iter()
                .collect(),
            bandwidth: None,
        }
    }

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|p| p.parse().expect("a prefix")).collect()
    }

    fn body(update: &Update, four_octet_as: bool) -> Vec<u8> {
        let bytes = encode(update, four_octet_as).expect("fits");
        assert_eq!(bytes[..16], [0xff; 16]);
        assert_eq!(
            usize::from(u16::from_be_bytes([bytes[16], bytes[17]])),
            bytes.len()
        );
        assert_eq!(bytes[18], 2);
        bytes[19..].to_vec()
    }

    #[test]
    fn rfc4271_4_3_an_ipv4_announcement_has_these_bytes() {
        let update = Update::Announce {
            attributes: attributes("10.0.0.11"),
            prefixes: nets(&["192.0.2.10/32", "198.51.100.0/24"]),
        };
        #[rustfmt::skip]
        let expected = [
            &[0, 0, 0, 34][..],
            &[0x40, 1, 1, 0],
            &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9],
            &[0x40, 3, 4, 10, 0, 0, 11],
            &[0x80, 4, 4, 0, 0, 0, 7],
            &[0xc0, 8, 4, 0xfd, 0xe9, 0, 100],
            &[32, 192, 0, 2, 10, 24, 198, 51, 100],
        ].concat();
        assert_eq!(body(&update, true), expected);
    }

    #[test]
    fn rfc4760_3_an_ipv6_announcement_has_these_bytes() {
        let mut attributes = attributes("2001:db8::11");
        attributes.med = None;
        attributes.communities = Communities::default();
        let update = Update::Announce {
            attributes,
            prefixes: nets(&["2001:db8:1::10/128"]),
        };
        #[rustfmt::skip]
        let expected = [
            &[0, 0, 0, 54][..],
            &[0x80, 14, 38, 0, 2, 1, 16, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0],
            &[128, 0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10],
            &[0x40, 1, 1, 0],
            &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9],
        ].concat();
        assert_eq!(body(&update, true), expected);
    }

    #[test]
    fn rfc2545_3_a_link_local_address_goes_beside_the_next_hop() {
        let mut attributes = attributes("2001:db8::11");
        attributes.link_local = Some("fe80::11".parse().expect("an address"));
        attributes.med = None;
        attributes.communities = Communities::default();
        let update = Update::Announce {
            attributes,
            prefixes: nets(&["2001:db8:1::10/128"]),
        };
        #[rustfmt::skip]
        let expected = [
            &[0x80, 14, 54, 0, 2, 1, 32, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11][..],
            &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0],
            &[128, 0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10],
        ].concat();
        assert!(body(&update, true)[4..].starts_with(&expected));
    }

    #[test]
    fn rfc8950_3_ipv4_over_an_ipv6_next_hop_has_these_bytes() {
        let mut attributes = attributes("2001:db8::11");
        attributes.family = Family::Ipv4;
        attributes.med = None;
        attributes.communities = Communities::default();
        let update = Update::Announce {
            attributes,
            prefixes: nets(&["192.0.2.10/32"]),
        };
        #[rustfmt::skip]
        let expected = [
            &[0, 0, 0, 42][..],
            &[0x80, 14, 26, 0, 1, 1, 16, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0],
            &[32, 192, 0, 2, 10],
            &[0x40, 1, 1, 0],
            &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9],
        ].concat();
        assert_eq!(body(&update, true), expected);
    }

    #[test]
    fn rfc4724_2_withdrawals_and_end_of_rib_have_these_bytes() {
        let withdraw = |family, list: &[&str]| Update::Withdraw {
            family,
            prefixes: nets(list),
        };
        assert_eq!(
            body(&withdraw(Family::Ipv4, &["192.0.2.10/32"]), true),
            [0, 5, 32, 192, 0, 2, 10, 0, 0]
        );
        let ipv6 = body(&withdraw(Family::Ipv6, &["2001:db8::/32"]), true);
        assert_eq!(
            ipv6,
            [0, 0, 0, 11, 0x80, 15, 8, 0, 2, 1, 32, 0x20, 1, 0x0d, 0xb8]
        );
        assert_eq!(body(&Update::EndOfRib(Family::Ipv4), true), [0, 0, 0, 0]);
        assert_eq!(
            body(&Update::EndOfRib(Family::Ipv6), true),
            [0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1]
        );
    }

    #[test]
    fn rfc6793_4_2_two_octet_peers_get_as_trans_and_as4_path() {
        let mut attributes = attributes("10.0.0.11");
        attributes.as_path = vec![4_200_000_001];
        attributes.med = None;
        attributes.communities = Communities::default();
        let bytes = body(
            &Update::Announce {
                attributes,
                prefixes: nets(&["192.0.2.0/24"]),
            },
            false,
        );
        let path = [
            0x40, 2, 4, 2, 1, 0x5b, 0xa0, 0xc0, 17, 6, 2, 1, 0xfa, 0x56, 0xea, 1,
        ];
        assert!(bytes.windows(path.len()).any(|w| w == path), "{bytes:?}");
    }

    #[test]
    fn rfc4271_5_1_2_internal_peers_get_an_empty_path() {
        let mut attributes = attributes("10.0.0.11");
        attributes.as_path.clear();
        attributes.local_pref = Some(100);
        let bytes = body(
            &Update::Announce {
                attributes,
                prefixes: nets(&["192.0.2.0/24"]),
            },
            true,
        );
        assert!(bytes.windows(3).any(|w| w == [0x40, 2, 0]));
        assert!(bytes.windows(7).any(|w| w == [0x40, 5, 4, 0, 0, 0, 100]));
    }

    #[test]
    fn rfc4271_4_3_an_attribute_above_255_octets_has_the_extended_length_bit() {
        for (count, head) in [(63, vec![0xc0, 8, 252]), (64, vec![0xd0, 8, 1, 0])] {
            let mut attributes = attributes("10.0.0.11");
            attributes.communities = (0..count)
                .map(|n| AnyCommunity::Standard(Community(65001 << 16 | n)))
                .collect();
            let update = Update::Announce {
                attributes,
                prefixes: nets(&["192.0.2.10/32"]),
            };
            let bytes = body(&update, true);
            assert!(
                bytes.windows(head.len()).any(|w| w == head),
                "{count}: {bytes:?}"
            );
        }
    }

    /// ORIGIN, AS_PATH, NEXT_HOP, MED, LOCAL_PREF, COMMUNITIES, EXTENDED COMMUNITIES, LARGE_COMMUNITY; MP_REACH_NLRI before all (RFC 7606
    /// section 5.1). Well-known ones are transitive, of the optional ones MED and MP_REACH_NLRI are not.
    #[test]
    fn rfc4271_5_attributes_come_in_order_with_their_flags() {
        for (next_hop, prefix, expected) in [
            (
                "10.0.0.11",
                "192.0.2.10/32",
                vec![
                    (0x40, 1),
                    (0x40, 2),
                    (0x40, 3),
                    (0x80, 4),
                    (0x40, 5),
                    (0xc0, 8),
                    (0xc0, 16),
                    (0xc0, 32),
                ],
            ),
            (
                "2001:db8::11",
                "2001:db8:1::10/128",
                vec![
                    (0x80, 14),
                    (0x40, 1),
                    (0x40, 2),
                    (0x80, 4),
                    (0x40, 5),
                    (0xc0, 8),
                    (0xc0, 16),
                    (0xc0, 32),
                ],
            ),
        ] {
            let mut attributes = attributes(next_hop);
            attributes.local_pref = Some(100);
            attributes.communities = ["65001:1", "65001:1:2"]
                .into_iter()
                .filter_map(AnyCommunity::parse)
                .collect();
            attributes.bandwidth = Some((LinkBandwidth { bits: 8 }, 65001));
            let update = Update::Announce {
                attributes,
                prefixes: nets(&[prefix]),
            };
            let bytes = body(&update, true);
            let mut rest = &bytes[4..];
            let mut found = Vec::new();
            for _ in &expected {
                found.push((rest[0], rest[1]));
                rest = &rest[3 + usize::from(rest[2])..];
            }
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn rfc4360_2_a_link_bandwidth_has_these_bytes() {
        let mut attributes = attributes("10.0.0.11");
        attributes.bandwidth = Some((LinkBandwidth { bits: 8 }, 65001));
        let update = Update::Announce {
            attributes,
            prefixes: nets(&["192.0.2.10/32"]),
        };
        let bytes = body(&update, true);
        let one = [0xc0, 16, 8, 0x40, 4, 0xfd, 0xe9, 0x3f, 0x80, 0, 0];
        assert!(bytes.windows(one.len()).any(|w| w == one), "{bytes:?}");
    }

    #[test]
    fn rfc8092_3_prepending_and_large_communities_have_these_bytes() {
        let mut attributes = attributes("10.0.0.11");
        attributes.as_path = vec![65001; 3];
        attributes.med = None;
        attributes.communities = ["65001:1:2", "4200000000:0:7", "no-export"]
            .into_iter()
            .filter_map(AnyCommunity::parse)
            .collect();
        let update = Update::Announce {
            attributes,
            prefixes: nets(&["192.0.2.10/32"]),
        };
        #[rustfmt::skip]
        let expected = [
            &[0, 0, 0, 62][..],
            &[0x40, 1, 1, 0],
            &[0x40, 2, 14, 2, 3, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xe9],
            &[0x40, 3, 4, 10, 0, 0, 11],
            &[0xc0, 8, 4, 0xff, 0xff, 0xff, 1],
            &[0xc0, 32, 24, 0, 0, 0xfd, 0xe9, 0, 0, 0, 1, 0, 0, 0, 2, 0xfa, 0x56, 0xea, 0, 0, 0, 0, 0, 0, 0, 0, 7],
            &[32, 192, 0, 2, 10],
        ].concat();
        assert_eq!(body(&update, true), expected);
    }

    #[test]
    fn what_is_sent_passes_the_check_of_what_is_received() {
        for update in [
            Update::Announce {
                attributes: attributes("10.0.0.11"),
                prefixes: nets(&["0.0.0.0/0", "192.0.2.10/32"]),
            },
            Update::Announce {
                attributes: attributes("2001:db8::1"),
                prefixes: nets(&["::/0", "2001:db8::10/128"]),
            },
            Update::Withdraw {
                family: Family::Ipv6,
                prefixes: nets(&["::/0"]),
            },
            Update::EndOfRib(Family::Ipv6),
        ] {
            let bytes = encode(&update, true).expect("fits");
            assert_eq!(
                super::super::decode(&bytes),
                Ok(super::super::Message::Update),
                "{update:?}"
            );
        }
    }
}
