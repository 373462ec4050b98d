//! A reader of UPDATEs that shares nothing with what writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::bgp::Family;
use crate::bgp::codec::Update;

/// Stands for an AS number above 65535 where only 16 bits fit (RFC 6793).
const AS_TRANS: u32 = 23456;

/// All that an UPDATE says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Withdrawn Routes.
    pub withdrawn: Vec<IpNet>,
    /// Network Layer Reachability Information.
    pub announced: Vec<IpNet>,
    /// MP_UNREACH_NLRI.
    pub unreach: Option<(Family, Vec<IpNet>)>,
    /// MP_REACH_NLRI.
    pub reach: Option<(Family, IpAddr, Vec<IpNet>)>,
    /// Behind its next hop.
    pub link_local: Option<IpAddr>,
    /// ORIGIN.
    pub origin: Option<u8>,
    /// AS_PATH, which is one sequence.
    pub as_path: Option<Vec<u32>>,
    /// AS4_PATH, which is one sequence.
    pub as4_path: Option<Vec<u32>>,
    /// NEXT_HOP.
    pub next_hop: Option<IpAddr>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// COMMUNITIES.
    pub communities: Vec<u32>,
    /// LARGE_COMMUNITY.
    pub large: Vec<[u32; 3]>,
    /// Who says so, and bytes per second as bits of a floating-point number.
    pub bandwidth: Option<(u32, u32)>,
}

impl Said {
    /// What it is meant to say.
    pub fn meant(update: &Update, four_octet_as: bool) -> Said {
        let mut said = Said::default();
        match update {
            Update::EndOfRib(Family::Ipv4) => {}
            Update::EndOfRib(Family::Ipv6) => said.unreach = Some((Family::Ipv6, Vec::new())),
            Update::Withdraw { family, prefixes } => match family {
                Family::Ipv4 => said.withdrawn = prefixes.clone(),
                Family::Ipv6 => said.unreach = Some((Family::Ipv6, prefixes.clone())),
            },
            Update::Announce {
                attributes,
                prefixes,
            } => {
                match attributes.next_hop {
                    IpAddr::V4(_) => {
                        said.next_hop = Some(attributes.next_hop);
                        said.announced = prefixes.clone();
                    }
                    IpAddr::V6(_) => {
                        let reach = (attributes.family, attributes.next_hop, prefixes.clone());
                        said.reach = Some(reach);
                        said.link_local = attributes.link_local.map(IpAddr::V6);
                    }
                }
                said.origin = Some(0);
                said.path(&attributes.as_path, four_octet_as);
                said.med = attributes.med;
                said.local_pref = attributes.local_pref;
                let communities = &attributes.communities;
                said.communities = communities.standard.iter().map(|one| one.0).collect();
                let large = communities.large.iter();
                said.large = large.map(|one| [one.0, one.1, one.2]).collect();
                said.bandwidth = attributes.bandwidth.map(|(bandwidth, asn)| {
                    let asn = if asn > u32::from(u16::MAX) {
                        AS_TRANS
                    } else {
                        asn
                    };
                    let bytes = bandwidth.bits as f32 / 8.0;
                    (asn, bytes.to_bits())
                });
            }
        }
        said
    }

    /// RFC 6793 section 4.2.2: what does not fit two octets comes a second time, in AS4_PATH.
    fn path(&mut self, path: &[u32], four_octet_as: bool) {
        let fits = |asn: &u32| *asn <= u32::from(u16::MAX);
        if four_octet_as || path.iter().all(fits) {
            self.as_path = Some(path.to_vec());
            return;
        }
        let trans = |asn: &u32| if fits(asn) { *asn } else { AS_TRANS };
        self.as_path = Some(path.iter().map(trans).collect());
        self.as4_path = Some(path.to_vec());
    }

    /// What its body says; none where it is not as RFC 4271 section 4.3 has it, or repeats or adds something.
    pub fn read(body: &[u8], four_octet_as: bool) -> Option<Said> {
        let mut said = Said::default();
        let mut body = Octets(body);
        said.withdrawn = body.counted16()?.prefixes(Family::Ipv4)?;
        let mut attributes = body.counted16()?;
        said.announced = body.prefixes(Family::Ipv4)?;
        while !attributes.0.is_empty() {
            let [flags, kind] = attributes.take()?;
            let mut value = match flags & 0x10 != 0 {
                true => attributes.counted16()?,
                false => attributes.counted8()?,
            };
            said.attribute(flags & !0x10, kind, &mut value, four_octet_as)?;
            if !value.0.is_empty() {
                return None;
            }
        }
        Some(said)
    }

    fn attribute(
        &mut self,
        flags: u8,
        kind: u8,
        value: &mut Octets<'_>,
        four_octet_as: bool,
    ) -> Option<()> {
        match (flags, kind) {
            (0x40, 1) => once(&mut self.origin, value.take::<1>()?[0]),
            (0x40, 2) => once(&mut self.as_path, value.path(four_octet_as)?),
            (0x40, 3) => once(&mut self.next_hop, value.address(4)?),
            (0x80, 4) => once(&mut self.med, value.word()?),
            (0x40, 5) => once(&mut self.local_pref, value.word()?),
            (0xc0, 8) if self.communities.is_empty() => {
                while !value.0.is_empty() {
                    self.communities.push(value.word()?);
                }
                (!self.communities.is_empty()).then_some(())
            }
            (0x80, 14) => {
                let family = value.family()?;
                let [length] = value.take()?;
                let next_hop = value.address(length.min(16))?;
                if length > 16 {
                    self.link_local = Some(value.address(length - 16)?);
                }
                let [0] = value.take()? else { return None };
                once(&mut self.reach, (family, next_hop, value.prefixes(family)?))
            }
            (0x80, 15) => {
                let family = value.family()?;
                once(&mut self.unreach, (family, value.prefixes(family)?))
            }
            (0xc0, 16) => {
                let [0x40, 4, high, low] = value.take()? else {
                    return None;
                };
                let asn = u32::from(u16::from_be_bytes([high, low]));
                once(&mut self.bandwidth, (asn, value.word()?))
            }
            (0xc0, 17) => once(&mut self.as4_path, value.path(true)?),
            (0xc0, 32) if self.large.is_empty() => {
                while !value.0.is_empty() {
                    self.large
                        .push([value.word()?, value.word()?, value.word()?]);
                }
                (!self.large.is_empty()).then_some(())
            }
            _ => None,
        }
    }
}

/// Puts the value in its place, which is empty.
pub fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// What is left to be read.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn some(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.some(N)?.try_into().ok()
    }

    fn word(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take()?))
    }

    fn counted8(&mut self) -> Option<Octets<'a>> {
        let [count] = self.take()?;
        self.some(usize::from(count)).map(Octets)
    }

    fn counted16(&mut self) -> Option<Octets<'a>> {
        let count = u16::from_be_bytes(self.take()?);
        self.some(usize::from(count)).map(Octets)
    }

    fn family(&mut self) -> Option<Family> {
        match self.take()? {
            [0, 1, 1] => Some(Family::Ipv4),
            [0, 2, 1] => Some(Family::Ipv6),
            _ => None,
        }
    }

    fn address(&mut self, length: u8) -> Option<IpAddr> {
        match length {
            4 => Some(Ipv4Addr::from(self.take::<4>()?).into()),
            16 => Some(Ipv6Addr::from(self.take::<16>()?).into()),
            _ => None,
        }
    }

    /// One sequence, or none (RFC 4271 section 4.3).
    fn path(&mut self, four_octet_as: bool) -> Option<Vec<u32>> {
        if self.0.is_empty() {
            return Some(Vec::new());
        }
        let [2, count @ 1_u8..=u8::MAX] = self.take()? else {
            return None;
        };
        (0..count)
            .map(|_| match four_octet_as {
                true => self.word(),
                false => Some(u32::from(u16::from_be_bytes(self.take()?))),
            })
            .collect()
    }

    /// To the end.
    fn prefixes(&mut self, family: Family) -> Option<Vec<IpNet>> {
        let mut prefixes = Vec::new();
        while !self.0.is_empty() {
            let [bits] = self.take()?;
            let octets = self.some(usize::from(bits).div_ceil(8))?;
            prefixes.push(match family {
                Family::Ipv4 => IpNet::V4(Ipv4Net::new(padded::<4>(octets)?.into(), bits).ok()?),
                Family::Ipv6 => IpNet::V6(Ipv6Net::new(padded::<16>(octets)?.into(), bits).ok()?),
            });
        }
        Some(prefixes)
    }
}

fn padded<const N: usize>(octets: &[u8]) -> Option<[u8; N]> {
    let mut whole = [0; N];
    whole.get_mut(..octets.len())?.copy_from_slice(octets);
    Some(whole)
}
