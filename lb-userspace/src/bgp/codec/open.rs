//! OPEN and its capabilities (RFC 4271 section 4.2, RFC 5492).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use rustbgpd_wire::{
    Afi, Capability, ExtendedNextHopFamily, GracefulRestartFamily, OpenMessage, Safi,
};

use crate::bgp::notification::Notification;
use crate::bgp::route::Family;

/// Stands for an AS number above 65535 where only 16 bits fit (RFC 6793).
const AS_TRANS: u16 = 23456;

/// All that RFC 8950 is for here.
const IPV4_OVER_IPV6: ExtendedNextHopFamily = ExtendedNextHopFamily {
    nlri_afi: Afi::Ipv4,
    nlri_safi: Safi::Unicast,
    next_hop_afi: Afi::Ipv6,
};

/// An OPEN, sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// AS number, by capability 65 where present.
    pub asn: u32,
    /// Proposed hold time in seconds.
    pub hold_time_secs: u16,
    /// BGP identifier.
    pub identifier: Ipv4Addr,
    /// Capabilities.
    pub capabilities: Capabilities,
}

/// The capabilities of an OPEN as far as they matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Families with the multiprotocol capability; empty means IPv4 unicast only, unless `other_families`.
    pub families: BTreeSet<Family>,
    /// There was a multiprotocol capability for some other family.
    pub other_families: bool,
    /// Route refresh (RFC 2918).
    pub route_refresh: bool,
    /// Four-octet AS numbers (RFC 6793).
    pub four_octet_as: bool,
    /// IPv4 unicast with an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// Graceful restart (RFC 4724).
    pub graceful_restart: Option<GracefulRestartCapability>,
    /// Codes of those that are only shown.
    pub others: BTreeSet<u8>,
}

/// Capability 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GracefulRestartCapability {
    /// R bit.
    pub restarting: bool,
    /// Seconds, 0..=4095.
    pub restart_time_secs: u16,
    /// Families with their F bit.
    pub families: Vec<(Family, bool)>,
}

impl Capabilities {
    /// What the sender can exchange: no multiprotocol capability at all means IPv4 unicast (RFC 4760 section 8).
    pub fn effective_families(&self) -> BTreeSet<Family> {
        if self.families.is_empty() && !self.other_families {
            BTreeSet::from([Family::Ipv4])
        } else {
            self.families.clone()
        }
    }

    /// Each by the name of the IANA registry "Capability Codes", families by their own.
    pub fn names(&self) -> Vec<String> {
        let families = self.effective_families();
        let known = [
            ("other-families", self.other_families),
            ("route-refresh", self.route_refresh),
            ("extended-next-hop", self.extended_next_hop),
            ("4-octet-as", self.four_octet_as),
            ("graceful-restart", self.graceful_restart.is_some()),
        ];
        let known = known.iter().filter(|(_, offered)| *offered);
        families
            .iter()
            .map(|family| family.to_string())
            .chain(known.map(|(name, _)| (*name).to_string()))
            .chain(self.others.iter().map(|code| name_of(*code)))
            .collect()
    }
}

/// A capability that is not understood here.
fn name_of(code: u8) -> String {
    let name = match code {
        3 => "outbound-route-filtering",
        5 => "extended-next-hop-of-others",
        6 => "extended-message",
        8 => "multiple-labels",
        9 => "role",
        67 => "dynamic-capability",
        69 => "add-path",
        70 => "enhanced-route-refresh",
        71 => "long-lived-graceful-restart",
        73 => "fqdn",
        75 => "software-version",
        128 => "route-refresh-cisco",
        _ => return format!("capability-{code}"),
    };
    name.to_string()
}

/// Decodes the body of an OPEN.
///
/// # Errors
/// 2/0, 2/1 with our version, 2/4.
pub(super) fn decode(mut body: &[u8]) -> Result<Open, Notification> {
    let length = body.len();
    let open = OpenMessage::decode(&mut body, length).map_err(|e| {
        let (code, subcode, data) = e.to_notification();
        Notification::with_data(code.as_u8(), subcode, &data)
    })?;
    Ok(Open {
        asn: open.four_byte_as(),
        hold_time_secs: open.hold_time,
        identifier: open.bgp_identifier,
        capabilities: understand(&open.capabilities),
    })
}

fn understand(capabilities: &[Capability]) -> Capabilities {
    let mut known = Capabilities::default();
    for capability in capabilities {
        match capability {
            Capability::MultiProtocol { afi, safi } => match family(*afi, *safi) {
                Some(family) => {
                    known.families.insert(family);
                }
                None => known.other_families = true,
            },
            Capability::RouteRefresh => known.route_refresh = true,
            Capability::FourOctetAs { .. } => known.four_octet_as = true,
            Capability::GracefulRestart {
                restart_state,
                restart_time,
                families,
                ..
            } => {
                known.graceful_restart = Some(GracefulRestartCapability {
                    restarting: *restart_state,
                    restart_time_secs: *restart_time,
                    families: families
                        .iter()
                        .filter_map(|f| Some((family(f.afi, f.safi)?, f.forwarding_preserved)))
                        .collect(),
                });
            }
            Capability::ExtendedNextHop(list) if list.contains(&IPV4_OVER_IPV6) => {
                known.extended_next_hop = true;
            }
            // A multiprotocol capability for a family that even the codec does not know.
            Capability::Unknown { code: 1, data } if data.len() == 4 => known.other_families = true,
            // The library's list grows; what is not understood is ignored (RFC 5492 section 3).
            other => {
                known.others.insert(other.code());
            }
        }
    }
    known
}

fn family(afi: Afi, safi: Safi) -> Option<Family> {
    match (afi, safi) {
        (Afi::Ipv4, Safi::Unicast) => Some(Family::Ipv4),
        (Afi::Ipv6, Safi::Unicast) => Some(Family::Ipv6),
        _ => None,
    }
}

fn afi(family: Family) -> Afi {
    match family {
        Family::Ipv4 => Afi::Ipv4,
        Family::Ipv6 => Afi::Ipv6,
    }
}

/// The whole message.
pub(super) fn encode(open: &Open) -> Vec<u8> {
    let message = OpenMessage {
        version: 4,
        my_as: u16::try_from(open.asn).unwrap_or(AS_TRANS),
        hold_time: open.hold_time_secs,
        bgp_identifier: open.identifier,
        capabilities: express(open),
    };
    let mut bytes = Vec::with_capacity(message.encoded_len());
    // Invariant: every capability of ours is a few octets and the restart time is masked to its 12 bits.
    message
        .encode(&mut bytes)
        .expect("an OPEN of at most six short capabilities fits its message");
    bytes
}

fn express(open: &Open) -> Vec<Capability> {
    let ours = &open.capabilities;
    let mut list: Vec<Capability> = ours
        .families
        .iter()
        .map(|f| Capability::MultiProtocol {
            afi: afi(*f),
            safi: Safi::Unicast,
        })
        .collect();
    if ours.route_refresh {
        list.push(Capability::RouteRefresh);
    }
    if ours.extended_next_hop {
        list.push(Capability::ExtendedNextHop(vec![IPV4_OVER_IPV6]));
    }
    if let Some(restart) = &ours.graceful_restart {
        list.push(Capability::GracefulRestart {
            restart_state: restart.restarting,
            // With the N bit a NOTIFICATION or an expired hold timer keeps stale routes too (RFC 8538): a dead node
            // would swallow traffic.
            notification: false,
            restart_time: restart.restart_time_secs & 0x0fff,
            families: restart
                .families
                .iter()
                .map(|&(f, forwarding_preserved)| GracefulRestartFamily {
                    afi: afi(f),
                    safi: Safi::Unicast,
                    forwarding_preserved,
                })
                .collect(),
        });
    }
    if ours.four_octet_as {
        list.push(Capability::FourOctetAs { asn: open.asn });
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Open {
        Open {
            asn: 4_200_000_001,
            hold_time_secs: 9,
            identifier: Ipv4Addr::new(192, 0, 2, 1),
            capabilities: Capabilities {
                families: BTreeSet::from(Family::ALL),
                other_families: false,
                route_refresh: true,
                four_octet_as: true,
                extended_next_hop: false,
                graceful_restart: Some(GracefulRestartCapability {
                    restarting: true,
                    restart_time_secs: 15,
                    families: vec![(Family::Ipv4, true), (Family::Ipv6, true)],
                }),
                others: BTreeSet::new(),
            },
        }
    }

    #[test]
    fn rfc8950_4_our_capability_has_these_bytes() {
        let mut open = ours();
        open.capabilities.extended_next_hop = true;
        let bytes = encode(&open);
        let capability = [5, 6, 0, 1, 0, 1, 0, 2];
        assert!(bytes.windows(8).any(|w| w == capability), "{bytes:?}");
        assert_eq!(decode(&bytes[19..]), Ok(open));
    }

    /// Body of an OPEN with these optional parameters.
    fn body(parameters: &[u8]) -> Vec<u8> {
        [
            &[4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 2, parameters.len() as u8],
            parameters,
        ]
        .concat()
    }

    #[test]
    fn rfc4271_4_2_our_open_has_these_bytes() {
        #[rustfmt::skip]
        let expected = [
            &[0xff; 16][..], &[0, 63, 1],
            &[4, 0x5b, 0xa0, 0, 9, 192, 0, 2, 1],
            &[34, 2, 32],
            &[1, 4, 0, 1, 0, 1],
            &[1, 4, 0, 2, 0, 1],
            &[2, 0],
            &[64, 10, 0x80, 15, 0, 1, 1, 0x80, 0, 2, 1, 0x80],
            &[65, 4, 0xfa, 0x56, 0xea, 1],
        ].concat();
        assert_eq!(encode(&ours()), expected);
        assert_eq!(decode(&expected[19..]), Ok(ours()));
    }

    #[test]
    fn rfc5492_4_capabilities_in_one_parameter_or_several_and_unknown_ones() {
        let table: [(&str, &[u8], Capabilities); 9] = [
            (
                "IPv4 over IPv6 next hops (RFC 8950), among others",
                &[2, 14, 5, 12, 0, 1, 0, 2, 0, 2, 0, 1, 0, 1, 0, 2],
                Capabilities {
                    extended_next_hop: true,
                    ..Default::default()
                },
            ),
            (
                "IPv4 multicast over IPv6 next hops alone",
                &[2, 8, 5, 6, 0, 1, 0, 2, 0, 2],
                Capabilities {
                    others: BTreeSet::from([5]),
                    ..Default::default()
                },
            ),
            ("none", &[], Capabilities::default()),
            (
                "several parameters with one capability each",
                &[2, 6, 1, 4, 0, 1, 0, 1, 2, 6, 1, 4, 0, 2, 0, 1],
                Capabilities {
                    families: BTreeSet::from(Family::ALL),
                    ..Default::default()
                },
            ),
            (
                "several capabilities in one parameter, one of them unknown",
                &[2, 9, 2, 0, 199, 3, 1, 2, 3, 2, 0],
                Capabilities {
                    route_refresh: true,
                    others: BTreeSet::from([199]),
                    ..Default::default()
                },
            ),
            (
                "only a family that we do not have",
                &[2, 6, 1, 4, 0, 1, 0, 2],
                Capabilities {
                    other_families: true,
                    ..Default::default()
                },
            ),
            (
                "only a family that nobody has",
                &[2, 6, 1, 4, 0x99, 1, 0, 99],
                Capabilities {
                    other_families: true,
                    ..Default::default()
                },
            ),
            (
                "graceful restart, helper only",
                &[2, 4, 64, 2, 0x40, 120],
                Capabilities {
                    graceful_restart: Some(GracefulRestartCapability {
                        restarting: false,
                        restart_time_secs: 120,
                        families: vec![],
                    }),
                    ..Default::default()
                },
            ),
            (
                "extended optional parameters length (RFC 9072)",
                &[255, 0, 5, 2, 0, 2, 2, 0],
                Capabilities {
                    route_refresh: true,
                    ..Default::default()
                },
            ),
        ];
        for (what, parameters, expected) in table {
            let mut bytes = body(parameters);
            if what.starts_with("extended") {
                bytes[9] = 255;
            }
            assert_eq!(
                decode(&bytes).map(|o| o.capabilities),
                Ok(expected),
                "{what}"
            );
        }
    }

    #[test]
    fn rfc4271_6_2_what_an_open_may_not_say() {
        let mut version = body(&[]);
        version[0] = 3;
        assert_eq!(
            decode(&version),
            Err(Notification::with_data(2, 1, &[0, 4])),
            "version 3"
        );
        let table: [(&str, &[u8], u8); 6] = [
            ("a parameter that is no capability", &[3, 0], 4),
            ("a parameter longer than the list", &[2, 200, 1, 4], 0),
            ("a parameter without length", &[2], 0),
            ("a capability longer than its parameter", &[2, 2, 1, 4], 0),
            ("a capability without length", &[2, 1, 1], 0),
            ("extended length that is not there", &[255, 1], 0),
        ];
        for (what, parameters, subcode) in table {
            let error = decode(&body(parameters)).expect_err(what);
            assert_eq!((error.code, error.subcode), (2, subcode), "{what}");
        }
        let mut lying = body(&[]);
        lying[9] = 200;
        assert_eq!(
            decode(&lying),
            Err(Notification::new(2, 0)),
            "length of the list beyond the message"
        );
    }

    #[test]
    fn rfc9072_2_lengths_of_extended_parameters_at_their_edges() {
        let extended = |length: u16, parameters: &[u8]| {
            let mut bytes = body(&[]);
            bytes[9] = 255;
            bytes.push(255);
            bytes.extend(length.to_be_bytes());
            bytes.extend(parameters);
            bytes
        };
        // 300 octets that no capability needs, in one parameter that only the longer length can hold.
        let filler = [&[199, 255][..], &[0; 255], &[198, 41], &[0; 41]].concat();
        let mut long = vec![2];
        long.extend((filler.len() as u16).to_be_bytes());
        long.extend(&filler);
        let open = decode(&extended(long.len() as u16, &long)).expect("longer than 255");
        assert_eq!(open.capabilities.others, BTreeSet::from([198, 199]));
        assert_eq!(
            decode(&extended(0, &[])).map(|o| o.capabilities),
            Ok(Capabilities::default()),
            "none"
        );
        for (what, bytes) in [
            ("beyond the message", extended(4, &[2, 0, 0])),
            ("a parameter beyond the list", extended(3, &[2, 0, 9])),
            (
                "half of a length",
                body(&[])[..9]
                    .iter()
                    .copied()
                    .chain([255, 255, 0])
                    .collect(),
            ),
            ("a parameter without its length", extended(2, &[2, 0])),
        ] {
            let error = decode(&bytes).expect_err(what);
            assert_eq!((error.code, error.subcode), (2, 0), "{what}");
        }
    }

    #[test]
    fn every_capability_has_a_name() {
        let named = |parameters: &[u8]| decode(&body(parameters)).map(|o| o.capabilities.names());
        let words = |list: &[&str]| Ok(list.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(named(&[]), words(&["ipv4-unicast"]));
        assert_eq!(
            ours().capabilities.names(),
            [
                "ipv4-unicast",
                "ipv6-unicast",
                "route-refresh",
                "4-octet-as",
                "graceful-restart"
            ]
        );
        assert_eq!(
            named(&[2, 16, 1, 4, 0, 2, 0, 1, 1, 4, 0, 1, 0, 2, 70, 0, 250, 0]),
            words(&[
                "ipv6-unicast",
                "other-families",
                "enhanced-route-refresh",
                "capability-250"
            ])
        );
    }

    #[test]
    fn rfc4760_8_no_multiprotocol_capability_means_ipv4() {
        assert_eq!(
            Capabilities::default().effective_families(),
            BTreeSet::from([Family::Ipv4])
        );
        let other = Capabilities {
            other_families: true,
            ..Default::default()
        };
        assert_eq!(other.effective_families(), BTreeSet::new());
    }
}
