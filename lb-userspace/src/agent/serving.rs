//! From what services can to what is announced. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::capacity::Servable;
use crate::bgp::{Route, RouteSet};
use crate::model::{Bgp, Service};

/// RFC 8326.
const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;

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

/// Per VIP: it may be announced, or why not.
pub type Vips = BTreeMap<IpAddr, Result<(), String>>;

/// All services of a VIP must be servable, and it must be here to stay: not among the services of `next`, the configuration
/// that will replace this one.
pub fn vips(services: &[(Service, Servable)], mode: Mode, next: Option<&[Service]>) -> Vips {
    let mut vips = Vips::new();
    for (service, servable) in services {
        let vip = vips.entry(service.vip).or_insert(Ok(()));
        if let (Ok(()), Some(obstacle)) = (&vip, &servable.obstacle) {
            *vip = Err(format!("{}: {obstacle}", service.name));
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

/// The routes of VIPs that may be announced. `judged`: checks have confirmed or changed every verdict, so that what is missing
/// here is missing for good.
pub fn route_set(vips: &Vips, bgp: Option<&Bgp>, mode: Mode, judged: bool) -> RouteSet {
    let mut communities = bgp.map_or_else(Vec::new, |bgp| bgp.communities.clone());
    if mode == Mode::Draining {
        communities.push(GRACEFUL_SHUTDOWN);
    }
    let announced = vips.iter().filter(|(_, state)| state.is_ok());
    let routes = announced.map(|(&vip, _)| {
        let prefix = ipnet::IpNet::from(vip);
        let route = Route {
            prefix,
            communities: communities.clone(),
            med: None,
        };
        (prefix, route)
    });
    RouteSet {
        routes: routes.collect(),
        complete: judged || vips.values().all(Result::is_ok),
    }
}

/// VIPs whose announcement begins, and those where it ends or never began, with the reason.
pub fn changes<'a>(
    before: &'a Vips,
    after: &'a Vips,
) -> impl Iterator<Item = (IpAddr, Result<(), &'a str>)> {
    let changed = after
        .iter()
        .filter(|(vip, state)| before.get(*vip).map(Result::is_ok) != Some(state.is_ok()))
        .map(|(&vip, state)| (vip, state.as_ref().copied().map_err(String::as_str)));
    let removed = before
        .iter()
        .filter(|(vip, state)| state.is_ok() && !after.contains_key(*vip))
        .map(|(&vip, _)| (vip, Err("it left the configuration")));
    changed.chain(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::{address, settings};

    const TWO_VIPS: &str = r#"
        [[service]]
        name = "web"
        vip = "198.51.100.1"
        protocol = "tcp"
        ports = [80]
        pool = "web"
        [[service]]
        name = "tls"
        vip = "198.51.100.1"
        protocol = "tcp"
        ports = [443]
        pool = "web"
        [[service]]
        name = "other"
        vip = "198.51.100.2"
        protocol = "tcp"
        ports = [80]
        pool = "web"
    "#;

    fn services(obstacles: [Option<&str>; 3]) -> Vec<(Service, Servable)> {
        let services = settings(TWO_VIPS).services.into_iter();
        let servable = |obstacle: Option<&str>| Servable {
            healthy: 1,
            configured: 1,
            need: 1,
            obstacle: obstacle.map(str::to_owned),
        };
        services.zip(obstacles.map(servable)).collect()
    }

    fn announced(vips: &Vips) -> Vec<String> {
        let set = route_set(vips, None, Mode::Serving, true);
        set.routes.keys().map(ToString::to_string).collect()
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
            vips[&address("198.51.100.1")],
            Err("tls: no backend".into())
        );
        assert_eq!(vips[&address("198.51.100.2")], Err("other: y".into()));
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
            vips[&address("198.51.100.2")],
            Err("it is being removed".into())
        );
    }

    #[test]
    fn draining_announces_with_the_community_and_withdrawn_nothing() {
        let services = services([None; 3]);
        let bgp = settings("[bgp]\nasn = 65001\ncommunities = [\"65001:100\"]\n[[bgp.peer]]\naddress = \"10.0.0.1\"\nasn = 65000\n").bgp;
        let set = |mode| route_set(&vips(&services, mode, None), bgp.as_ref(), mode, true);
        let communities = |mode| {
            let routes = set(mode).routes;
            routes
                .values()
                .next()
                .map(|route| route.communities.clone())
        };
        let own = 65001 << 16 | 100;
        assert_eq!(communities(Mode::Serving), Some(vec![own]));
        assert_eq!(communities(Mode::Draining), Some(vec![own, 0xffff_0000]));
        assert_eq!(set(Mode::Draining).routes.len(), 2);
        assert_eq!(set(Mode::Withdrawn).routes.len(), 0);
    }

    #[test]
    fn the_set_is_complete_once_judged_or_once_nothing_is_missing() {
        let complete = |obstacles, judged| {
            let vips = vips(&services(obstacles), Mode::Serving, None);
            route_set(&vips, None, Mode::Serving, judged).complete
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
        let state = |state: Result<(), &str>| -> Vips {
            [(address("198.51.100.1"), state.map_err(str::to_owned))].into()
        };
        let told = |before: &Vips, after: &Vips| -> Vec<Result<(), String>> {
            changes(before, after)
                .map(|(_, state)| state.map_err(str::to_owned))
                .collect()
        };
        let (up, down) = (state(Ok(())), state(Err("a")));
        assert_eq!(told(&Vips::new(), &up), [Ok(())]);
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
