//! What is known of the kernel, and the next hops that follow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Link, NextHop, Own, Route, Unresolved};

/// An entry of the kernel's neighbour table on our interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// What the kernel knows.
    pub resolution: Resolution,
    /// Who keeps it so.
    pub upkeep: Upkeep,
}

/// States of RFC 4861 section 7.3.2 and of the kernel, as far as they matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The MAC is known (REACHABLE, STALE, DELAY, PROBE, NOARP, PERMANENT).
    Known([u8; 6]),
    /// Being asked for (INCOMPLETE, NONE).
    Incomplete,
    /// Did not answer (FAILED).
    Failed,
}

/// Who keeps a neighbour entry resolved though no socket uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Nobody: it ages.
    None,
    /// The kernel, on request (NTF_EXT_MANAGED, Linux 5.16).
    Managed,
    /// Nobody needs to: PERMANENT or NOARP.
    Static,
}

/// A neighbour: the index of its link, and its address.
pub type Gateway = (u32, IpAddr);

/// The kernel's state as far as the targets need it.
#[derive(Clone, Debug)]
pub struct Table {
    interfaces: Vec<String>,
    own: Own,
    targets: BTreeSet<IpAddr>,
    /// Those that traffic may leave by, by index.
    links: BTreeMap<u32, Link>,
    routes: BTreeMap<IpAddr, Result<Route, Unresolved>>,
    neighbours: BTreeMap<Gateway, Neighbour>,
    /// Gateways that have not answered since they failed. The kernel asks again on every packet and every few seconds,
    /// and its entry says INCOMPLETE meanwhile: that is no news.
    silent: BTreeSet<Gateway>,
    /// Gateways that the kernel would not take into its table, and what it said.
    refusals: BTreeMap<Gateway, String>,
}

impl Table {
    /// Knows nothing yet but the names of our interfaces.
    pub fn new(interfaces: Vec<String>, own: Own) -> Self {
        Table {
            interfaces,
            own,
            targets: BTreeSet::new(),
            links: BTreeMap::new(),
            routes: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            silent: BTreeSet::new(),
            refusals: BTreeMap::new(),
        }
    }

    /// The addresses to be resolved.
    pub fn targets(&self) -> &BTreeSet<IpAddr> {
        &self.targets
    }

    /// Replaces them; new ones are pending until the next [`Table::sync`].
    pub fn set_targets(&mut self, targets: BTreeSet<IpAddr>) {
        self.routes.retain(|target, _| targets.contains(target));
        for target in &targets {
            self.routes
                .entry(*target)
                .or_insert(Err(Unresolved::Pending));
        }
        self.targets = targets;
    }

    /// Takes the answers of a full round. `routes` holds every target.
    pub fn sync(
        &mut self,
        links: BTreeMap<u32, Link>,
        routes: BTreeMap<IpAddr, Result<Route, Unresolved>>,
        neighbours: BTreeMap<Gateway, Neighbour>,
    ) {
        self.links = links;
        self.routes = routes;
        self.neighbours = neighbours;
        self.refusals.clear();
        let gateways = self.gateways();
        self.silent.retain(|gateway| gateways.contains(gateway));
        for gateway in gateways {
            self.note_silence(gateway);
        }
    }

    /// The kernel would not take a gateway into its neighbour table; forgotten with the next [`Table::sync`].
    pub fn refused(&mut self, gateway: Gateway, reason: String) {
        self.refusals.insert(gateway, reason);
    }

    /// Takes one change of the neighbour table; none: the entry is gone.
    pub fn neighbour_changed(&mut self, gateway: Gateway, neighbour: Option<Neighbour>) {
        if !self.links.contains_key(&gateway.0) {
            return;
        }
        match neighbour {
            Some(neighbour) => self.neighbours.insert(gateway, neighbour),
            None => self.neighbours.remove(&gateway),
        };
        self.note_silence(gateway);
    }

    fn note_silence(&mut self, gateway: Gateway) {
        match self
            .neighbours
            .get(&gateway)
            .map(|neighbour| neighbour.resolution)
        {
            Some(Resolution::Failed) => self.silent.insert(gateway),
            Some(Resolution::Known(_)) => self.silent.remove(&gateway),
            Some(Resolution::Incomplete) | None => false,
        };
    }

    /// The neighbours that packets to the targets go to.
    pub fn gateways(&self) -> BTreeSet<Gateway> {
        self.routes
            .iter()
            .filter_map(|(target, route)| {
                let route = route.as_ref().ok()?;
                let link = self.links.get(&route.ifindex).filter(|link| link.up)?;
                Some((link.ifindex, route.neighbour_of(*target)))
            })
            .collect()
    }

    /// Gateways that the kernel has no entry for: it must be asked to resolve them.
    pub fn gateways_missing(&self) -> Vec<Gateway> {
        self.gateways()
            .into_iter()
            .filter(|gateway| !self.neighbours.contains_key(gateway))
            .collect()
    }

    /// Gateways that nobody keeps resolved.
    pub fn gateways_without_upkeep(&self) -> Vec<Gateway> {
        let kept = |gateway: &Gateway| {
            self.neighbours
                .get(gateway)
                .is_some_and(|neighbour| neighbour.upkeep != Upkeep::None)
        };
        self.gateways()
            .into_iter()
            .filter(|gateway| !kept(gateway))
            .collect()
    }

    /// The entry of a gateway.
    pub fn neighbour(&self, gateway: Gateway) -> Option<&Neighbour> {
        self.neighbours.get(&gateway)
    }

    /// The next hop of every target, or why there is none.
    pub fn next_hops(&self) -> BTreeMap<IpAddr, Result<NextHop, Unresolved>> {
        self.routes
            .iter()
            .map(|(target, route)| (*target, self.next_hop(*target, route)))
            .collect()
    }

    fn next_hop(
        &self,
        target: IpAddr,
        route: &Result<Route, Unresolved>,
    ) -> Result<NextHop, Unresolved> {
        let route = match route {
            Ok(route) => route,
            Err(Unresolved::Pending) => return Err(Unresolved::Pending),
            Err(Unresolved::Local) if self.own == Own::Served => return self.own(target),
            // Without carrier the kernel has no route either, which would explain less.
            Err(reason) => return Err(self.trouble().unwrap_or_else(|| reason.clone())),
        };
        let Some(link) = self.links.get(&route.ifindex) else {
            let other = || Unresolved::OtherInterface(format!("interface {}", route.ifindex));
            return Err(self.trouble().unwrap_or_else(other));
        };
        if !link.up {
            return Err(Unresolved::LinkDown(link.name.clone()));
        }
        let gateway = (link.ifindex, route.neighbour_of(target));
        match (self.neighbours.get(&gateway), self.refusals.get(&gateway)) {
            (None, Some(reason)) => Err(Unresolved::Refused(gateway.1, reason.clone())),
            _ if self.silent.contains(&gateway) => Err(Unresolved::NeighbourFailed(gateway.1)),
            (neighbour, _) => NextHop::resolve(target, link, route, neighbour),
        }
    }

    /// The way to this node itself, as the first interface that works has it.
    fn own(&self, target: IpAddr) -> Result<NextHop, Unresolved> {
        let named = |link: &&Link| link.up && self.interfaces.contains(&link.name);
        match self.links.values().find(named) {
            Some(link) => NextHop::own(target, link),
            None => Err(self.trouble().unwrap_or(Unresolved::Local)),
        }
    }

    /// What is wrong with our interfaces, where none of them works.
    fn trouble(&self) -> Option<Unresolved> {
        let mut reasons = self.interfaces.iter().map(|name| {
            match self.links.values().find(|link| link.name == *name) {
                None => Some(Unresolved::NoInterface(name.clone())),
                Some(link) if !link.up => Some(Unresolved::LinkDown(name.clone())),
                Some(_) => None,
            }
        });
        let first = reasons.next()?;
        reasons.all(|reason| reason.is_some()).then_some(first)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const KNOWN: Neighbour = Neighbour {
        resolution: Resolution::Known(PEER_MAC),
        upkeep: Upkeep::Managed,
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn link() -> Link {
        Link {
            name: "eth0".into(),
            ifindex: 7,
            up: true,
            mtu: 1700,
            mac: Some(OUR_MAC),
            vlan: None,
        }
    }

    fn route(gateway: Option<&str>) -> Route {
        Route {
            ifindex: 7,
            gateway: gateway.map(ip),
            source: Some(ip("10.0.0.11")),
            mtu: None,
        }
    }

    fn table(
        link: Option<Link>,
        route: Result<Route, Unresolved>,
        neighbours: &[(&str, Neighbour)],
    ) -> Table {
        owned(Own::Refused, link, route, neighbours)
    }

    fn owned(
        own: Own,
        link: Option<Link>,
        route: Result<Route, Unresolved>,
        neighbours: &[(&str, Neighbour)],
    ) -> Table {
        let mut table = Table::new(vec!["eth0".into()], own);
        table.set_targets([ip("10.1.0.1")].into());
        let neighbours = neighbours
            .iter()
            .map(|(address, neighbour)| ((7, ip(address)), *neighbour))
            .collect();
        table.sync(links(link), [(ip("10.1.0.1"), route)].into(), neighbours);
        table
    }

    fn links(link: Option<Link>) -> BTreeMap<u32, Link> {
        link.into_iter().map(|link| (link.ifindex, link)).collect()
    }

    fn only(table: &Table) -> Result<NextHop, Unresolved> {
        let mut next_hops = table.next_hops();
        assert_eq!(next_hops.len(), 1);
        next_hops.remove(&ip("10.1.0.1")).unwrap()
    }

    #[test]
    fn on_the_link_and_by_a_router() {
        let direct = only(&table(
            Some(link()),
            Ok(route(None)),
            &[("10.1.0.1", KNOWN)],
        ))
        .unwrap();
        let expected = NextHop {
            interface: "eth0".into(),
            ifindex: 7,
            mtu: 1700,
            source: ip("10.0.0.11"),
            gateway: ip("10.1.0.1"),
            source_mac: OUR_MAC,
            destination_mac: PEER_MAC,
            vlan: None,
            local: false,
        };
        assert_eq!(direct, expected);
        let routed = only(&table(
            Some(link()),
            Ok(route(Some("10.0.0.1"))),
            &[("10.0.0.1", KNOWN)],
        ))
        .unwrap();
        assert_eq!(
            routed,
            NextHop {
                gateway: ip("10.0.0.1"),
                ..expected
            }
        );
    }

    #[test]
    fn a_backend_of_its_own_has_the_interfaces_mac_and_needs_no_neighbour() {
        let own = |link| owned(Own::Served, link, Err(Unresolved::Local), &[]);
        let found = own(Some(link()));
        assert!(found.gateways().is_empty());
        let hop = only(&found).unwrap();
        assert!(hop.local);
        assert_eq!((hop.source_mac, hop.destination_mac), (OUR_MAC, OUR_MAC));
        assert_eq!((hop.ifindex, hop.source), (7, ip("10.1.0.1")));
        let down = Link {
            up: false,
            ..link()
        };
        assert_eq!(
            only(&own(Some(down))),
            Err(Unresolved::LinkDown("eth0".into()))
        );
        assert_eq!(
            only(&own(None)),
            Err(Unresolved::NoInterface("eth0".into()))
        );
    }

    #[test]
    fn the_smaller_mtu_counts() {
        for (route_mtu, expected) in [(None, 1700), (Some(1500), 1500), (Some(9000), 1700)] {
            let route = Route {
                mtu: route_mtu,
                ..route(None)
            };
            assert_eq!(
                only(&table(Some(link()), Ok(route), &[("10.1.0.1", KNOWN)]))
                    .unwrap()
                    .mtu,
                expected
            );
        }
    }

    #[test]
    fn every_reason_in_words() {
        let known = &[("10.1.0.1", KNOWN)][..];
        let entry = |resolution| Neighbour {
            resolution,
            upkeep: Upkeep::None,
        };
        let incomplete = [("10.1.0.1", entry(Resolution::Incomplete))];
        let failed = [("10.1.0.1", entry(Resolution::Failed))];
        let down = Link {
            up: false,
            ..link()
        };
        let no_mac = Link {
            mac: None,
            ..link()
        };
        let no_source = Route {
            source: None,
            ..route(None)
        };
        for (table, words) in [
            (table(None, Ok(route(None)), known), "no interface eth0"),
            (
                table(Some(down.clone()), Ok(route(None)), known),
                "interface eth0 is down",
            ),
            (
                table(Some(down), Err(Unresolved::NoRoute), known),
                "interface eth0 is down",
            ),
            (
                table(Some(no_mac), Ok(route(None)), known),
                "interface eth0 has no MAC address",
            ),
            (
                table(Some(link()), Err(Unresolved::NoRoute), known),
                "no route",
            ),
            (
                table(Some(link()), Err(Unresolved::Local), known),
                "is an address of this node",
            ),
            (
                table(Some(link()), Ok(no_source), known),
                "no source address on eth0",
            ),
            (
                table(Some(link()), Ok(route(None)), &[]),
                "neighbour 10.1.0.1 is being resolved",
            ),
            (
                table(Some(link()), Ok(route(None)), &incomplete),
                "neighbour 10.1.0.1 is being resolved",
            ),
            (
                table(Some(link()), Ok(route(None)), &failed),
                "neighbour 10.1.0.1 does not answer",
            ),
            (
                table(Some(link()), Ok(route(Some("10.0.0.1"))), known),
                "neighbour 10.0.0.1 is being resolved",
            ),
        ] {
            assert_eq!(only(&table).unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn targets_come_and_go() {
        let mut table = table(Some(link()), Ok(route(None)), &[("10.1.0.1", KNOWN)]);
        table.set_targets([ip("10.1.0.1"), ip("10.1.0.2")].into());
        let next_hops = table.next_hops();
        assert!(
            next_hops[&ip("10.1.0.1")].is_ok(),
            "those that stay keep their next hop"
        );
        assert_eq!(next_hops[&ip("10.1.0.2")], Err(Unresolved::Pending));
        table.set_targets([ip("10.1.0.2")].into());
        assert_eq!(table.next_hops().len(), 1);
    }

    #[test]
    fn neighbour_changes_count_on_our_interface_only() {
        let mut table = table(Some(link()), Ok(route(None)), &[]);
        table.neighbour_changed((8, ip("10.1.0.1")), Some(KNOWN));
        assert!(only(&table).is_err());
        table.neighbour_changed((7, ip("10.1.0.1")), Some(KNOWN));
        assert!(only(&table).is_ok());
        table.neighbour_changed((7, ip("10.1.0.1")), None);
        assert_eq!(only(&table), Err(Unresolved::Incomplete(ip("10.1.0.1"))));
    }

    #[test]
    fn a_failed_neighbour_stays_failed_until_it_answers() {
        let entry = |resolution| {
            Some(Neighbour {
                resolution,
                upkeep: Upkeep::Managed,
            })
        };
        let address = ip("10.1.0.1");
        let silent = Err(Unresolved::NeighbourFailed(address));
        let mut table = table(Some(link()), Ok(route(None)), &[]);
        table.neighbour_changed((7, address), entry(Resolution::Failed));
        assert_eq!(only(&table), silent);
        for (what, neighbour) in [
            ("asked again", entry(Resolution::Incomplete)),
            ("collected", None),
        ] {
            table.neighbour_changed((7, address), neighbour);
            assert_eq!(only(&table), silent, "{what}");
        }
        let again = entry(Resolution::Incomplete).map(|neighbour| ((7, address), neighbour));
        table.sync(
            links(Some(link())),
            [(address, Ok(route(None)))].into(),
            again.into_iter().collect(),
        );
        assert_eq!(only(&table), silent, "a round finds it being asked again");
        table.neighbour_changed((7, address), entry(Resolution::Known(PEER_MAC)));
        assert!(only(&table).is_ok());
        table.neighbour_changed((7, address), entry(Resolution::Incomplete));
        assert_eq!(
            only(&table),
            Err(Unresolved::Incomplete(address)),
            "it has answered since"
        );

        table.neighbour_changed((7, address), entry(Resolution::Failed));
        let down = Link {
            up: false,
            ..link()
        };
        table.sync(
            links(Some(down)),
            [(address, Ok(route(None)))].into(),
            BTreeMap::new(),
        );
        table.sync(
            links(Some(link())),
            [(address, Ok(route(None)))].into(),
            BTreeMap::new(),
        );
        assert_eq!(
            only(&table),
            Err(Unresolved::Incomplete(address)),
            "the link was away: begun anew"
        );
    }

    #[test]
    fn a_refusal_counts_while_there_is_no_entry() {
        let mut table = table(Some(link()), Ok(route(None)), &[]);
        table.refused((7, ip("10.1.0.1")), "No buffer space available".into());
        let words = "neighbour 10.1.0.1 is refused by the kernel: No buffer space available";
        assert_eq!(only(&table).unwrap_err().to_string(), words);
        table.neighbour_changed((7, ip("10.1.0.1")), Some(KNOWN));
        assert!(only(&table).is_ok());
    }

    #[test]
    fn who_needs_upkeep() {
        let with = |upkeep| {
            table(
                Some(link()),
                Ok(route(None)),
                &[("10.1.0.1", Neighbour { upkeep, ..KNOWN })],
            )
        };
        assert_eq!(
            with(Upkeep::None).gateways_without_upkeep(),
            [(7, ip("10.1.0.1"))]
        );
        assert!(with(Upkeep::None).gateways_missing().is_empty());
        assert!(with(Upkeep::Managed).gateways_without_upkeep().is_empty());
        assert!(with(Upkeep::Static).gateways_without_upkeep().is_empty());
        assert_eq!(
            table(Some(link()), Ok(route(None)), &[]).gateways_missing(),
            [(7, ip("10.1.0.1"))]
        );
        let down = Link {
            up: false,
            ..link()
        };
        assert!(
            table(Some(down), Ok(route(None)), &[])
                .gateways_missing()
                .is_empty(),
            "nothing to ask on a dead link"
        );
    }
}
