//! The keeper: brings the datapath up and keeps it true to configuration and host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lb_common::abi::ExitCount;
use lb_common::backend::Exit;
use lb_common::backend_abi::{Macs, NEXT_HOPS_MAX};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tracing::{info, warn};

use super::datapath::Datapath;
use super::differences;
use super::error::Error;
use super::host::{self, Facts};
use super::image::{Endpoint, Image, Wanted};
use super::kernel_types::Offsets;
use super::report::{self, Scene};
use super::role::{self, ByLocal, Role};
use crate::config;
use crate::dataplane::{DataplaneError, jiffies};
use crate::netlink::address::OwnAddresses;
use crate::netlink::{self, NextHop, NextHops, Own, Resolver, sock_diag};
use crate::plan::differences::Difference;
use crate::status::{
    BpfState, Command, Compared, ConfigStatus, Counters, Envelope, KernelDifference, NodeStatus,
    Refusal, Verification,
};

/// What one agent holds: the datapath and all that keeps it true.
pub(super) struct Keeper {
    config: PathBuf,
    role: Role,
    offsets: Offsets,
    hertz: u32,
    facts: Facts,
    /// Services that have had a listener since the agent started: one that is gone is a dead server, not a hidden one.
    seen: BTreeSet<Endpoint>,
    wanted: Wanted,
    image: Image,
    datapath: Datapath,
    /// Readable where [`Keeper::take_wanted`] has something to take.
    pub(super) ring: AsyncFd<OwnedFd>,
    /// What former datapaths of this agent have counted.
    counted: BTreeMap<u32, ExitCount>,
    vips: OwnAddresses,
    resolver: Resolver,
    /// Changed where [`Keeper::set_next_hops`] has something to set.
    pub(super) next_hops: watch::Receiver<Arc<NextHops>>,
    /// Backends that packets were passed on to.
    targets: BTreeSet<IpAddr>,
    /// What went wrong when the host was last looked at.
    failures: Vec<String>,
    pub(super) status: watch::Sender<Arc<Envelope<NodeStatus>>>,
}

impl Keeper {
    /// Reads the host, loads and attaches the datapath, adds the VIPs.
    pub(super) async fn start(config: PathBuf, role: Role) -> Result<Self, Error> {
        let (offsets, hertz) = (host::offsets(), jiffies::per_second());
        let facts = Facts::read(&role.interface).await?;
        let seen = host::listening(&role.endpoints()).await?;
        let wanted = role.wanted(&facts, &seen, hertz)?;
        let image = Image::new(&wanted)?;
        let mut datapath = Datapath::load(&image, offsets, role.entry())?;
        let ring = ring(&datapath)?;
        let mut vips = OwnAddresses::on("lo").await?;
        let adopted = datapath.attach(
            &role.settings.node.pin_dir,
            &role.interface,
            role.lowers_mss(),
        )?;
        let failures = set_vips(&mut vips, &role).await;
        let resolver = Resolver::start(vec![role.interface.clone()], Own::Refused);
        let targets = role.peers();
        resolver.set_targets(targets.clone());
        let status = watch::Sender::new(Arc::new(Envelope::new(1, first_status(&role, adopted))));
        let keeper = Self {
            next_hops: resolver.watch(),
            config,
            role,
            offsets,
            hertz,
            facts,
            seen,
            wanted,
            image,
            datapath,
            ring,
            counted: BTreeMap::new(),
            vips,
            resolver,
            targets,
            failures,
            status,
        };
        keeper.publish(0);
        info!(
            node = keeper.role.settings.node.name,
            interface = keeper.role.interface,
            adopted,
            "backend datapath attached"
        );
        for problem in &keeper.status.borrow().body.problems {
            warn!("{problem}");
        }
        Ok(keeper)
    }

    /// Undoes everything: programs off the interface, VIPs off `lo`.
    pub(super) async fn stop(mut self) -> Result<(), Error> {
        info!("stopping: the datapath and the VIPs go away");
        let detached = self.datapath.detach();
        for failed in self.vips.set(&BTreeSet::new()).await {
            warn!("{failed}");
        }
        Ok(detached?)
    }

    /// Looks at the host and makes the datapath follow.
    pub(super) async fn look(&mut self) {
        let before = self.failures.clone();
        self.failures.clear();
        if let Err(error) = self.follow().await {
            self.failures.push(error.to_string());
        }
        self.failures
            .extend(set_vips(&mut self.vips, &self.role).await);
        for failure in self
            .failures
            .iter()
            .filter(|failure| !before.contains(failure))
        {
            warn!("{failure}");
        }
        self.publish(0);
    }

    async fn follow(&mut self) -> Result<(), Error> {
        if !self.wanted.blind.is_empty() {
            let found = host::listening(&self.wanted.blind).await?;
            for endpoint in &found {
                info!("{} port {} has a listener", endpoint.vip, endpoint.ports);
            }
            self.seen.extend(found);
        }
        self.facts = Facts::read(&self.role.interface).await?;
        let wanted = self.role.wanted(&self.facts, &self.seen, self.hertz)?;
        self.apply(wanted)?;
        if !self.datapath.is_attached() {
            self.attach()?;
            info!(
                interface = self.role.interface,
                "backend datapath attached again"
            );
        }
        Ok(())
    }

    /// Makes the datapath do what is wanted; no packet meets half of it.
    fn apply(&mut self, wanted: Wanted) -> Result<(), Error> {
        if wanted == self.wanted {
            return Ok(());
        }
        let image = Image::new(&wanted)?;
        if image.config == self.image.config
            && image.vips == self.image.vips
            && same_keys(&image, &self.image)
        {
            for (index, bucket) in &image.services {
                if self.image.services.get(index) != Some(bucket) {
                    self.datapath.set_services(*index, *bucket)?;
                }
            }
        } else {
            self.replace(&image)?;
        }
        (self.wanted, self.image) = (wanted, image);
        Ok(())
    }

    /// Loads a new datapath and puts it in place of the old one.
    fn replace(&mut self, image: &Image) -> Result<(), Error> {
        let datapath = Datapath::load(image, self.offsets, self.role.entry())?;
        let ring = ring(&datapath)?;
        let old = std::mem::replace(&mut self.datapath, datapath);
        if let Err(error) = self.attach() {
            self.datapath = old;
            return Err(error);
        }
        self.ring = ring;
        for (exit, count) in old.exits()? {
            let sum = self.counted.entry(exit as u32).or_default();
            sum.packets += count.packets;
            sum.bytes += count.bytes;
        }
        self.set_next_hops();
        Ok(())
    }

    fn attach(&mut self) -> Result<(), Error> {
        let node = &self.role.settings.node;
        let (interface, lowers) = (&self.role.interface, self.role.lowers_mss());
        self.datapath.attach(&node.pin_dir, interface, lowers)?;
        Ok(())
    }

    /// Takes up the backends whose way the datapath does not know.
    pub(super) fn take_wanted(&mut self) {
        let known = self.targets.len();
        while let Some(backend) = self.datapath.next_wanted() {
            if self.targets.len() < NEXT_HOPS_MAX as usize {
                self.targets.insert(backend);
            }
        }
        if self.targets.len() != known {
            self.resolver.set_targets(self.targets.clone());
        }
    }

    pub(super) fn set_next_hops(&mut self) {
        let next_hops = Arc::clone(&self.next_hops.borrow_and_update());
        for (backend, next_hop) in next_hops.iter() {
            let macs = next_hop.as_ref().ok().map(macs);
            if let Err(error) = self.datapath.set_next_hop(*backend, macs) {
                warn!("next hop of {backend}: {error}");
            }
        }
    }

    pub(super) async fn counters(&self) -> Result<Counters, Refusal> {
        let exits = self.datapath.exits();
        let exits: Vec<(Exit, ExitCount)> = exits
            .map_err(|error| Refusal::failed(error.to_string()))?
            .into_iter()
            .map(|(exit, count)| {
                let before = self
                    .counted
                    .get(&(exit as u32))
                    .copied()
                    .unwrap_or_default();
                let sum = ExitCount {
                    packets: before.packets + count.packets,
                    bytes: before.bytes + count.bytes,
                };
                (exit, sum)
            })
            .collect();
        let connections = connected_sockets(&self.role)
            .await
            .ok()
            .map(|found| role::connections(&self.role.settings.services, &found));
        Ok(report::counters(
            &self.role.interface,
            &exits,
            &self.wanted,
            connections,
        ))
    }

    pub(super) fn inventory(&self) -> Result<BpfState, Refusal> {
        let inventory = self.datapath.inventory();
        inventory.map_err(|error| Refusal::failed(error.to_string()))
    }

    /// Compares all that the datapath holds with what it should hold; nothing is written.
    pub(super) fn verify(&self) -> Result<Verification, Refusal> {
        let failed = |error: DataplaneError| Refusal::failed(error.to_string());
        let found = self.datapath.observed().map_err(failed)?;
        let mut all = differences::differences(&self.image, &found);
        let next_hops = Arc::clone(&self.next_hops.borrow());
        for (backend, wanted) in next_hops.iter() {
            let found = self.datapath.next_hop(*backend).map_err(failed)?;
            let wanted = wanted.as_ref().ok().map(macs);
            all.extend(differences::next_hop(*backend, wanted, found));
        }
        if !self.datapath.is_attached() {
            all.push(Difference {
                subject: self.role.interface.clone(),
                what: "the programs are not attached".to_owned(),
            });
        }
        Ok(Verification {
            compared: Compared {
                addresses: differences::vips(&self.image).len(),
                services: differences::services(&self.image).len(),
                backends: next_hops.len(),
                ..Compared::default()
            },
            differences: all
                .into_iter()
                .map(|one| KernelDifference {
                    subject: one.subject,
                    difference: one.what,
                })
                .collect(),
        })
    }

    pub(super) async fn command(&mut self, command: Command) -> Result<String, Refusal> {
        match command {
            Command::Reload => self.reload().await,
            Command::SetAdmin { .. } | Command::SetWeight { .. } => Err(Refusal::refused(
                "a backend does not drain itself: `anylb backend drain` on every LB node",
            )),
            Command::Withdraw { .. } | Command::Announce { .. } => Err(Refusal::refused(
                "a backend announces nothing: `anylb service` withdraws and announces on LB nodes",
            )),
            Command::Attack { .. } => Err(Refusal::refused(
                "a backend hears of an attack from LB nodes: `anylb service attack` on each of them",
            )),
            Command::ShutDownPeer { .. }
            | Command::EnablePeer { .. }
            | Command::RefreshPeer { .. } => Err(Refusal::refused(
                "a backend has no BGP peers: `anylb bgp` is for LB nodes",
            )),
            Command::Handover => Err(Refusal::refused("the agent is ending")),
        }
    }

    /// Reads the configuration again; what fails changes nothing.
    pub(super) async fn reload(&mut self) -> Result<String, Refusal> {
        let result = self.take_over().await;
        self.status.send_modify(|status| {
            let config = &mut Arc::make_mut(status).body.config;
            config.last_reload_successful = result.is_ok();
            if result.is_ok() {
                config.last_success_time_secs = now_secs();
                config.reloads_applied += 1;
            } else {
                config.reloads_rejected += 1;
            }
        });
        self.publish(u64::from(result.is_ok()));
        result.map(|()| "this node only: the configuration is in force".to_owned())
    }

    async fn take_over(&mut self) -> Result<(), Refusal> {
        let role = load(&self.config).map_err(|error| Refusal::invalid(error.to_string()))?;
        if !role.same_place(&self.role) {
            return Err(Refusal::refused(
                "interface, xdp_mode, hook, directories and the metrics listener change only with `anylb restart`",
            ));
        }
        let failed = |error: Error| Refusal::failed(error.to_string());
        let mut seen = self.seen.clone();
        seen.extend(host::listening(&role.endpoints()).await.map_err(failed)?);
        let wanted = role
            .wanted(&self.facts, &seen, self.hertz)
            .map_err(failed)?;
        let before = std::mem::replace(&mut self.role, role);
        if let Err(error) = self.apply(wanted) {
            self.role = before;
            return Err(failed(error));
        }
        self.seen = seen;
        self.targets.extend(self.role.peers());
        self.resolver.set_targets(self.targets.clone());
        self.failures = set_vips(&mut self.vips, &self.role).await;
        Ok(())
    }

    /// Tells the status; `changes` is how many changes of the wanted state it tells of.
    fn publish(&self, changes: u64) {
        let scene = Scene {
            role: &self.role,
            wanted: &self.wanted,
            facts: &self.facts,
            offsets: self.offsets,
            attached: self.datapath.is_attached(),
            mode: self.datapath.mode(),
            failures: &self.failures,
        };
        self.status.send_modify(|status| {
            let status = Arc::make_mut(status);
            status.generation += changes;
            report::refresh(&mut status.body, &scene);
        });
    }
}

/// The role in the file at `path`.
pub(super) fn load(path: &Path) -> Result<Role, Error> {
    let settings =
        config::load(path).map_err(|diagnostics| Error::Config(diagnostics.render(false)))?;
    Role::of(settings, path)
}

fn first_status(role: &Role, adopted: bool) -> NodeStatus {
    let now = now_secs();
    NodeStatus {
        node: role.settings.node.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        role: "backend".to_owned(),
        start_time_secs: now,
        adopted,
        config: ConfigStatus {
            last_reload_successful: true,
            last_success_time_secs: now,
            ..ConfigStatus::default()
        },
        ..NodeStatus::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "the agent is a driver")]
fn now_secs() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for types that may close their descriptor early; `OwnedFd` does not"
)]
fn ring(datapath: &Datapath) -> Result<AsyncFd<OwnedFd>, Error> {
    datapath
        .wanted_fd()
        .and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE))
        .map_err(Error::io("cannot wait for the datapath"))
}

/// Those that services of this role may count.
async fn connected_sockets(role: &Role) -> Result<ByLocal, netlink::Error> {
    let protocols: BTreeSet<_> = role
        .settings
        .services
        .iter()
        .map(|service| service.protocol)
        .collect();
    let mut all = ByLocal::new();
    for protocol in protocols {
        let found = sock_diag::established_by_local(protocol).await?;
        all.extend(
            found
                .into_iter()
                .map(|((address, port), count)| ((protocol, address, port), count)),
        );
    }
    Ok(all)
}

async fn set_vips(vips: &mut OwnAddresses, role: &Role) -> Vec<String> {
    let errors = vips.set(&role.vip_addresses()).await;
    errors.iter().map(ToString::to_string).collect()
}

/// Whether two images differ in nothing but what is blind.
fn same_keys(a: &Image, b: &Image) -> bool {
    let keys = |image: &Image| -> Vec<(u32, [u64; 4])> {
        let buckets = image.services.iter();
        let key =
            |bucket: &lb_common::backend_abi::ServiceBucket| bucket.entries.map(|entry| entry.key);
        buckets
            .map(|(index, bucket)| (*index, key(bucket)))
            .collect()
    };
    keys(a) == keys(b)
}

fn macs(next_hop: &NextHop) -> Macs {
    let [a, b, c, d, e, f] = next_hop.destination_mac;
    let [g, h, i, j, k, l] = next_hop.source_mac;
    Macs {
        low: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        high: u32::from_ne_bytes([i, j, k, l]),
        padding: 0,
    }
}
