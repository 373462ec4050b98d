//! What NetGauze can write.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use lb_oracle::dice::Dice;
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::capabilities::{
    AddPathAddressFamily, AddPathCapability, BgpCapability, BgpRoleCapability,
    ExperimentalCapability, ExperimentalCapabilityCode, ExtendedNextHopEncoding,
    ExtendedNextHopEncodingCapability, FourOctetAsCapability, FqdnCapability,
    GracefulRestartAddressFamily, GracefulRestartCapability, LongLivedGracefulRestartAddressFamily,
    LongLivedGracefulRestartCapability, MultiProtocolExtensionsCapability, UnrecognizedCapability,
};
use netgauze_bgp_pkt::community::{
    Community, ExtendedCommunity, LargeCommunity, NonTransitiveTwoOctetExtendedCommunity,
    TransitiveTwoOctetExtendedCommunity,
};
use netgauze_bgp_pkt::iana::{BgpRoleValue, RouteRefreshSubcode};
use netgauze_bgp_pkt::nlri::{Ipv4Unicast, Ipv4UnicastAddress, Ipv6Unicast, Ipv6UnicastAddress};
use netgauze_bgp_pkt::open::{BgpOpenMessage, BgpOpenMessageParameter};
use netgauze_bgp_pkt::path_attribute::{
    Aggregator, As2PathSegment, As4Aggregator, As4Path, As4PathSegment, AsPath, AsPathSegmentType,
    AtomicAggregate, ClusterId, ClusterList, Communities, ExtendedCommunities, LargeCommunities,
    LocalPreference, MpReach, MpUnreach, MultiExitDiscriminator, NextHop, Origin, Originator,
    PathAttribute, PathAttributeValue, UnknownAttribute,
};
use netgauze_bgp_pkt::route_refresh::BgpRouteRefreshMessage;
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use netgauze_iana::address_family::{AddressFamily, AddressType};

use super::notifications;
use crate::bgp::Family;
use crate::fuzz::bgp::any_prefix;

const ADDRESS_TYPES: [AddressType; 10] = [
    AddressType::Ipv4Unicast,
    AddressType::Ipv6Unicast,
    AddressType::Ipv4Multicast,
    AddressType::Ipv6Multicast,
    AddressType::Ipv4MplsLabeledVpn,
    AddressType::Ipv6NlriMplsLabels,
    AddressType::Ipv4FlowSpec,
    AddressType::L2VpnBgpEvpn,
    AddressType::BgpLs,
    AddressType::RouteTargetConstrains,
];

/// A message of any type.
pub fn any(dice: &mut Dice<'_>, four_octet_as: bool) -> BgpMessage {
    match dice.below(8) {
        0..=2 => BgpMessage::Open(open(dice)),
        3..=5 => BgpMessage::Update(update(dice, four_octet_as)),
        6 => {
            let (.., make) = dice.pick(&notifications::ALL);
            let length = dice.pick(&[0, 1, 2, 30, 4075]);
            BgpMessage::Notification(make(dice.bytes(length).into()))
        }
        _ if dice.once_in(20) => BgpMessage::KeepAlive,
        _ => {
            let subcode = dice.pick(&[
                RouteRefreshSubcode::NormalRequest,
                RouteRefreshSubcode::BeginningOfRouteRefresh,
                RouteRefreshSubcode::EndOfRouteRefresh,
            ]);
            let address_type = dice.pick(&ADDRESS_TYPES);
            BgpMessage::RouteRefresh(BgpRouteRefreshMessage::new(address_type, subcode))
        }
    }
}

/// Its capabilities fit the length of one octet.
fn open(dice: &mut Dice<'_>) -> BgpOpenMessage {
    let parameters = (0..dice.below(4)).map(|_| {
        let capabilities = (0..dice.below(4)).map(|_| capability(dice));
        BgpOpenMessageParameter::new_capabilities(capabilities.collect::<Vec<_>>())
    });
    let mut parameters: Vec<_> = parameters.collect();
    // At most once: which of two holds nobody says.
    if dice.once_in(2) {
        let asn = BgpCapability::FourOctetAs(FourOctetAsCapability::new(dice.word()));
        parameters.push(BgpOpenMessageParameter::new_capabilities(vec![asn]));
    }
    let identifier = Ipv4Addr::from(0x0a00_0000 | (dice.word() >> 8));
    let hold_time = dice.word() as u16 | 4;
    BgpOpenMessage::new(dice.word() as u16, hold_time, identifier, parameters)
}

fn capability(dice: &mut Dice<'_>) -> BgpCapability {
    match dice.below(14) {
        0..=2 => {
            let address_type = dice.pick(&ADDRESS_TYPES);
            let one = MultiProtocolExtensionsCapability::new(address_type);
            BgpCapability::MultiProtocolExtensions(one)
        }
        3 => BgpCapability::RouteRefresh,
        4 => BgpCapability::EnhancedRouteRefresh,
        5 => BgpCapability::CiscoRouteRefresh,
        6 => BgpCapability::ExtendedMessage,
        7 => BgpCapability::GracefulRestartCapability(graceful_restart(dice)),
        8 => {
            let family =
                |address_type| LongLivedGracefulRestartAddressFamily::new(true, address_type, 3600);
            let list = some_types(dice).map(family).collect::<Vec<_>>();
            let capability = LongLivedGracefulRestartCapability::new(list);
            BgpCapability::LongLivedGracefulRestart(capability)
        }
        9 => BgpCapability::Fqdn(FqdnCapability::new("lb1".into(), "example.net".into())),
        10 => {
            let family = |address_type| AddPathAddressFamily::new(address_type, true, true);
            let list = some_types(dice).map(family).collect::<Vec<_>>();
            BgpCapability::AddPath(AddPathCapability::new(list))
        }
        11 => {
            let next_hop = dice.pick(&[AddressFamily::IPv4, AddressFamily::IPv6]);
            let encoding = |address_type| ExtendedNextHopEncoding::new(address_type, next_hop);
            let list = some_types(dice).map(encoding).collect::<Vec<_>>();
            let capability = ExtendedNextHopEncodingCapability::new(list);
            BgpCapability::ExtendedNextHopEncoding(capability)
        }
        12 => BgpCapability::BgpRole(BgpRoleCapability::new(BgpRoleValue::Customer)),
        _ if dice.once_in(2) => {
            let code = ExperimentalCapabilityCode::Experimental250;
            let value = dice.bytes(3);
            BgpCapability::Experimental(ExperimentalCapability::new(code, value))
        }
        _ => {
            let code = dice.pick(&[0, 3, 7, 66, 67, 75, 100, 200]);
            let length = dice.below(10);
            let value = dice.bytes(length);
            BgpCapability::Unrecognized(UnrecognizedCapability::new(code, value))
        }
    }
}

/// Up to three.
fn some_types(dice: &mut Dice<'_>) -> impl Iterator<Item = AddressType> + use<> {
    let list: Vec<_> = (0..dice.below(4))
        .map(|_| dice.pick(&ADDRESS_TYPES))
        .collect();
    list.into_iter()
}

fn graceful_restart(dice: &mut Dice<'_>) -> GracefulRestartCapability {
    let (restarting, notification) = (dice.once_in(2), dice.once_in(2));
    let time = dice.below(4096) as u16;
    let families: Vec<_> = some_types(dice)
        .map(|address_type| GracefulRestartAddressFamily::new(dice.once_in(2), address_type))
        .collect();
    GracefulRestartCapability::new(restarting, notification, time, families)
}

/// In any order, each attribute at most once; in every other one only such as ours have.
fn update(dice: &mut Dice<'_>, four_octet_as: bool) -> BgpUpdateMessage {
    let withdrawn = ipv4(dice);
    let like_ours = dice.once_in(2);
    let mut attributes = Vec::new();
    for number in 0..16 {
        let known = matches!(number, 0..=4 | 8..=10 | 13 | 14);
        if (known || !like_ours) && dice.once_in(2) {
            attributes.push(attribute(number, dice, four_octet_as));
        }
    }
    for last in (1..attributes.len()).rev() {
        attributes.swap(last, dice.below(last + 1));
    }
    BgpUpdateMessage::new(withdrawn, attributes, ipv4(dice))
}

/// One of sixteen.
fn attribute(number: usize, dice: &mut Dice<'_>, four_octet_as: bool) -> PathAttribute {
    let (optional, transitive, value) = match number {
        0 => (
            false,
            true,
            PathAttributeValue::Origin(dice.pick(&[Origin::IGP, Origin::EGP])),
        ),
        1 => (
            false,
            true,
            PathAttributeValue::AsPath(as_path(dice, four_octet_as)),
        ),
        2 => {
            let hop = NextHop::new(Ipv4Addr::from(dice.word()));
            (false, true, PathAttributeValue::NextHop(hop))
        }
        3 => {
            let med = MultiExitDiscriminator::new(dice.word());
            (true, false, PathAttributeValue::MultiExitDiscriminator(med))
        }
        4 => {
            let preference = LocalPreference::new(dice.word());
            (false, true, PathAttributeValue::LocalPreference(preference))
        }
        5 => (
            false,
            true,
            PathAttributeValue::AtomicAggregate(AtomicAggregate),
        ),
        6 if four_octet_as => {
            let aggregator = As4Aggregator::new(dice.word(), Ipv4Addr::from(dice.word()));
            let aggregator = Aggregator::As4Aggregator(aggregator);
            (true, true, PathAttributeValue::Aggregator(aggregator))
        }
        6 | 7 => {
            let path = As4Path::new(as4_segments(dice));
            (true, true, PathAttributeValue::As4Path(path))
        }
        8 => {
            let list = (0..=dice.below(70)).map(|_| Community::new(dice.word()));
            let list = Communities::new(list.collect::<Vec<_>>());
            (true, true, PathAttributeValue::Communities(list))
        }
        9 => {
            let list = (0..=dice.below(30))
                .map(|_| LargeCommunity::new(dice.word(), dice.word(), dice.word()));
            let list = LargeCommunities::new(list.collect::<Vec<_>>());
            (true, true, PathAttributeValue::LargeCommunities(list))
        }
        10 => {
            let list = (0..=dice.below(3)).map(|_| extended_community(dice));
            let list = ExtendedCommunities::new(list.collect::<Vec<_>>());
            (true, true, PathAttributeValue::ExtendedCommunities(list))
        }
        11 => {
            let originator = Originator::new(Ipv4Addr::from(dice.word()));
            (true, false, PathAttributeValue::Originator(originator))
        }
        12 => {
            let list = (0..=dice.below(3)).map(|_| ClusterId::new(Ipv4Addr::from(dice.word())));
            let list = ClusterList::new(list.collect::<Vec<_>>());
            (true, false, PathAttributeValue::ClusterList(list))
        }
        13 => (true, false, PathAttributeValue::MpReach(mp_reach(dice))),
        14 => {
            let unreach = match dice.once_in(2) {
                true => MpUnreach::Ipv4Unicast {
                    nlri: ipv4(dice).into(),
                },
                false => MpUnreach::Ipv6Unicast {
                    nlri: ipv6(dice).into(),
                },
            };
            (true, false, PathAttributeValue::MpUnreach(unreach))
        }
        _ => {
            let length = dice.below(300);
            let unknown = UnknownAttribute::new(dice.pick(&[99, 200, 255]), dice.bytes(length));
            (true, true, PathAttributeValue::UnknownAttribute(unknown))
        }
    };
    let may_be_long = matches!(number, 1 | 6..=9 | 13..);
    let extended = may_be_long || dice.once_in(4);
    PathAttribute::from(optional, transitive, false, extended, value).expect("the right flags")
}

fn as_path(dice: &mut Dice<'_>, four_octet_as: bool) -> AsPath {
    if four_octet_as {
        return AsPath::as4_path_segments(as4_segments(dice));
    }
    let segments = as4_segments(dice).into_iter().map(|segment| {
        let numbers = segment.as_numbers().iter().map(|number| *number as u16);
        As2PathSegment::new(segment.segment_type(), numbers.collect::<Vec<_>>())
    });
    AsPath::as2_path_segments(segments.collect::<Vec<_>>())
}

fn as4_segments(dice: &mut Dice<'_>) -> Vec<As4PathSegment> {
    let segments = (0..dice.below(3)).map(|_| {
        let kind = dice.pick(&[AsPathSegmentType::AsSequence, AsPathSegmentType::AsSet]);
        let numbers = (0..=dice.below(20)).map(|_| dice.word());
        As4PathSegment::new(kind, numbers.collect::<Vec<_>>())
    });
    segments.collect()
}

fn extended_community(dice: &mut Dice<'_>) -> ExtendedCommunity {
    let (global_admin, local_admin) = (dice.word() as u16, dice.word());
    match dice.once_in(2) {
        true => ExtendedCommunity::NonTransitiveTwoOctet(
            NonTransitiveTwoOctetExtendedCommunity::LinkBandwidth {
                global_admin,
                local_admin,
            },
        ),
        false => ExtendedCommunity::TransitiveTwoOctet(
            TransitiveTwoOctetExtendedCommunity::RouteTarget {
                global_admin,
                local_admin,
            },
        ),
    }
}

fn mp_reach(dice: &mut Dice<'_>) -> MpReach {
    let global = Ipv6Addr::from((0x2001_0db8_u128 << 96) | u128::from(dice.word()));
    let link_local = Ipv6Addr::from((0xfe80_u128 << 112) | u128::from(dice.word()));
    let link_local = dice.once_in(2).then_some(link_local);
    match dice.below(3) {
        0 => MpReach::Ipv6Unicast {
            next_hop_global: global,
            next_hop_local: link_local,
            nlri: ipv6(dice).into(),
        },
        1 => MpReach::Ipv4Unicast {
            next_hop: global.into(),
            next_hop_local: link_local,
            nlri: ipv4(dice).into(),
        },
        _ => MpReach::Ipv4Unicast {
            next_hop: Ipv4Addr::from(dice.word()).into(),
            next_hop_local: None,
            nlri: ipv4(dice).into(),
        },
    }
}

/// Up to nineteen, of those that NetGauze takes for unicast.
fn ipv4(dice: &mut Dice<'_>) -> Vec<Ipv4UnicastAddress> {
    let nets = (0..dice.below(20)).map(|_| any_prefix(dice, Family::Ipv4));
    let unicast = nets.filter_map(|net| match net {
        IpNet::V4(net) => Ipv4Unicast::from_net(net).ok(),
        IpNet::V6(_) => None,
    });
    unicast.map(Ipv4UnicastAddress::new_no_path_id).collect()
}

/// See [`ipv4`].
fn ipv6(dice: &mut Dice<'_>) -> Vec<Ipv6UnicastAddress> {
    let nets = (0..dice.below(20)).map(|_| any_prefix(dice, Family::Ipv6));
    let unicast = nets.filter_map(|net| match net {
        IpNet::V4(_) => None,
        IpNet::V6(net) => Ipv6Unicast::from_net(net).ok(),
    });
    let address = |net| Ipv6UnicastAddress::new(None, net);
    unicast.map(address).collect()
}
