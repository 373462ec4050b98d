//! The task that keeps next hops current.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::events::{Event, Events};
use super::kernel::{Kernel, interface_name};
use super::table::{Gateway, Table, Upkeep};
use super::{Error, Link, NextHop, Own, Route, Unresolved, next_hop};

/// Everything is asked for again so often, whatever events say.
const ROUND: Duration = Duration::from_secs(5);
/// Rounds that events ask for come so far apart at least.
const ROUND_GAP: Duration = Duration::from_millis(250);
/// Events within so long of each other are acted on together.
const GATHER: Duration = Duration::from_millis(10);

/// The next hop of every target, or why there is none.
pub type NextHops = BTreeMap<IpAddr, Result<NextHop, Unresolved>>;

/// Resolves addresses to next hops on our interfaces and VLANs on them, until it is dropped.
///
/// Neighbours are kept resolved by the kernel (NTF_EXT_MANAGED), since traffic by XDP never confirms them. Dropping the
/// resolver leaves them so: the pinned program goes on forwarding. Targets that are no longer wanted age.
#[derive(Debug)]
pub struct Resolver {
    targets: watch::Sender<BTreeSet<IpAddr>>,
    next_hops: watch::Receiver<Arc<NextHops>>,
    task: JoinHandle<()>,
}

impl Resolver {
    /// Starts without targets, in the network namespace of the calling thread; needs a tokio runtime whose tasks run
    /// in that namespace. Interfaces may appear later.
    pub fn start(interfaces: Vec<String>, own: Own) -> Self {
        let (targets, targets_seen) = watch::channel(BTreeSet::new());
        let (published, next_hops) = watch::channel(Arc::new(NextHops::new()));
        let driver = Driver {
            interfaces,
            own,
            targets: targets_seen,
            published,
            managed: BTreeSet::new(),
            refused: false,
            failing: false,
        };
        Resolver {
            targets,
            next_hops,
            task: tokio::spawn(driver.run()),
        }
    }

    /// Makes `targets` the set that is resolved.
    pub fn set_targets(&self, targets: BTreeSet<IpAddr>) {
        self.targets.send_if_modified(|current| {
            let changed = *current != targets;
            *current = targets;
            changed
        });
    }

    /// The latest next hops: exactly the targets of the last set that was taken up.
    pub fn watch(&self) -> watch::Receiver<Arc<NextHops>> {
        self.next_hops.clone()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Driver {
    interfaces: Vec<String>,
    own: Own,
    targets: watch::Receiver<BTreeSet<IpAddr>>,
    published: watch::Sender<Arc<NextHops>>,
    /// Neighbours that the kernel keeps resolved because this task asked for it.
    managed: BTreeSet<Gateway>,
    /// It refused some in the last round, and that has been reported.
    refused: bool,
    /// The last attempt failed and has been reported.
    failing: bool,
}

/// What woke the task up.
enum Wake {
    Targets,
    Events(Vec<Event>),
    Round,
    Publish,
    Closed,
}

/// When to do what nobody has asked for.
struct Agenda {
    round_at: Instant,
    last_round: Instant,
    publish_at: Option<Instant>,
    /// Messages were lost since the last round, and that has been reported.
    overrun: bool,
}

impl Driver {
    /// Runs sessions with the kernel; one that breaks is begun anew after a while.
    async fn run(mut self) {
        let mut table = Table::new(self.interfaces.clone(), self.own);
        loop {
            match self.session(&mut table).await {
                Ok(()) => return,
                Err(error) => {
                    self.report(&table, &error);
                    tokio::time::sleep(ROUND_GAP).await;
                }
            }
        }
    }

    /// Ends without error when nobody holds the [`Resolver`] any more.
    async fn session(&mut self, table: &mut Table) -> Result<(), Error> {
        // Subscribed before the first question, so that no change falls in between.
        let mut events = Events::subscribe()?;
        let kernel = Kernel::connect()?;
        table.set_targets(self.targets.borrow_and_update().clone());
        let now = Instant::now();
        let mut agenda = Agenda {
            round_at: now,
            last_round: now,
            publish_at: None,
            overrun: false,
        };
        loop {
            match self.wait(&mut events, &agenda).await? {
                Wake::Closed => return Ok(()),
                Wake::Targets => {
                    table.set_targets(self.targets.borrow_and_update().clone());
                    self.round(&kernel, table, &mut agenda).await?;
                }
                Wake::Round => self.round(&kernel, table, &mut agenda).await?,
                Wake::Events(list) => list
                    .into_iter()
                    .for_each(|event| take(event, table, &mut agenda)),
                Wake::Publish => {
                    agenda.publish_at = None;
                    let missing = table.gateways_missing();
                    self.keep(&kernel, table, missing).await?;
                    self.publish(table);
                }
            }
        }
    }

    async fn wait(&mut self, events: &mut Events, agenda: &Agenda) -> Result<Wake, Error> {
        let publish = agenda.publish_at;
        // All cancel-safe: a change of targets stays marked as unseen, a datagram is taken whole or not at all.
        tokio::select! {
            changed = self.targets.changed() => Ok(changed.map_or(Wake::Closed, |()| Wake::Targets)),
            list = events.next() => list.map(Wake::Events),
            () = sleep_until(agenda.round_at) => Ok(Wake::Round),
            () = sleep_until(publish.unwrap_or(agenda.round_at)), if publish.is_some() => Ok(Wake::Publish),
        }
    }

    /// Asks for everything, and sees to it that the kernel keeps what is needed.
    async fn round(
        &mut self,
        kernel: &Kernel,
        table: &mut Table,
        agenda: &mut Agenda,
    ) -> Result<(), Error> {
        agenda.last_round = Instant::now();
        agenda.round_at = agenda.last_round + ROUND;
        agenda.publish_at = None;
        agenda.overrun = false;
        let links = next_hop::usable(&self.interfaces, kernel.links().await?);
        let routes = routes(kernel, &links, table.targets()).await?;
        let mut neighbours = kernel.neighbours().await?;
        neighbours.retain(|(ifindex, _), _| links.contains_key(ifindex));
        table.sync(links, routes, neighbours);
        let unkept = table.gateways_without_upkeep();
        self.refused &= !unkept.is_empty();
        self.keep(kernel, table, unkept).await?;
        self.release(kernel, table).await?;
        self.publish(table);
        self.failing = false;
        Ok(())
    }

    async fn keep(
        &mut self,
        kernel: &Kernel,
        table: &mut Table,
        gateways: Vec<Gateway>,
    ) -> Result<(), Error> {
        for gateway in gateways {
            match kernel.keep_resolved(gateway).await {
                Ok(()) => {
                    self.managed.insert(gateway);
                }
                Err(Error::Refused { what, source }) => {
                    if !std::mem::replace(&mut self.refused, true) {
                        tracing::warn!("{what} cannot be kept resolved: {source}");
                    }
                    table.refused(gateway, source.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Lets those age that no target needs any more.
    async fn release(&mut self, kernel: &Kernel, table: &Table) -> Result<(), Error> {
        let gone: Vec<Gateway> = self
            .managed
            .difference(&table.gateways())
            .copied()
            .collect();
        for gateway in gone {
            let managed = table
                .neighbour(gateway)
                .is_some_and(|neighbour| neighbour.upkeep == Upkeep::Managed);
            if managed && let Err(error) = kernel.let_age(gateway).await {
                tracing::warn!(gateway = %gateway.1, %error, "cannot let the neighbour age");
            }
            self.managed.remove(&gateway);
        }
        Ok(())
    }

    fn publish(&self, table: &Table) {
        let next_hops = table.next_hops();
        self.published.send_if_modified(|published| {
            let changed = **published != next_hops;
            if changed {
                log_changes(published, &next_hops);
                *published = Arc::new(next_hops);
            }
            changed
        });
    }

    fn report(&mut self, table: &Table, error: &Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "next hops are not kept current");
        }
        // What is known stays in force; what never was gets its reason.
        let reason = Unresolved::Netlink(error.to_string());
        let targets = self.targets.borrow();
        let next_hops = targets.iter().map(|target| (*target, Err(reason.clone())));
        let known = table
            .next_hops()
            .into_iter()
            .filter(|(target, hop)| hop.is_ok() && targets.contains(target));
        self.published
            .send_replace(Arc::new(next_hops.chain(known).collect()));
    }
}

fn take(event: Event, table: &mut Table, agenda: &mut Agenda) {
    let now = Instant::now();
    match event {
        Event::Neighbour {
            ifindex,
            address,
            neighbour,
        } => {
            table.neighbour_changed((ifindex, address), neighbour);
            agenda.publish_at.get_or_insert(now + GATHER);
        }
        Event::Topology | Event::Overrun => {
            let lost = event == Event::Overrun;
            if lost && !std::mem::replace(&mut agenda.overrun, true) {
                tracing::warn!(
                    "the kernel told of more changes than were read in time, and dropped some: everything is asked for anew"
                );
            }
            let soon = (now + GATHER).max(agenda.last_round + ROUND_GAP);
            agenda.round_at = agenda.round_at.min(soon);
        }
    }
}

async fn routes(
    kernel: &Kernel,
    links: &BTreeMap<u32, Link>,
    targets: &BTreeSet<IpAddr>,
) -> Result<BTreeMap<IpAddr, Result<Route, Unresolved>>, Error> {
    let mut routes = BTreeMap::new();
    for target in targets {
        let route = kernel.route(*target).await?.and_then(|route| {
            if links.contains_key(&route.ifindex) {
                return Ok(route);
            }
            Err(Unresolved::OtherInterface(interface_name(route.ifindex)))
        });
        routes.insert(*target, route);
    }
    Ok(routes)
}

fn log_changes(before: &NextHops, after: &NextHops) {
    for (target, next_hop) in after
        .iter()
        .filter(|(target, next_hop)| before.get(target) != Some(next_hop))
    {
        match next_hop {
            Ok(next_hop) => {
                tracing::info!(%target, gateway = %next_hop.gateway, mtu = next_hop.mtu, "next hop")
            }
            // On the way to either of the others.
            Err(reason @ (Unresolved::Pending | Unresolved::Incomplete(_))) => {
                tracing::debug!(%target, %reason, "no next hop");
            }
            Err(reason) => tracing::info!(%target, %reason, "no next hop"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::table::Neighbour;
    use crate::netlink::testing::{Peer, in_namespace, ip as ip_command};

    /// Shorter than [`ROUND`]: what is seen within it was seen by an event.
    const PATIENCE: Duration = Duration::from_secs(4);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn resolve(addresses: &[&str]) -> Resolver {
        let resolver = Resolver::start(vec!["eth0".into()], Own::Refused);
        resolver.set_targets(addresses.iter().map(|text| ip(text)).collect());
        resolver
    }

    async fn wait_until(
        resolver: &Resolver,
        target: &str,
        what: impl Fn(&Result<NextHop, Unresolved>) -> bool,
    ) -> Result<NextHop, Unresolved> {
        let (mut watch, target) = (resolver.watch(), ip(target));
        let found = watch.wait_for(|next_hops| next_hops.get(&target).is_some_and(&what));
        let found = tokio::time::timeout(PATIENCE, found)
            .await
            .map(|found| found.unwrap()[&target].clone());
        found.unwrap_or_else(|_| {
            panic!(
                "{target}: still {:?}",
                resolver.watch().borrow().get(&target)
            )
        })
    }

    async fn wait_for(
        resolver: &Resolver,
        target: &str,
        what: impl Fn(&Result<NextHop, Unresolved>) -> bool,
    ) -> NextHop {
        wait_until(resolver, target, |found| found.is_ok() && what(found))
            .await
            .unwrap()
    }

    async fn wait_for_words(resolver: &Resolver, target: &str, words: &str) {
        let said = |found: &Result<_, Unresolved>| {
            found
                .as_ref()
                .is_err_and(|reason| reason.to_string() == words)
        };
        assert!(wait_until(resolver, target, said).await.is_err());
    }

    async fn entry(address: &str) -> Option<Neighbour> {
        let kernel = Kernel::connect().unwrap();
        let gateway = (index_of("eth0"), ip(address));
        kernel.neighbours().await.unwrap().get(&gateway).copied()
    }

    fn index_of(interface: &str) -> u32 {
        nix::net::if_::if_nametoindex(interface).unwrap()
    }

    #[test]
    fn resolves_both_families_on_the_link_and_has_the_kernel_keep_them() {
        in_namespace(|| async {
            let _peer = Peer::connect();
            let resolver = resolve(&["10.0.0.1", "2001:db8::1"]);
            let v4 = wait_for(&resolver, "10.0.0.1", Result::is_ok).await;
            let expected = NextHop {
                interface: "eth0".into(),
                ifindex: v4.ifindex,
                mtu: 1500,
                source: ip("10.0.0.11"),
                gateway: ip("10.0.0.1"),
                source_mac: Peer::OUR_MAC,
                destination_mac: Peer::MAC,
                vlan: None,
                local: false,
            };
            assert_eq!(v4, expected);
            let v6 = wait_for(&resolver, "2001:db8::1", Result::is_ok).await;
            assert_eq!(
                v6,
                NextHop {
                    source: ip("2001:db8::11"),
                    gateway: ip("2001:db8::1"),
                    ..expected
                }
            );
            for address in ["10.0.0.1", "2001:db8::1"] {
                assert_eq!(
                    entry(address).await.unwrap().upkeep,
                    Upkeep::Managed,
                    "{address}"
                );
            }

            resolver.set_targets([ip("2001:db8::1")].into());
            let mut watch = resolver.watch();
            watch
                .wait_for(|next_hops| next_hops.len() == 1)
                .await
                .unwrap();
            assert_eq!(
                entry("10.0.0.1").await.unwrap().upkeep,
                Upkeep::None,
                "no longer wanted: it may age"
            );
            assert_eq!(entry("2001:db8::1").await.unwrap().upkeep, Upkeep::Managed);
        });
    }

    #[test]
    fn follows_routes_and_their_mtu() {
        in_namespace(|| async {
            let _peer = Peer::connect();
            let resolver = resolve(&["10.1.0.1", "2001:db8:1::1"]);
            wait_for_words(&resolver, "10.1.0.1", "no route").await;
            wait_for_words(&resolver, "2001:db8:1::1", "no route").await;

            ip_command("route add 10.1.0.0/24 via 10.0.0.1 mtu 1400");
            ip_command("route add 2001:db8:1::/64 via 2001:db8::1 mtu 1300");
            let v4 = wait_for(&resolver, "10.1.0.1", Result::is_ok).await;
            assert_eq!(
                (v4.gateway, v4.mtu, v4.destination_mac),
                (ip("10.0.0.1"), 1400, Peer::MAC)
            );
            let v6 = wait_for(&resolver, "2001:db8:1::1", Result::is_ok).await;
            assert_eq!(
                (v6.gateway, v6.mtu, v6.source),
                (ip("2001:db8::1"), 1300, ip("2001:db8::11"))
            );

            ip_command("link set eth0 mtu 1350");
            wait_for(&resolver, "10.1.0.1", |found| {
                found.as_ref().is_ok_and(|hop| hop.mtu == 1350)
            })
            .await;
            for reject in ["unreachable", "prohibit", "blackhole"] {
                ip_command(&format!("route replace {reject} 10.1.0.1/32"));
                wait_for_words(&resolver, "10.1.0.1", "no route").await;
                ip_command(&format!("route del {reject} 10.1.0.1/32"));
                wait_for(&resolver, "10.1.0.1", Result::is_ok).await;
            }
        });
    }

    #[test]
    fn follows_the_link_and_comes_back() {
        in_namespace(|| async {
            let peer = Peer::connect();
            let resolver = resolve(&["10.0.0.1"]);
            wait_for(&resolver, "10.0.0.1", Result::is_ok).await;
            peer.ip("link set peer0 down");
            wait_for_words(&resolver, "10.0.0.1", "interface eth0 is down").await;
            peer.ip("link set peer0 up");
            wait_for(&resolver, "10.0.0.1", Result::is_ok).await;
            ip_command("link set eth0 down");
            wait_for_words(&resolver, "10.0.0.1", "interface eth0 is down").await;
            ip_command("link set eth0 up");
            wait_for(&resolver, "10.0.0.1", Result::is_ok).await;
            assert_eq!(
                entry("10.0.0.1").await.unwrap().upkeep,
                Upkeep::Managed,
                "kept again after the flush"
            );
            ip_command("link del eth0");
            wait_for_words(&resolver, "10.0.0.1", "no interface eth0").await;
        });
    }

    #[test]
    fn the_interface_may_come_later_and_the_mac_may_change() {
        in_namespace(|| async {
            let resolver = resolve(&["10.0.0.1"]);
            wait_for_words(&resolver, "10.0.0.1", "no interface eth0").await;
            let peer = Peer::connect();
            wait_for(&resolver, "10.0.0.1", Result::is_ok).await;
            ip_command("neigh replace 10.0.0.1 dev eth0 lladdr 02:00:00:00:00:99 nud reachable");
            let moved = [2, 0, 0, 0, 0, 0x99];
            let hop = wait_for(&resolver, "10.0.0.1", |found| {
                found.as_ref().is_ok_and(|hop| hop.destination_mac == moved)
            });
            assert_eq!(hop.await.destination_mac, moved);
            drop(peer);
        });
    }

    #[test]
    fn says_why_a_neighbour_is_not_there() {
        in_namespace(|| async {
            let peer = Peer::connect();
            std::fs::write("/proc/sys/net/ipv4/neigh/eth0/retrans_time_ms", "100").unwrap();
            let resolver = resolve(&["10.0.0.99"]);
            wait_for_words(
                &resolver,
                "10.0.0.99",
                "neighbour 10.0.0.99 does not answer",
            )
            .await;
            // The kernel asks again on its own: no packet of ours is needed. Until the answer there is no news.
            let failed = Err(Unresolved::NeighbourFailed(ip("10.0.0.99")));
            let (mut watch, mut rounds) = (resolver.watch(), 0);
            let kernel = Kernel::connect().unwrap();
            let gateway = (index_of("eth0"), ip("10.0.0.99"));
            let back = async {
                loop {
                    tokio::select! {
                        changed = watch.changed() => changed.unwrap(),
                        () = tokio::time::sleep(Duration::from_millis(150)) => {
                            // As a packet of a health check would.
                            kernel.keep_resolved(gateway).await.unwrap();
                            rounds += 1;
                            if rounds == 10 {
                                peer.ip("addr add 10.0.0.99/24 dev peer0");
                            }
                        }
                    }
                    match watch.borrow_and_update()[&ip("10.0.0.99")].clone() {
                        Ok(_) => return,
                        unresolved => assert_eq!(unresolved, failed),
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(12), back)
                .await
                .expect("is found again");
        });
    }

    #[test]
    fn a_permanent_neighbour_is_used_and_left_alone() {
        in_namespace(|| async {
            let _peer = Peer::connect();
            ip_command("neigh add 10.0.0.50 dev eth0 lladdr 02:00:00:00:00:50 nud permanent");
            let resolver = resolve(&["10.0.0.50"]);
            let hop = wait_for(&resolver, "10.0.0.50", Result::is_ok).await;
            assert_eq!(hop.destination_mac, [2, 0, 0, 0, 0, 0x50]);
            resolver.set_targets(BTreeSet::new());
            resolver
                .watch()
                .wait_for(|next_hops| next_hops.is_empty())
                .await
                .unwrap();
            assert_eq!(entry("10.0.0.50").await.unwrap().upkeep, Upkeep::Static);
        });
    }

    #[test]
    fn refuses_what_this_version_cannot_forward_to() {
        in_namespace(|| async {
            let _peer = Peer::connect();
            ip_command("link add eth9 type veth peer name eth8");
            ip_command("addr add 10.9.0.1/24 dev eth9");
            ip_command("link set eth9 up");
            ip_command("link set eth8 up");
            let resolver = resolve(&["10.9.0.2", "10.0.0.11", "10.0.0.255"]);
            let words =
                "is reached by eth9, which is neither in node.interfaces nor a VLAN on one of them";
            wait_for_words(&resolver, "10.9.0.2", words).await;
            wait_for_words(&resolver, "10.0.0.11", "is an address of this node").await;
            wait_for_words(&resolver, "10.0.0.255", "is not a unicast address").await;
        });
    }

    #[test]
    fn each_target_by_its_own_interface() {
        in_namespace(|| async {
            let peer = Peer::connect();
            ip_command("link add eth9 address 02:00:00:00:00:09 type veth peer name eth8");
            ip_command("addr add 10.9.0.1/24 dev eth9");
            ip_command("link set eth9 up");
            ip_command("link set eth8 up");
            ip_command("neigh add 10.9.0.2 dev eth9 lladdr 02:00:00:00:00:92 nud permanent");
            let resolver = Resolver::start(vec!["eth0".into(), "eth9".into()], Own::Refused);
            let targets = ["10.0.0.1", "10.9.0.2"];
            resolver.set_targets(targets.map(ip).into());
            let mut found = Vec::new();
            for target in targets {
                let hop = wait_for(&resolver, target, Result::is_ok).await;
                found.push((hop.interface, hop.ifindex));
            }
            let expected = ["eth0", "eth9"].map(|name| (name.to_owned(), index_of(name)));
            assert_eq!(found, expected);
            ip_command("link set eth9 down");
            wait_for_words(&resolver, "10.9.0.2", "no route").await;
            wait_for(&resolver, "10.0.0.1", Result::is_ok).await;
            drop(peer);
        });
    }
}
