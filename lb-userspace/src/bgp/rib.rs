//! Adj-RIB-Out: what a peer has been told, and the UPDATEs that bring it to what it shall be told. Pure.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::codec::{Attributes, Update, nlri_room, prefix_len};
use super::community::Community;
use super::fsm::{Negotiated, Settings};
use super::route::{Family, Policy};

#[cfg(test)]
#[path = "rib_tests.rs"]
mod tests;

/// LOCAL_PREF towards internal peers, the value everybody uses by default.
const LOCAL_PREF: u32 = 100;
/// LOCAL_PREF of routes that ask to be avoided: internal peers go by it and not by the community (RFC 8326 section 4).
const LOCAL_PREF_AVOIDED: u32 = 0;

/// What one Established session has been told. A new session begins with an empty one.
#[derive(Clone, Debug)]
pub struct AdjRibOut {
    asn: u32,
    internal: bool,
    session: Negotiated,
    sent: BTreeMap<IpNet, Sent>,
    /// Families whose End-of-RIB has not been sent.
    unfinished: BTreeSet<Family>,
}

#[derive(Clone, Debug)]
struct Sent {
    attributes: Attributes,
    /// The peer has asked to hear it again.
    again: bool,
}

impl AdjRibOut {
    /// Of a session that has just been Established.
    pub fn new(settings: &Settings, session: &Negotiated) -> AdjRibOut {
        AdjRibOut {
            asn: settings.asn,
            internal: settings.internal(),
            session: session.clone(),
            sent: BTreeMap::new(),
            unfinished: session.families.clone(),
        }
    }

    /// What the peer has been told, by prefix.
    pub fn announced(&self) -> impl ExactSizeIterator<Item = (IpNet, &Attributes)> {
        let sent = self.sent.iter();
        sent.map(|(prefix, sent)| (*prefix, &sent.attributes))
    }

    /// Everything of `family` will be sent again (RFC 2918); asking twice changes nothing.
    pub fn resend(&mut self, family: Family) {
        for (prefix, sent) in &mut self.sent {
            sent.again |= Family::of(prefix) == family;
        }
    }

    /// The messages that make the peer know `wanted` and nothing else, withdrawals first; none when it does. They count
    /// as sent.
    pub fn updates(&mut self, wanted: &BTreeMap<IpNet, Policy>) -> Vec<Update> {
        let wanted: BTreeMap<IpNet, Attributes> = wanted
            .iter()
            .filter_map(|(prefix, policy)| Some((*prefix, self.attributes(prefix, policy)?)))
            .collect();
        let mut updates = self.withdraw(&wanted);
        updates.extend(self.announce(wanted));
        updates
    }

    /// End-of-RIB of every family that has not had it (RFC 4724 section 2), even an empty one.
    pub fn end_of_rib(&mut self) -> Vec<Update> {
        std::mem::take(&mut self.unfinished)
            .into_iter()
            .map(Update::EndOfRib)
            .collect()
    }

    /// Every family has had its End-of-RIB.
    pub fn is_finished(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// Whether AS numbers are four octets wide in this session's messages.
    pub fn four_octet_as(&self) -> bool {
        self.session.four_octet_as
    }

    /// `None`: not for this session.
    fn attributes(&self, prefix: &IpNet, policy: &Policy) -> Option<Attributes> {
        let family = Family::of(prefix);
        if !self.session.families.contains(&family) {
            return None;
        }
        let external = !self.internal;
        let own = match external {
            true => 1 + usize::from(policy.prepend),
            false => 0,
        };
        Some(Attributes {
            family,
            as_path: vec![self.asn; own],
            next_hop: self.session.next_hops.of(family)?,
            link_local: self.session.next_hops.beside(family),
            med: policy.med.filter(|_| external),
            local_pref: self.internal.then_some(local_pref(policy)),
            communities: policy.communities.clone().bounded(),
            bandwidth: policy.bandwidth.map(|bandwidth| (bandwidth, self.asn)),
        })
    }

    fn withdraw(&mut self, wanted: &BTreeMap<IpNet, Attributes>) -> Vec<Update> {
        let gone: Vec<IpNet> = self
            .sent
            .keys()
            .filter(|p| !wanted.contains_key(p))
            .copied()
            .collect();
        for prefix in &gone {
            self.sent.remove(prefix);
        }
        let mut updates = Vec::new();
        for family in Family::ALL {
            let prefixes: Vec<IpNet> = gone
                .iter()
                .filter(|p| Family::of(p) == family)
                .copied()
                .collect();
            let room = nlri_room(None, family, self.four_octet_as()).unwrap_or(0);
            updates.extend(
                pack(&prefixes, room).map(|prefixes| Update::Withdraw { family, prefixes }),
            );
        }
        updates
    }

    fn announce(&mut self, wanted: BTreeMap<IpNet, Attributes>) -> Vec<Update> {
        let mut groups: BTreeMap<Attributes, Vec<IpNet>> = BTreeMap::new();
        for (prefix, attributes) in wanted {
            if self
                .sent
                .get(&prefix)
                .is_some_and(|sent| sent.attributes == attributes && !sent.again)
            {
                continue;
            }
            self.sent.insert(
                prefix,
                Sent {
                    attributes: attributes.clone(),
                    again: false,
                },
            );
            groups.entry(attributes).or_default().push(prefix);
        }
        let mut updates = Vec::new();
        for (attributes, prefixes) in groups {
            let room =
                nlri_room(Some(&attributes), attributes.family, self.four_octet_as()).unwrap_or(0);
            let announce = |prefixes| Update::Announce {
                attributes: attributes.clone(),
                prefixes,
            };
            updates.extend(pack(&prefixes, room).map(announce));
        }
        updates
    }
}

fn local_pref(policy: &Policy) -> u32 {
    let communities = &policy.communities.standard;
    match communities.contains(&Community::GRACEFUL_SHUTDOWN) {
        true => LOCAL_PREF_AVOIDED,
        false => LOCAL_PREF,
    }
}

/// Splits prefixes into runs of at most `room` octets, each of at least one prefix.
fn pack(prefixes: &[IpNet], room: usize) -> impl Iterator<Item = Vec<IpNet>> {
    let mut used = 0;
    let mut runs: Vec<Vec<IpNet>> = Vec::new();
    for prefix in prefixes {
        let length = prefix_len(prefix);
        match runs.last_mut() {
            Some(run) if used + length <= room => {
                run.push(*prefix);
                used += length;
            }
            Some(_) | None => {
                runs.push(vec![*prefix]);
                used = length;
            }
        }
    }
    runs.into_iter()
}
