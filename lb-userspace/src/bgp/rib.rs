//! Adj-RIB-Out: what a peer has been told, and the UPDATEs that bring it to what it shall be told. Pure.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

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

/// What a peer has been told, by prefix. Prefixes of which the same is said share it.
pub type Told = BTreeMap<IpNet, Arc<Attributes>>;

/// What one Established session has been told. A new session begins with an empty one.
#[derive(Clone, Debug)]
pub struct AdjRibOut {
    asn: u32,
    internal: bool,
    session: Negotiated,
    told: Arc<Told>,
    /// Families that the peer has asked to hear again.
    again: BTreeSet<Family>,
    /// Families whose End-of-RIB has not been sent.
    unfinished: BTreeSet<Family>,
}

impl AdjRibOut {
    /// Of a session that has just been Established.
    pub fn new(settings: &Settings, session: &Negotiated) -> AdjRibOut {
        AdjRibOut {
            asn: settings.asn,
            internal: settings.internal(),
            session: session.clone(),
            told: Arc::default(),
            again: BTreeSet::new(),
            unfinished: session.families.clone(),
        }
    }

    /// What the peer has been told.
    pub fn told(&self) -> &Arc<Told> {
        &self.told
    }

    /// Puts another owner's equal table in the place of its own.
    pub fn share(&mut self, tables: &Tables) {
        self.told = tables.shared(&self.told);
    }

    /// Everything of `family` will be sent again (RFC 2918); asking twice changes nothing.
    pub fn resend(&mut self, family: Family) {
        self.again.insert(family);
    }

    /// The messages that make the peer know `wanted` and nothing else, withdrawals first; none when it does. They count
    /// as sent.
    pub fn updates(&mut self, wanted: &BTreeMap<IpNet, Policy>) -> Vec<Update> {
        let wanted = self.table(wanted);
        let mut updates = self.withdraw(&wanted);
        updates.extend(self.announce(&wanted));
        self.again.clear();
        if !updates.is_empty() {
            self.told = Arc::new(wanted);
        }
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

    fn table(&self, wanted: &BTreeMap<IpNet, Policy>) -> Told {
        let mut known = BTreeMap::new();
        let mut attributes = |prefix: &IpNet, policy| {
            let family = Family::of(prefix);
            let made = || self.attributes(family, policy).map(Arc::new);
            known.entry((family, policy)).or_insert_with(made).clone()
        };
        wanted
            .iter()
            .filter_map(|(prefix, policy)| Some((*prefix, attributes(prefix, policy)?)))
            .collect()
    }

    /// `None`: not for this session.
    fn attributes(&self, family: Family, policy: &Policy) -> Option<Attributes> {
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

    fn withdraw(&self, wanted: &Told) -> Vec<Update> {
        let gone: Vec<IpNet> = self
            .told
            .keys()
            .filter(|p| !wanted.contains_key(p))
            .copied()
            .collect();
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

    fn announce(&self, wanted: &Told) -> Vec<Update> {
        let mut groups: BTreeMap<&Attributes, Vec<IpNet>> = BTreeMap::new();
        for (prefix, attributes) in wanted {
            let known = self.told.get(prefix) == Some(attributes);
            if !known || self.again.contains(&Family::of(prefix)) {
                groups.entry(attributes).or_default().push(*prefix);
            }
        }
        let mut updates = Vec::new();
        for (attributes, prefixes) in groups {
            let room =
                nlri_room(Some(attributes), attributes.family, self.four_octet_as()).unwrap_or(0);
            let announce = |prefixes| Update::Announce {
                attributes: attributes.clone(),
                prefixes,
            };
            updates.extend(pack(&prefixes, room).map(announce));
        }
        updates
    }
}

/// The tables of all peers: those that have been told the same have one between them.
#[derive(Debug, Default)]
pub struct Tables(Mutex<Vec<Weak<Told>>>);

impl Tables {
    /// The equal one that is there already, else this one from now on.
    fn shared(&self, table: &Arc<Told>) -> Arc<Told> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|one| one.strong_count() > 0);
        let mut known = tables.iter().filter_map(Weak::upgrade);
        if let Some(equal) = known.find(|one| one == table) {
            return equal;
        }
        tables.push(Arc::downgrade(table));
        Arc::clone(table)
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
