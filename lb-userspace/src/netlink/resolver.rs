//! The task that keeps next hops current.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::events::{Event, Events};
use super::kernel::Kernel;
use super::table::{Table, Upkeep};
use super::{Error, Link, NextHop, Unresolved};

/// Everything is asked for again so often, whatever events say.
const ROUND: Duration = Duration::from_secs(5);
/// Rounds that events ask for come so far apart at least.
const ROUND_GAP: Duration = Duration::from_millis(250);
/// Events within so long of each other are acted on together.
const GATHER: Duration = Duration::from_millis(10);

/// The next hop of every target, or why there is none.
pub type NextHops = BTreeMap<IpAddr, Result<NextHop, Unresolved>>;

/// Resolves addresses to next hops on one interface, until it is dropped.
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
    /// in that namespace. The interface may appear later.
    pub fn start(interface: impl Into<String>) -> Self {
        let (targets, targets_seen) = watch::channel(BTreeSet::new());
        let (published, next_hops) = watch::channel(Arc::new(NextHops::new()));
        let driver = Driver {
            interface: interface.into(),
            targets: targets_seen,
            published,
            managed: BTreeSet::new(),
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
    interface: String,
    targets: watch::Receiver<BTreeSet<IpAddr>>,
    published: watch::Sender<Arc<NextHops>>,
    /// Neighbours that the kernel keeps resolved because this task asked for it.
    managed: BTreeSet<IpAddr>,
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
}

impl Driver {
    /// Runs sessions with the kernel; one that breaks is begun anew after a while.
    async fn run(mut self) {
        let mut table = Table::new(self.interface.clone());
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
                    self.keep(&kernel, table, table.gateways_missing()).await?;
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
        let link = kernel.link(&self.interface).await?;
        let (routes, neighbours) = match &link {
            Some(link) => (
                routes(kernel, link, table.targets()).await?,
                kernel.neighbours(link.ifindex).await?,
            ),
            None => (no_routes(&self.interface, table.targets()), BTreeMap::new()),
        };
        table.sync(link, routes, neighbours);
        self.keep(kernel, table, table.gateways_without_upkeep())
            .await?;
        self.release(kernel, table).await?;
        self.publish(table);
        self.failing = false;
        Ok(())
    }

    async fn keep(
        &mut self,
        kernel: &Kernel,
        table: &Table,
        gateways: Vec<IpAddr>,
    ) -> Result<(), Error> {
        let Some(ifindex) = table.link().map(|link| link.ifindex) else {
            return Ok(());
        };
        for gateway in gateways {
            match kernel.keep_resolved(ifindex, gateway).await {
                Ok(()) => {
                    self.managed.insert(gateway);
                }
                Err(Error::NoAnswer { what }) => return Err(Error::NoAnswer { what }),
                // Refused for this one neighbour; it is asked for again in the next round.
                Err(error) => {
                    tracing::warn!(%gateway, %error, "cannot keep the neighbour resolved")
                }
            }
        }
        Ok(())
    }

    /// Lets those age that no target needs any more.
    async fn release(&mut self, kernel: &Kernel, table: &Table) -> Result<(), Error> {
        let Some(ifindex) = table.link().map(|link| link.ifindex) else {
            return Ok(());
        };
        let gone: Vec<IpAddr> = self
            .managed
            .difference(&table.gateways())
            .copied()
            .collect();
        for gateway in gone {
            let managed = table
                .neighbour(gateway)
                .is_some_and(|neighbour| neighbour.upkeep == Upkeep::Managed);
            if managed && let Err(error) = kernel.let_age(ifindex, gateway).await {
                tracing::warn!(%gateway, %error, "cannot let the neighbour age");
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
            table.neighbour_changed(ifindex, address, neighbour);
            agenda.publish_at.get_or_insert(now + GATHER);
        }
        Event::Topology | Event::Overrun => {
            let soon = (now + GATHER).max(agenda.last_round + ROUND_GAP);
            agenda.round_at = agenda.round_at.min(soon);
        }
    }
}

async fn routes(
    kernel: &Kernel,
    link: &Link,
    targets: &BTreeSet<IpAddr>,
) -> Result<BTreeMap<IpAddr, Result<super::Route, Unresolved>>, Error> {
    let mut routes = BTreeMap::new();
    for target in targets {
        routes.insert(*target, kernel.route_by(link, *target).await?);
    }
    Ok(routes)
}

fn no_routes(
    interface: &str,
    targets: &BTreeSet<IpAddr>,
) -> BTreeMap<IpAddr, Result<super::Route, Unresolved>> {
    targets
        .iter()
        .map(|target| (*target, Err(Unresolved::NoInterface(interface.to_owned()))))
        .collect()
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
            Err(reason) => tracing::info!(%target, %reason, "no next hop"),
        }
    }
}
