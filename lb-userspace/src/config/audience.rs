//! Which peer hears of which VIP and what it is told: services and peers together, without contradictions.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::across::Draft;
use super::announce::AnnounceDraft;
use super::bgp::{BgpDraft, PeerDraft};
use super::diagnostic::Diagnostic;
use super::fields::Errors;
use super::place::{Placed, Span};
use super::policy::COMMUNITIES_MAX;
use super::service::ServiceDraft;
use super::suggest::nearest;
use crate::bgp::{PeerName, Policy};
use crate::model;

/// A peer, and where it names each service it takes; `None`: it takes all.
struct Peer<'a> {
    draft: &'a PeerDraft,
    takes: Option<HashMap<&'a str, &'a Span>>,
}

impl<'a> Peer<'a> {
    fn of(draft: &'a PeerDraft) -> Self {
        let takes = draft.services.as_ref().map(|services| {
            let names = services.value.iter();
            names
                .map(|name| (name.value.as_str(), &name.span))
                .collect()
        });
        Peer { draft, takes }
    }

    fn name(&self) -> Option<PeerName> {
        self.draft.name.as_ref().map(|name| name.value)
    }
}

/// Reports everything that is wrong between services and peers.
pub fn check(draft: &Draft, errors: &Errors) {
    let Some(bgp) = &draft.bgp else {
        if !draft.is_backend_only() {
            without_bgp(draft, errors);
        }
        return;
    };
    let peers: Vec<Peer<'_>> = bgp.peers.iter().map(Peer::of).collect();
    let mut readable = true;
    for peer in &peers {
        check_internal(bgp, peer.draft, errors);
        readable &= check_services_of(peer, draft, errors);
    }
    for service in &draft.services {
        check_peers_of(service, &peers, errors);
        for peer in &peers {
            check_agreement(service, peer, errors);
        }
    }
    for vip in vips(draft) {
        check_vip(&vip, errors);
        // A list that is empty or misspelt has been reported, and meant something else.
        if readable {
            check_heard(&vip, &peers, errors);
        }
        for peer in &peers {
            check_whole(&vip, peer, errors);
            check_prepend(&vip, peer, errors);
        }
    }
}

fn without_bgp(draft: &Draft, errors: &Errors) {
    for announce in draft.services.iter().filter_map(|s| s.announce.as_ref()) {
        errors.add_absence(
            Diagnostic::at(
                &announce.place,
                "`announce` without `[bgp]`: nothing is announced",
            )
            .help("add `[bgp]` with a `[[bgp.peer]]`, or remove `announce`"),
        );
    }
}

/// RFC 4271 sections 5.1.2 and 5.1.4.
fn check_internal(bgp: &BgpDraft, peer: &PeerDraft, errors: &Errors) {
    let (Some(ours), Some(theirs)) = (bgp.asn, peer.asn) else {
        return;
    };
    if ours != theirs {
        return;
    }
    let med = peer.policy.med.as_ref().map(|med| ("med", &med.span));
    let prepend = peer.policy.prepend.as_ref();
    let prepend = prepend.map(|prepend| ("prepend", &prepend.span));
    for (key, span) in med.into_iter().chain(prepend) {
        errors.add(
            Diagnostic::at(
                span,
                format!("`{key}` for an internal peer: both ASes are {ours}"),
            )
            .help("remove it: MED and AS path are for peers of another AS (RFC 4271 5.1)"),
        );
    }
}

/// Whether the peer names services, and none that is not there.
fn check_services_of(peer: &Peer<'_>, draft: &Draft, errors: &Errors) -> bool {
    let Some(wanted) = &peer.draft.services else {
        return true;
    };
    let known: HashSet<&str> = draft.services.iter().filter_map(name).collect();
    // It may be the one whose name could not be read.
    if draft.services.iter().any(|service| service.name.is_none()) {
        return false;
    }
    let mut good = !wanted.value.is_empty();
    let unknown = wanted.value.iter();
    for wanted in unknown.filter(|one| !known.contains(one.value.as_str())) {
        good = false;
        let error = Diagnostic::at(
            &wanted.span,
            format!("there is no service `{}`", wanted.value),
        );
        let names = draft.services.iter().filter_map(name);
        errors.add_absence(match nearest(&wanted.value, names) {
            Some(meant) => error.help(format!("did you mean `{meant}`?")),
            None => error.help(format!(
                "add a `[[service]]` with `name = \"{}\"`",
                wanted.value
            )),
        });
    }
    good
}

fn check_peers_of(service: &ServiceDraft, peers: &[Peer<'_>], errors: &Errors) {
    let known: Vec<PeerName> = peers.iter().filter_map(Peer::name).collect();
    // It may be the one whose address could not be read.
    if known.len() < peers.len() {
        return;
    }
    let announce = service.announce.iter();
    let named = announce
        .flat_map(|announce| &announce.peers)
        .flat_map(|peers| &peers.value);
    for wanted in named.filter(|wanted| !known.contains(&wanted.value)) {
        let all: Vec<String> = known.iter().map(ToString::to_string).collect();
        let error = Diagnostic::at(
            &wanted.span,
            format!("there is no BGP peer {}", wanted.value),
        );
        errors.add_absence(match all.as_slice() {
            [] => error,
            [only] => error.help(format!("the peer is {only}")),
            all => error.help(format!("the peers are {}", all.join(", "))),
        });
    }
}

/// Where both a service and a peer say what they want, they want the same.
fn check_agreement(service: &ServiceDraft, peer: &Peer<'_>, errors: &Errors) {
    let (Some(name), Some(address)) = (name(service), peer.name()) else {
        return;
    };
    let Some(peers) = service.announce.as_ref().and_then(|a| a.peers.as_ref()) else {
        return;
    };
    let (Some(services), Some(takes)) = (&peer.draft.services, &peer.takes) else {
        return;
    };
    let by_service = peers.value.iter().find(|named| named.value == address);
    let by_peer = takes.get(name);
    match (by_service, by_peer) {
        (Some(named), None) => errors.add(
            Diagnostic::at(
                &named.span,
                format!("service `{name}` is for the peer {address}, which does not take it"),
            )
            .label("named here")
            .related(&services.span, format!("`{name}` is not among these"))
            .help(format!("add \"{name}\" there, or remove the peer here")),
        ),
        (None, Some(place)) => errors.add(
            Diagnostic::at(
                place,
                format!("the peer {address} takes service `{name}`, which is for others"),
            )
            .label("named here")
            .related(&peers.span, format!("{address} is not among these"))
            .help(format!(
                "add \"{address}\" there, or remove the service here"
            )),
        ),
        (Some(_), Some(_)) | (None, None) => {}
    }
}

/// A VIP and its services, in the order of the file.
struct Vip<'a> {
    address: model::Vip,
    services: Vec<&'a ServiceDraft>,
}

fn vips(draft: &Draft) -> Vec<Vip<'_>> {
    let mut vips: Vec<Vip<'_>> = Vec::new();
    let mut index = HashMap::new();
    for service in &draft.services {
        let Some(vip) = &service.vip else {
            continue;
        };
        let at = *index.entry(vip.value).or_insert(vips.len());
        match vips.get_mut(at) {
            Some(found) => found.services.push(service),
            None => vips.push(Vip {
                address: vip.value,
                services: vec![service],
            }),
        }
    }
    vips
}

impl Vip<'_> {
    fn announces(&self) -> impl Iterator<Item = &AnnounceDraft> {
        self.services.iter().filter_map(|s| s.announce.as_ref())
    }

    fn names(&self) -> impl Iterator<Item = &Placed<String>> {
        self.services
            .iter()
            .filter_map(|service| service.name.as_ref())
    }

    fn is_taken_by(&self, peer: &Peer<'_>) -> bool {
        let taken = |takes: &HashMap<&str, &Span>| {
            self.names()
                .any(|name| takes.contains_key(name.value.as_str()))
        };
        peer.takes.as_ref().is_none_or(taken)
    }

    fn is_for(&self, peer: &Peer<'_>) -> bool {
        let named = peer
            .name()
            .and_then(|peer| self.announces().find_map(|a| a.names(peer)));
        named.unwrap_or(true)
    }
}

/// One VIP is one route: its services say nothing different about it.
fn check_vip(vip: &Vip<'_>, errors: &Errors) {
    let meds = vip.announces().filter_map(|a| a.policy.med.as_ref());
    differ(vip, "MEDs", meds.map(|med| (med.value, &med.span)), errors);
    let prepends = vip.announces().filter_map(|a| a.policy.prepend.as_ref());
    let prepends = prepends.map(|prepend| (prepend.value, &prepend.span));
    differ(vip, "lengths of AS path", prepends, errors);
    let peers = vip.announces().filter_map(|a| a.peers.as_ref());
    let peers = peers.map(|peers| {
        let set: BTreeSet<PeerName> = peers.value.iter().map(|peer| peer.value).collect();
        (set, &peers.span)
    });
    differ(vip, "sets of peers", peers, errors);
    let communities = || vip.announces().flat_map(|a| &a.policy.communities);
    let mut seen = BTreeSet::new();
    let surplus = communities().find(|one| seen.insert(one.value) && seen.len() > COMMUNITIES_MAX);
    // More in one list are reported where it is read.
    if let Some(surplus) = surplus
        && vip.announces().count() > 1
    {
        errors.add(Diagnostic::at(
            &surplus.span,
            format!(
                "more than {COMMUNITIES_MAX} communities for the VIP {}",
                vip.address
            ),
        ));
    }
}

fn differ<'a, T: PartialEq>(
    vip: &Vip<'_>,
    what: &str,
    mut said: impl Iterator<Item = (T, &'a Span)>,
    errors: &Errors,
) {
    let Some((first, place)) = said.next() else {
        return;
    };
    for (_, other) in said.filter(|(value, _)| *value != first) {
        errors.add(
            Diagnostic::at(other, format!("two {what} for the VIP {}", vip.address))
                .label("another here")
                .related(place, "one here")
                .help("a VIP is one route: say it at one of its services, or the same at each"),
        );
    }
}

/// Somebody must hear of it.
fn check_heard(vip: &Vip<'_>, peers: &[Peer<'_>], errors: &Errors) {
    let nobody = !peers.is_empty()
        && !peers.iter().any(|peer| vip.is_taken_by(peer))
        && vip.announces().all(|announce| announce.peers.is_none());
    if let (true, Some(name)) = (nobody, vip.names().next()) {
        errors.add_absence(
            Diagnostic::at(
                &name.span,
                format!("no BGP peer takes service `{}`", name.value),
            )
            .help("add it to `services` of a `[[bgp.peer]]`: this VIP would never be announced"),
        );
    }
}

/// A peer that takes one service of a VIP gets all of them, so it must name them.
fn check_whole(vip: &Vip<'_>, peer: &Peer<'_>, errors: &Errors) {
    let Some(takes) = &peer.takes else {
        return;
    };
    let place = |name: &Placed<String>| takes.get(name.value.as_str()).copied();
    let (Some((taken, place)), Some(left)) = (
        vip.names().find_map(|name| Some((name, place(name)?))),
        vip.names().find(|name| place(name).is_none()),
    ) else {
        return;
    };
    errors.add(
        Diagnostic::at(
            place,
            format!(
                "`{}` without `{}`, which has the same VIP {}",
                taken.value, left.value, vip.address
            ),
        )
        .label("named here")
        .related(&left.span, "and this one not")
        .help(format!(
            "add \"{}\": a router takes an address with all its ports",
            left.value
        )),
    );
}

fn check_prepend(vip: &Vip<'_>, peer: &Peer<'_>, errors: &Errors) {
    let ours = vip.announces().find_map(|a| a.policy.prepend.as_ref());
    let (Some(ours), Some(theirs)) = (ours, &peer.draft.policy.prepend) else {
        return;
    };
    let sum = ours.value + theirs.value;
    if sum > Policy::PREPEND_MAX && vip.is_for(peer) && vip.is_taken_by(peer) {
        errors.add(
            Diagnostic::at(
                &theirs.span,
                format!(
                    "`prepend` of peer and VIP {} together are {sum}, the most is {}",
                    vip.address,
                    Policy::PREPEND_MAX
                ),
            )
            .label("this")
            .related(&ours.span, "and this")
            .help("they add up"),
        );
    }
}

fn name(service: &ServiceDraft) -> Option<&str> {
    service.name.as_ref().map(|name| name.value.as_str())
}
