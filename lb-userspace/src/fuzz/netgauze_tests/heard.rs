//! NetGauze's messages in our words.

use ipnet::IpNet;
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::capabilities::{BgpCapability, GracefulRestartAddressFamily};
use netgauze_bgp_pkt::community::{ExtendedCommunity, NonTransitiveTwoOctetExtendedCommunity};
use netgauze_bgp_pkt::iana::RouteRefreshSubcode;
use netgauze_bgp_pkt::nlri::{Ipv4UnicastAddress, Ipv6UnicastAddress};
use netgauze_bgp_pkt::open::BgpOpenMessage;
use netgauze_bgp_pkt::path_attribute::{
    As4PathSegment, AsPath, AsPathSegmentType, MpReach, MpUnreach, PathAttributeValue,
};
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use netgauze_iana::address_family::{AddressFamily, AddressType};

use super::notifications;
use crate::bgp::codec::{Capabilities, GracefulRestartCapability, Message};
use crate::bgp::{Family, Open};
use crate::fuzz::update::{Said, once};

/// All but what an UPDATE says, which is in [`said`].
pub fn message(heard: &BgpMessage) -> Message {
    match heard {
        BgpMessage::Open(heard) => Message::Open(open(heard)),
        BgpMessage::Update(_) => Message::Update,
        BgpMessage::Notification(heard) => Message::Notification(notifications::heard(heard)),
        BgpMessage::KeepAlive => Message::Keepalive,
        BgpMessage::RouteRefresh(heard) => {
            let request = heard.operation_type() == RouteRefreshSubcode::NormalRequest;
            let family = family(heard.address_type());
            Message::RouteRefresh(family.filter(|_| request))
        }
    }
}

fn family(address_type: AddressType) -> Option<Family> {
    match address_type {
        AddressType::Ipv4Unicast => Some(Family::Ipv4),
        AddressType::Ipv6Unicast => Some(Family::Ipv6),
        _ => None,
    }
}

fn open(heard: &BgpOpenMessage) -> Open {
    let mut capabilities = Capabilities::default();
    for capability in heard.capabilities() {
        understand(&mut capabilities, capability);
    }
    Open {
        asn: heard.my_asn4(),
        hold_time_secs: heard.hold_time(),
        identifier: heard.bgp_id(),
        capabilities,
    }
}

fn understand(known: &mut Capabilities, capability: &BgpCapability) {
    match capability {
        BgpCapability::MultiProtocolExtensions(one) => match family(one.address_type()) {
            Some(family) => drop(known.families.insert(family)),
            None => known.other_families = true,
        },
        BgpCapability::RouteRefresh => known.route_refresh = true,
        BgpCapability::FourOctetAs(_) => known.four_octet_as = true,
        BgpCapability::GracefulRestartCapability(restart) => {
            let kept = |one: &GracefulRestartAddressFamily| {
                Some((family(one.address_type())?, one.forwarding_state()))
            };
            known.graceful_restart = Some(GracefulRestartCapability {
                restarting: restart.restart(),
                restart_time_secs: restart.time(),
                families: restart.address_families().iter().filter_map(kept).collect(),
            });
        }
        BgpCapability::ExtendedNextHopEncoding(list)
            if list.encodings().iter().any(|one| {
                one.address_type() == AddressType::Ipv4Unicast
                    && one.next_hop_afi() == AddressFamily::IPv6
            }) =>
        {
            known.extended_next_hop = true;
        }
        other => {
            let code = other.code().map_or_else(|code| code, u8::from);
            known.others.insert(code);
        }
    }
}

/// What an UPDATE says; none where it repeats something, or has what ours never have.
pub fn said(update: &BgpUpdateMessage) -> Option<Said> {
    let mut said = Said {
        withdrawn: ipv4(update.withdraw_routes()),
        announced: ipv4(update.nlri()),
        ..Said::default()
    };
    for attribute in update.path_attributes() {
        say(&mut said, attribute.value())?;
    }
    Some(said)
}

fn say(said: &mut Said, value: &PathAttributeValue) -> Option<()> {
    match value {
        PathAttributeValue::Origin(origin) => once(&mut said.origin, u8::from(*origin)),
        PathAttributeValue::AsPath(AsPath::As4PathSegments(segments)) => {
            once(&mut said.as_path, sequence(segments)?)
        }
        PathAttributeValue::AsPath(AsPath::As2PathSegments(segments)) => {
            let of_four = segments.iter().map(|segment| {
                let numbers = segment.as_numbers().iter().copied().map(u32::from);
                As4PathSegment::new(segment.segment_type(), numbers.collect::<Vec<_>>())
            });
            once(&mut said.as_path, sequence(&of_four.collect::<Vec<_>>())?)
        }
        PathAttributeValue::As4Path(path) => once(&mut said.as4_path, sequence(path.segments())?),
        PathAttributeValue::NextHop(hop) => once(&mut said.next_hop, hop.next_hop().into()),
        PathAttributeValue::MultiExitDiscriminator(med) => once(&mut said.med, med.metric()),
        PathAttributeValue::LocalPreference(one) => once(&mut said.local_pref, one.metric()),
        PathAttributeValue::Communities(list) if said.communities.is_empty() => {
            let values = list.communities().iter().map(|one| one.value());
            said.communities = values.collect();
            Some(())
        }
        PathAttributeValue::LargeCommunities(list) if said.large.is_empty() => {
            let list = list.communities().iter();
            let values = list.map(|one| [one.global_admin(), one.local_data1(), one.local_data2()]);
            said.large = values.collect();
            Some(())
        }
        PathAttributeValue::ExtendedCommunities(list) => match list.communities() {
            [
                ExtendedCommunity::NonTransitiveTwoOctet(
                    NonTransitiveTwoOctetExtendedCommunity::LinkBandwidth {
                        global_admin,
                        local_admin,
                    },
                ),
            ] => once(
                &mut said.bandwidth,
                (u32::from(*global_admin), *local_admin),
            ),
            _ => None,
        },
        PathAttributeValue::MpReach(reach) => say_reach(said, reach),
        PathAttributeValue::MpUnreach(MpUnreach::Ipv4Unicast { nlri }) => {
            once(&mut said.unreach, (Family::Ipv4, ipv4(nlri)))
        }
        PathAttributeValue::MpUnreach(MpUnreach::Ipv6Unicast { nlri }) => {
            once(&mut said.unreach, (Family::Ipv6, ipv6(nlri)))
        }
        _ => None,
    }
}

fn say_reach(said: &mut Said, reach: &MpReach) -> Option<()> {
    let (link_local, reach) = match reach {
        MpReach::Ipv4Unicast {
            next_hop,
            next_hop_local,
            nlri,
        } => (*next_hop_local, (Family::Ipv4, *next_hop, ipv4(nlri))),
        MpReach::Ipv6Unicast {
            next_hop_global,
            next_hop_local,
            nlri,
        } => {
            let next_hop = (*next_hop_global).into();
            (*next_hop_local, (Family::Ipv6, next_hop, ipv6(nlri)))
        }
        _ => return None,
    };
    said.link_local = link_local.map(Into::into);
    once(&mut said.reach, reach)
}

/// One sequence, or none.
fn sequence(segments: &[As4PathSegment]) -> Option<Vec<u32>> {
    match segments {
        [] => Some(Vec::new()),
        [one] if one.segment_type() == AsPathSegmentType::AsSequence => {
            Some(one.as_numbers().to_vec())
        }
        _ => None,
    }
}

fn ipv4(addresses: &[Ipv4UnicastAddress]) -> Vec<IpNet> {
    let nets = addresses.iter().map(|one| one.network().address().into());
    nets.collect()
}

fn ipv6(addresses: &[Ipv6UnicastAddress]) -> Vec<IpNet> {
    let nets = addresses.iter().map(|one| one.network().address().into());
    nets.collect()
}
