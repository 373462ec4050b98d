//! From what services can to what is announced. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::capacity::Servable;
use crate::bgp::{Communities, Community, LinkBandwidth, PeerName, Policy, Route, RouteSet};
use crate::model::{Aggregate, Bgp, BgpPeer, Service, Vip};

/// Announcing, and the two steps of leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As long as it lasts.
    Serving,
    /// Routers are asked to prefer others.
    Draining,
    /// Nothing is announced any more.
    Withdrawn,
}

/// Per VIP: how it may be announced, or why not.
pub type Vips = BTreeMap<Vip, Result<Standing, String>>;

/// How a VIP is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As one that can be served.
    Full,
    /// So that everybody else wins, and why.
    LastResort(String),
}

/// All services of a VIP must be servable, and it must be here to stay: not among the services of `next`, the configuration
/// that will replace this one.
pub fn vips(services: &[(Service, Servable)], mode: Mode, next: Option<&[Service]>) -> Vips {
    let mut vips = Vips::new();
    for (service, servable) in services {
        let vip = vips.entry(service.vip).or_insert(Ok(Standing::Full));
        let why = |reason: &String| format!("{}: {reason}", service.name);
        if let (Ok(_), Some(obstacle)) = (&vip, &servable.obstacle) {
            *vip = Err(why(obstacle));
        } else if let (Ok(Standing::Full), Some(reason)) = (&vip, &servable.last_resort) {
            *vip = Ok(Standing::LastResort(why(reason)));
        }
    }
    for (vip, state) in &mut vips {
        let leaving = next.is_some_and(|next| next.iter().all(|service| service.vip != *vip));
        if mode == Mode::Withdrawn {
            *state = Err("this node is stopping".into());
        } else if leaving {
            *state = Err("it is being removed".into());
        }
    }
    vips
}

/// The routes of VIPs that may be announced, and to which peers. `judged`: checks have confirmed or changed every verdict, so
/// that what is missing here is missing for good.
pub fn route_set(
    vips: &Vips,
    services: &[Service],
    bgp: Option<&Bgp>,
    mode: Mode,
    judged: bool,
) -> RouteSet {
    let mut communities = bgp.map_or_else(Communities::default, |bgp| bgp.communities.clone());
    if mode == Mode::Draining {
        communities.standard.insert(Community::GRACEFUL_SHUTDOWN);
    }
    let everywhere = Policy {
        communities,
        ..Policy::default()
    };
    let peers = bgp.map_or(&[][..], |bgp| &bgp.peers);
    let mut by_vip: BTreeMap<Vip, Vec<&Service>> = BTreeMap::new();
    for service in services {
        by_vip.entry(service.vip).or_default().push(service);
    }
    let announced = vips
        .iter()
        .filter_map(|(vip, state)| Some((*vip, state.as_ref().ok()?)));
    let routes = announced.map(|(vip, standing)| {
        let services = by_vip.remove(&vip).unwrap_or_default();
        let prefix = vip.net();
        let route = Route {
            prefix,
            policy: ranked(policy(&services).and(&everywhere), standing, bgp),
            peers: audience(&services, peers),
        };
        (prefix, route)
    });
    let mut routes: BTreeMap<_, _> = routes.collect();
    for aggregate in bgp.map_or(&[][..], |bgp| &bgp.aggregates) {
        if is_served(aggregate, vips) {
            let route = Route {
                prefix: aggregate.prefix,
                policy: aggregate.policy.and(&everywhere),
                peers: together(aggregate, &routes),
            };
            routes.insert(aggregate.prefix, route);
        }
    }
    let policies = peers.iter().map(|peer| (peer.name, peer.policy.clone()));
    RouteSet {
        routes,
        peers: policies.collect(),
        complete: judged || vips.values().all(Result::is_ok),
    }
}

/// Whether enough of the VIPs inside are served, last resorts not counted.
fn is_served(aggregate: &Aggregate, vips: &Vips) -> bool {
    let inside = || vips.iter().filter(|(vip, _)| aggregate.covers(**vip));
    let served = inside().filter(|(_, state)| matches!(state, Ok(Standing::Full)));
    served.count() >= aggregate.need.of(inside().count())
}

/// Those who hear of a VIP inside; `None`: all peers.
fn together(aggregate: &Aggregate, routes: &BTreeMap<IpNet, Route>) -> Option<BTreeSet<PeerName>> {
    let inside = routes
        .values()
        .filter(|route| aggregate.prefix.contains(&route.prefix));
    inside
        .map(|route| route.peers.clone())
        .try_fold(BTreeSet::new(), |all, some| Some(&all | &some?))
}

/// Percent of its backends that each announced VIP has, that of the service with the least.
pub fn percents(services: &[(Service, Servable)], vips: &Vips) -> BTreeMap<Vip, u8> {
    let mut percents = BTreeMap::new();
    for (service, servable) in services {
        if vips.get(&service.vip).is_some_and(Result::is_ok) {
            let least = percents.entry(service.vip).or_insert(servable.percent);
            *least = servable.percent.min(*least);
        }
    }
    percents
}

/// Says with each VIP how many tenths of the bandwidth it wants.
pub fn share(routes: &mut RouteSet, bandwidth: LinkBandwidth, tenths: &BTreeMap<Vip, u8>) {
    for (vip, tenths) in tenths {
        if let Some(route) = routes.routes.get_mut(&vip.net()) {
            route.policy.bandwidth = Some(bandwidth.tenths(*tenths));
        }
    }
}

/// A last resort loses against every other route: by the community, by LOCAL_PREF that follows it towards peers of our own AS, by
/// the path and by MED; and by what routers make of the operator's own communities.
fn ranked(mut policy: Policy, standing: &Standing, bgp: Option<&Bgp>) -> Policy {
    if let Standing::LastResort(_) = standing {
        if let Some(bgp) = bgp {
            policy.communities = policy.communities.and(&bgp.last_resort_communities);
        }
        policy
            .communities
            .standard
            .insert(Community::GRACEFUL_SHUTDOWN);
        policy.prepend = Policy::PREPEND_MAX;
        policy.med = Some(u32::MAX);
    }
    policy
}

/// What the services of one VIP say about it. Configurations where two say different things are refused, so that it does not
/// matter which is asked.
fn policy(services: &[&Service]) -> Policy {
    let policies = || services.iter().map(|service| &service.announce.policy);
    Policy {
        communities: policies().fold(Communities::default(), |all, policy| {
            all.and(&policy.communities)
        }),
        med: policies().find_map(|policy| policy.med),
        prepend: policies().map(|policy| policy.prepend).max().unwrap_or(0),
        bandwidth: None,
    }
}

/// The peers that hear of the VIP of these services; `None`: all.
fn audience(services: &[&Service], peers: &[BgpPeer]) -> Option<BTreeSet<PeerName>> {
    let named = services.iter().find_map(|s| s.announce.peers.as_ref());
    let hears = |peer: &&BgpPeer| {
        let wants = |wanted: &BTreeSet<String>| services.iter().any(|s| wanted.contains(&s.name));
        named.is_none_or(|named| named.contains(&peer.name))
            && peer.services.as_ref().is_none_or(wants)
    };
    let heard: BTreeSet<PeerName> = peers.iter().filter(hears).map(|p| p.name).collect();
    (heard.len() < peers.len()).then_some(heard)
}

/// VIPs that are announced in another way than before, and those where it ends or never began, with the reason.
pub fn changes<'a>(
    before: &'a Vips,
    after: &'a Vips,
) -> impl Iterator<Item = (Vip, Result<&'a Standing, &'a str>)> {
    let kind = |state: &Result<Standing, String>| match state {
        Ok(standing) => Some(matches!(standing, Standing::Full)),
        Err(_) => None,
    };
    let changed = after
        .iter()
        .filter(move |(vip, state)| before.get(*vip).map(kind) != Some(kind(state)))
        .map(|(&vip, state)| (vip, state.as_ref().map_err(String::as_str)));
    let removed = before
        .iter()
        .filter(|(vip, state)| state.is_ok() && !after.contains_key(*vip))
        .map(|(&vip, _)| (vip, Err("it left the configuration")));
    changed.chain(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::{TWO_VIPS, address, settings};

    fn services(obstacles: [Option<&str>; 3]) -> Vec<(Service, Servable)> {
        let services = settings(TWO_VIPS).services.into_iter();
        let servable = |obstacle: Option<&str>| Servable {
            healthy: 1,
            configured: 1,
            need: 1,
            percent: 100,
            obstacle: obstacle.map(str::to_owned),
            last_resort: None,
        };
        services.zip(obstacles.map(servable)).collect()
    }

    fn announced(vips: &Vips) -> Vec<String> {
        let set = route_set(vips, &[], None, Mode::Serving, true);
        set.routes.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn a_prefix_is_announced_as_it_is() {
        let written = TWO_VIPS.replace("198.51.100.2", "198.51.100.0/24");
        let services = settings(&written).services;
        let vips: Vips = services
            .iter()
            .map(|one| (one.vip, Ok(Standing::Full)))
            .collect();
        assert_eq!(announced(&vips), ["198.51.100.0/24", "198.51.100.1/32"]);
    }

    #[test]
    fn a_vip_is_announced_only_with_all_its_services() {
        for (about, obstacles, expected) in [
            (
                "all can",
                [None; 3],
                vec!["198.51.100.1/32", "198.51.100.2/32"],
            ),
            (
                "the first cannot",
                [Some("x"), None, None],
                vec!["198.51.100.2/32"],
            ),
            (
                "the second cannot",
                [None, Some("x"), None],
                vec!["198.51.100.2/32"],
            ),
            (
                "another VIP cannot",
                [None, None, Some("x")],
                vec!["198.51.100.1/32"],
            ),
        ] {
            let vips = vips(&services(obstacles), Mode::Serving, None);
            assert_eq!(announced(&vips), expected, "{about}");
        }
    }

    #[test]
    fn the_reason_names_the_service() {
        let vips = vips(
            &services([None, Some("no backend"), Some("y")]),
            Mode::Serving,
            None,
        );
        assert_eq!(
            vips[&Vip::from(address("198.51.100.1"))],
            Err("tls: no backend".into())
        );
        assert_eq!(
            vips[&Vip::from(address("198.51.100.2"))],
            Err("other: y".into())
        );
    }

    #[test]
    fn a_vip_that_the_next_configuration_lacks_goes_first() {
        let services = services([None; 3]);
        let next: Vec<_> = services[1..2]
            .iter()
            .map(|(service, _)| service.clone())
            .collect();
        let vips = vips(&services, Mode::Serving, Some(&next));
        assert_eq!(
            announced(&vips),
            ["198.51.100.1/32"],
            "one of its services stays"
        );
        assert_eq!(
            vips[&Vip::from(address("198.51.100.2"))],
            Err("it is being removed".into())
        );
    }

    #[test]
    fn draining_announces_with_the_community_and_withdrawn_nothing() {
        let services = services([None; 3]);
        let bgp = settings("[bgp]\nasn = 65001\ncommunities = [\"65001:100\"]\n[[bgp.peer]]\naddress = \"10.0.0.1\"\nasn = 65000\n").bgp;
        let set = |mode| {
            let vips = vips(&services, mode, None);
            route_set(&vips, &[], bgp.as_ref(), mode, true)
        };
        let communities = |mode| {
            let routes = set(mode).routes;
            let first = routes.values().next().map(|route| &route.policy);
            first.map(|policy| policy.communities.standard.clone())
        };
        let own = Community(65001 << 16 | 100);
        assert_eq!(communities(Mode::Serving), Some([own].into()));
        assert_eq!(
            communities(Mode::Draining),
            Some([own, Community::GRACEFUL_SHUTDOWN].into())
        );
        assert_eq!(set(Mode::Draining).routes.len(), 2);
        assert_eq!(set(Mode::Withdrawn).routes.len(), 0);
    }

    #[test]
    fn a_last_resort_loses_against_everything() {
        let mut services = services([None; 3]);
        services[0].1.last_resort = Some("0 of 1 backends healthy, 1 needed".into());
        let vips = vips(&services, Mode::Serving, None);
        let vip = Vip::from(address("198.51.100.1"));
        let why = "web: 0 of 1 backends healthy, 1 needed".to_owned();
        assert_eq!(vips[&vip], Ok(Standing::LastResort(why)));
        let routes = route_set(&vips, &[], None, Mode::Serving, true).routes;
        let policies: Vec<&Policy> = routes.values().map(|route| &route.policy).collect();
        let [last, full] = policies.as_slice() else {
            panic!("{policies:?}")
        };
        assert_eq!(**full, Policy::default());
        assert_eq!(
            (last.med, last.prepend),
            (Some(u32::MAX), Policy::PREPEND_MAX)
        );
        assert_eq!(
            last.communities.standard,
            [Community::GRACEFUL_SHUTDOWN].into()
        );
        let told: Vec<_> = changes(&Vips::new(), &vips).map(|(vip, _)| vip).collect();
        assert_eq!(told.len(), 2);
        let fit = Vips::from([(vip, Ok(Standing::Full))]);
        assert_eq!(
            changes(&fit, &vips).next(),
            Some((vip, vips[&vip].as_ref().map_err(String::as_str)))
        );
    }

    #[test]
    fn an_aggregate_is_there_while_enough_of_its_vips_are_served() {
        let bgp = |need: &str| {
            let text = format!(
                "[bgp]\nasn = 65001\naggregate = [{{ prefix = \"198.51.100.0/24\", need = {need}, med = 7 }}]\n[[bgp.peer]]\naddress = \"10.0.0.1\"\nasn = 65000\n{TWO_VIPS}"
            );
            settings(&text).bgp
        };
        let aggregate = |need: &str, obstacles, mode| {
            let vips = vips(&services(obstacles), mode, None);
            let bgp = bgp(need);
            let set = route_set(&vips, &[], bgp.as_ref(), mode, true);
            let prefix = "198.51.100.0/24".parse().expect("a prefix");
            set.routes.get(&prefix).map(|route| route.policy.clone())
        };
        let policy = Policy {
            med: Some(7),
            ..Policy::default()
        };
        let serving = |need, obstacles| aggregate(need, obstacles, Mode::Serving);
        assert_eq!(serving("1", [None; 3]), Some(policy.clone()));
        assert_eq!(serving("1", [Some("x"), None, None]), Some(policy.clone()));
        assert_eq!(serving("2", [Some("x"), None, None]), None);
        assert_eq!(serving("\"51%\"", [Some("x"), None, None]), None);
        assert_eq!(serving("\"50%\"", [Some("x"), None, None]), Some(policy));
        assert_eq!(serving("1", [Some("x"), None, Some("x")]), None);
        let draining = aggregate("1", [None; 3], Mode::Draining).expect("still there");
        assert_eq!(
            draining.communities.standard,
            [Community::GRACEFUL_SHUTDOWN].into()
        );
        assert_eq!(aggregate("1", [None; 3], Mode::Withdrawn), None);
        let mut last = services([None; 3]);
        for (_, servable) in &mut last {
            servable.last_resort = Some("x".into());
        }
        let vips = vips(&last, Mode::Serving, None);
        let set = route_set(&vips, &[], bgp("1").as_ref(), Mode::Serving, true);
        assert_eq!(set.routes.len(), 2, "last resorts, and no aggregate");
    }

    #[test]
    fn an_aggregate_goes_to_those_who_hear_of_a_vip_in_it() {
        let heard = heard(
            "aggregate = [{ prefix = \"198.51.100.0/30\" }]",
            [
                "announce = { peers = [\"10.0.0.2\"] }",
                "",
                "announce = { peers = [\"10.0.0.2\"] }",
            ],
            ["", ""],
        );
        let counts = heard.map(|routes| routes.len());
        assert_eq!(counts, [0, 3], "the first hears of no VIP in it");
    }

    #[test]
    fn a_last_resort_has_the_operators_communities() {
        let bgp = settings("[bgp]\nasn = 65001\nlast_resort_communities = [\"65001:666\"]\n[[bgp.peer]]\naddress = \"10.0.0.1\"\nasn = 65000\n").bgp;
        let policy = |standing| ranked(Policy::default(), &standing, bgp.as_ref());
        assert_eq!(policy(Standing::Full), Policy::default());
        let last = policy(Standing::LastResort("x".into()))
            .communities
            .standard;
        assert_eq!(
            last,
            [Community(65001 << 16 | 666), Community::GRACEFUL_SHUTDOWN].into()
        );
    }

    #[test]
    fn a_vip_wants_what_its_poorest_service_can() {
        let mut services = services([None; 3]);
        services[0].1.percent = 50;
        let all = vips(&services, Mode::Serving, None);
        let percents = percents(&services, &all);
        let two = ["198.51.100.1", "198.51.100.2"].map(|vip| Vip::from(address(vip)));
        assert_eq!(percents, [(two[0], 50), (two[1], 100)].into());
        let mut set = route_set(&all, &[], None, Mode::Serving, true);
        let ten = LinkBandwidth { bits: 10_000 };
        share(&mut set, ten, &[(two[0], 5), (two[1], 10)].into());
        let said = set.routes.values().map(|route| route.policy.bandwidth);
        let bits: Vec<_> = said.map(|said| said.map(|one| one.bits)).collect();
        assert_eq!(bits, [Some(5_000), Some(10_000)]);
    }

    /// Two VIPs, the first with two services, and two peers.
    fn heard(bgp: &str, announce: [&str; 3], peers: [&str; 2]) -> [Vec<String>; 2] {
        let mut text = format!("[bgp]\nasn = 65001\n{bgp}\n");
        for (n, peer) in (1..).zip(peers) {
            text += &format!("[[bgp.peer]]\naddress = \"10.0.0.{n}\"\nasn = 65000\n{peer}\n");
        }
        let mut parts = TWO_VIPS.split("[[service]]");
        text += parts.next().unwrap_or_default();
        for (service, announce) in parts.zip(announce) {
            text += &format!("[[service]]{service}\n{announce}\n");
        }
        let settings = settings(&text);
        let vips: Vips = settings
            .services
            .iter()
            .map(|s| (s.vip, Ok(Standing::Full)))
            .collect();
        let bgp = settings.bgp.as_ref();
        let set = route_set(&vips, &settings.services, bgp, Mode::Serving, true);
        ["10.0.0.1", "10.0.0.2"].map(|peer| {
            let routes = set.to(address(peer).into()).into_iter();
            routes
                .map(|(prefix, policy)| in_words(prefix, &policy))
                .collect()
        })
    }

    fn in_words(prefix: ipnet::IpNet, policy: &Policy) -> String {
        let communities = policy.communities.standard.iter().map(ToString::to_string);
        let large = policy.communities.large.iter().map(ToString::to_string);
        let all: Vec<String> = communities.chain(large).collect();
        let med = policy.med.map_or("-".into(), |med| med.to_string());
        let prefix = prefix.addr();
        format!(
            "{prefix} med {med} prepend {} {}",
            policy.prepend,
            all.join(" ")
        )
    }

    #[test]
    fn what_is_said_of_a_vip_goes_to_all_peers_and_what_is_said_to_a_peer_of_all_vips() {
        let [first, second] = heard(
            "communities = [\"65001:1\"]",
            [
                "announce = { communities = [\"65001:2\", \"65001:0:9\"], med = 10 }",
                "announce = { communities = [\"65001:3\"], med = 10, prepend = 1 }",
                "",
            ],
            ["", "communities = [\"no-export\"]\nmed = 20\nprepend = 2"],
        );
        assert_eq!(
            first,
            [
                "198.51.100.1 med 10 prepend 1 65001:1 65001:2 65001:3 65001:0:9",
                "198.51.100.2 med - prepend 0 65001:1",
            ]
        );
        assert_eq!(
            second,
            [
                "198.51.100.1 med 10 prepend 3 65001:1 65001:2 65001:3 no-export 65001:0:9",
                "198.51.100.2 med 20 prepend 2 65001:1 no-export",
            ],
            "the VIP's MED wins, prepending adds up"
        );
    }

    #[test]
    fn a_vip_goes_where_both_sides_want_it() {
        let vips = |announce, peers| -> [Vec<String>; 2] {
            heard("", announce, peers).map(|routes| {
                let first = routes.iter().filter_map(|route| route.split(' ').next());
                first.map(str::to_owned).collect()
            })
        };
        let (one, two) = ("198.51.100.1", "198.51.100.2");
        assert_eq!(vips(["", "", ""], ["", ""]), [[one, two], [one, two]]);
        assert_eq!(
            vips(["announce = { peers = [\"10.0.0.2\"] }", "", ""], ["", ""]),
            [vec![two], vec![one, two]],
            "one service speaks for its VIP"
        );
        assert_eq!(
            vips(["", "", ""], ["services = [\"web\", \"tls\"]", ""]),
            [vec![one], vec![one, two]]
        );
        assert_eq!(
            vips(
                ["", "", "announce = { peers = [\"10.0.0.2\"] }"],
                ["services = [\"web\", \"tls\"]", "services = [\"other\"]"]
            ),
            [[one], [two]]
        );
    }

    #[test]
    fn the_set_is_complete_once_judged_or_once_nothing_is_missing() {
        let complete = |obstacles, judged| {
            let vips = vips(&services(obstacles), Mode::Serving, None);
            route_set(&vips, &[], None, Mode::Serving, judged).complete
        };
        assert!(complete([None; 3], false), "every VIP is announced again");
        assert!(
            !complete([Some("x"), None, None], false),
            "a check may still succeed"
        );
        assert!(complete([Some("x"), None, None], true), "it has failed");
    }

    #[test]
    fn changes_are_told_once_and_with_their_reason() {
        let state = |state: Result<Standing, &str>| -> Vips {
            [(address("198.51.100.1").into(), state.map_err(str::to_owned))].into()
        };
        let told = |before: &Vips, after: &Vips| -> Vec<Result<Standing, String>> {
            changes(before, after)
                .map(|(_, state)| state.cloned().map_err(str::to_owned))
                .collect()
        };
        let (up, down) = (state(Ok(Standing::Full)), state(Err("a")));
        assert_eq!(told(&Vips::new(), &up), [Ok(Standing::Full)]);
        assert_eq!(told(&Vips::new(), &down), [Err("a".to_owned())]);
        assert_eq!(told(&up, &up), []);
        assert_eq!(told(&up, &down), [Err("a".to_owned())]);
        assert_eq!(told(&down, &state(Err("b"))), [], "still not announced");
        assert_eq!(
            told(&up, &Vips::new()),
            [Err("it left the configuration".to_owned())]
        );
        assert_eq!(told(&down, &Vips::new()), []);
    }
}
