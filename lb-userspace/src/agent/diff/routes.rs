//! What peers would hear, as far as configuration, the operator and the checks have a say.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::values;
use crate::agent::capacity::Servable;
use crate::agent::core::Core;
use crate::agent::pool::World;
use crate::agent::serving::{self, Mode, Vips};
use crate::bgp::{PeerName, Policy};
use crate::model::{Service, Settings};
use crate::status::{Fate, RouteDiff};

/// What is announced in the end, and how that differs from now.
pub(super) struct Routes {
    pub diffs: Vec<RouteDiff>,
    /// Routes of all peers together.
    before: usize,
    after: usize,
}

/// What a peer hears.
type Heard = BTreeMap<IpNet, Policy>;

impl Routes {
    /// Nobody takes a whole node out of service by a reload without meaning it.
    pub fn objection(&self) -> Option<String> {
        let all = self.before > 0 && self.after == 0;
        let why = self.diffs.iter().find_map(|route| route.reason.as_deref());
        all.then(|| {
            let why = why.map_or(String::new(), |why| format!(" ({why})"));
            format!("every VIP that is announced would be withdrawn{why}")
        })
    }
}

impl Core {
    pub(super) fn route_diff(&self, next: &Settings, world: World<'_>) -> Routes {
        let (_, now) = self.heard(&self.settings, world);
        let (vips, then) = self.heard(next, world);
        let count = |heard: &BTreeMap<PeerName, Heard>| heard.values().map(BTreeMap::len).sum();
        Routes {
            before: count(&now),
            after: count(&then),
            diffs: diffs(&now, &then, &vips),
        }
    }

    /// What each peer hears of `settings`, and why not more.
    fn heard(&self, settings: &Settings, world: World<'_>) -> (Vips, BTreeMap<PeerName, Heard>) {
        let capacities: BTreeMap<_, _> = settings
            .pools
            .values()
            .map(|pool| (&pool.name, self.capacity(pool, world)))
            .collect();
        let servable = |service: &Service| -> Servable {
            let pool = service.pool.as_ref();
            let capacity = pool.and_then(|pool| capacities.get(pool).copied());
            let capacity = capacity.unwrap_or_default();
            let mut servable = capacity.servable(service.need, service.below_need);
            servable.obstacle = self.withdrawal(service).or(servable.obstacle);
            servable
        };
        let services: Vec<_> = settings
            .services
            .iter()
            .map(|service| (service.clone(), servable(service)))
            .collect();
        let vips = serving::vips(&services, Mode::Serving, None);
        let bgp = settings.bgp.as_ref();
        let set = serving::route_set(&vips, &settings.services, bgp, Mode::Serving, true);
        let peers = bgp.map_or(&[][..], |bgp| &bgp.peers).iter();
        let heard = peers.map(|peer| (peer.name, set.to(peer.name)));
        let heard = heard.collect();
        (vips, heard)
    }
}

/// By prefix and what happens to it, with all peers to which the same happens.
fn diffs(
    now: &BTreeMap<PeerName, Heard>,
    then: &BTreeMap<PeerName, Heard>,
    vips: &Vips,
) -> Vec<RouteDiff> {
    let mut all: Vec<RouteDiff> = Vec::new();
    let nothing = Heard::new();
    let mut peers: Vec<PeerName> = now.keys().chain(then.keys()).copied().collect();
    peers.sort_unstable();
    peers.dedup();
    let mut places = BTreeMap::<IpNet, Vec<usize>>::new();
    for peer in peers {
        let (old, new) = (
            now.get(&peer).unwrap_or(&nothing),
            then.get(&peer).unwrap_or(&nothing),
        );
        for route in of_peer(peer, old, new, vips) {
            let places = places.entry(route.prefix).or_default();
            let same = |place: &&usize| {
                let other: &RouteDiff = &all[**place];
                other.fate == route.fate && other.changes == route.changes
            };
            match places.iter().find(same).copied() {
                Some(place) => all[place].peers.push(peer),
                None => {
                    places.push(all.len());
                    all.push(route);
                }
            }
        }
    }
    all.sort_by_key(|route| route.prefix);
    all
}

fn of_peer(peer: PeerName, old: &Heard, new: &Heard, vips: &Vips) -> Vec<RouteDiff> {
    let diff = |prefix: IpNet, fate, changes, reason| RouteDiff {
        prefix,
        fate,
        peers: vec![peer],
        changes,
        reason,
    };
    let mut all: Vec<RouteDiff> = old
        .keys()
        .filter(|prefix| !new.contains_key(prefix))
        .map(|&prefix| {
            diff(
                prefix,
                Fate::Removed,
                Vec::new(),
                Some(reason(prefix, vips)),
            )
        })
        .collect();
    for (&prefix, policy) in new {
        match old.get(&prefix) {
            None => all.push(diff(prefix, Fate::Added, Vec::new(), None)),
            Some(before) if before != policy => {
                let changes = values::policy_changes(before, policy);
                all.push(diff(prefix, Fate::Changed, changes, None));
            }
            Some(_) => {}
        }
    }
    all
}

/// Why a VIP is not announced any more.
fn reason(prefix: IpNet, vips: &Vips) -> String {
    match vips.get(&prefix.into()) {
        None => "it leaves the configuration".to_owned(),
        Some(Err(reason)) => reason.clone(),
        Some(Ok(_)) => "this peer is not to hear of it any more".to_owned(),
    }
}
