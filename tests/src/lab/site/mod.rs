//! The whole site, running: routers, LB nodes, backends with their servers, clients.
//!
//! | module | holds |
//! |---|---|
//! | `programs` | servers and agents, started and ended |
//! | `pools` | the pools of both nodes: changed, and agreed upon |
//! | `routes` | where the router sends a VIP's packets |

pub mod pools;
pub mod programs;
pub mod routes;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use anylb::model::AdminState;

use super::agent::Agent;
use super::dice::Dice;
use super::files::{self, Pools};
use super::trial::Ground;
use super::{PREFIX, RUN_DIR, binary};
use crate::harness::bird::Bird;
use crate::harness::netns::Netns;
use crate::harness::process::Process;
use crate::harness::router::Router;
use crate::harness::runtime::NetnsRuntime;
use crate::harness::second_router::SecondRouter;
use crate::harness::star::{Node, Star, UNDERLAY_MTU};
use crate::harness::{poll, secret};

/// The VIPs.
pub const VIPS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 1)),
];
/// Their port of TCP.
pub const PORT: u16 = 80;
/// Their port of UDP with a connected socket per flow.
pub const UDP_CONNECTED: u16 = 5300;
/// Their ports of UDP without.
pub const UDP_STATELESS: RangeInclusive<u16> = 6000..=6099;
/// Services in a node's file: these three at each VIP.
pub const SERVICES: usize = 3 * VIPS.len();
/// Where files of the second router are, in the lab's folder.
const SECOND_DIR: &str = "r2";
/// For what takes a moment.
pub const SOON: Duration = Duration::from_secs(10);
/// For a BGP session that has to come back, and checks that have to pass.
pub const IN_A_WHILE: Duration = Duration::from_secs(30);

/// The site. Fields are dropped in this order: programs before the network.
#[derive(Debug)]
pub struct Site {
    /// Where the client's traffic runs.
    pub client: NetnsRuntime,
    webs: Vec<Option<Process>>,
    answerers: Vec<Option<Process>>,
    lb_agents: Vec<Option<Agent>>,
    backend_agents: Vec<Option<Agent>>,
    /// The router's control plane.
    pub router: Router,
    /// The second router's.
    pub bird: Bird,
    /// Where the traffic of the client behind the second router runs.
    pub second_client: NetnsRuntime,
    /// The second router and its client.
    pub second: SecondRouter,
    /// The network.
    pub star: Star,
    /// `anylb`.
    pub binary: PathBuf,
    /// The run's choices.
    pub dice: Dice,
    pools: Pools,
    draining: BTreeSet<u8>,
    keys: [PathBuf; 2],
}

impl Site {
    /// Builds the network and starts everything in it.
    pub async fn build(seed: u64) -> Result<Self> {
        let binary = binary()?;
        let mut dice = Dice::new(seed);
        let run_dir = Path::new(RUN_DIR);
        std::fs::create_dir_all(run_dir).with_context(|| RUN_DIR.to_owned())?;
        let keys = [run_dir.join("hash.key"), run_dir.join("other.key")];
        for key in &keys {
            secret::write(key, &dice.hash_key())?;
        }
        let star = Star::build(PREFIX, run_dir, 2, files::BACKENDS)?;
        star.reseed_multipath(dice.multipath_seed())?;
        let router = Router::start(&star.r1, files::ROUTER, run_dir).await?;
        let second = SecondRouter::build(&star, PREFIX)?;
        let second_dir = run_dir.join(SECOND_DIR);
        std::fs::create_dir_all(&second_dir).with_context(|| second_dir.display().to_string())?;
        let bird = Bird::start(&second.r2, files::SECOND_ROUTER, &second_dir).await?;
        let client = NetnsRuntime::start(&star.client)?;
        let mut site = Self {
            client,
            webs: star.backends.iter().map(|_| None).collect(),
            answerers: star.backends.iter().map(|_| None).collect(),
            lb_agents: star.lbs.iter().map(|_| None).collect(),
            backend_agents: star.backends.iter().map(|_| None).collect(),
            router,
            bird,
            second_client: NetnsRuntime::start(&second.client)?,
            second,
            star,
            binary,
            dice,
            pools: Pools::first(),
            draining: BTreeSet::new(),
            keys,
        };
        site.start_webs().await?;
        site.start_answerers().await?;
        site.start_backend_agents(true).await?;
        site.start_lb_agents().await?;
        Ok(site)
    }

    /// Every namespace.
    pub fn namespaces(&self) -> impl Iterator<Item = &Netns> {
        self.star.namespaces().chain(self.second.namespaces())
    }

    /// VIPs and port.
    pub fn targets() -> Vec<SocketAddr> {
        VIPS.iter().map(|vip| SocketAddr::new(*vip, PORT)).collect()
    }

    /// An LB node.
    pub fn lb(&self, number: usize) -> &Node {
        &self.star.lbs[number - 1]
    }

    /// A backend.
    pub fn backend(&self, number: u8) -> &Node {
        &self.star.backends[index(number)]
    }

    /// Waits until both nodes agree, find every backend up and serve both VIPs.
    pub async fn settled(&self) -> Result<()> {
        self.wait_serving(&["lb1", "lb2"], IN_A_WHILE).await?;
        self.wait_agreed().await
    }

    /// Puts everything back as it was before any scenario: links, programs, pools; idempotent.
    pub async fn recover(&mut self) -> Result<()> {
        self.star.set_underlay_mtu(UNDERLAY_MTU)?;
        for node in &self.star.lbs {
            self.star.set_link(node, true)?;
        }
        self.forget_ended_agents()?;
        // They may have been started without the clamp.
        self.stop_backend_agents().await?;
        self.start_webs().await?;
        self.start_answerers().await?;
        self.start_backend_agents(true).await?;
        self.start_lb_agents().await?;
        self.ready_all()?;
        self.apply(&Pools::full()).await?;
        self.settled().await
    }

    /// Log files and the names under which they are kept.
    pub fn logs(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut logs = Vec::new();
        let dirs = self
            .star
            .nodes()
            .map(|node| (node.name.as_str(), node.dir.as_path()));
        let second_dir = self.star.run_dir().join(SECOND_DIR);
        let routers = [("r1", self.star.run_dir()), ("r2", second_dir.as_path())];
        for (name, dir) in dirs.chain(routers) {
            for entry in std::fs::read_dir(dir)? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "log") {
                    let file = path
                        .file_name()
                        .context("a log has a name")?
                        .to_string_lossy();
                    logs.push((format!("{name}-{file}"), path.clone()));
                }
            }
        }
        Ok(logs)
    }
}

impl Ground for Site {
    fn full() -> Pools {
        Pools::full()
    }

    fn client(&self) -> &NetnsRuntime {
        &self.client
    }

    fn end_connections(&self) -> Result<()> {
        programs::end_connections(&self.star.client, &self.star.backends)
    }

    fn ready_all(&mut self) -> Result<()> {
        for backend in std::mem::take(&mut self.draining) {
            self.set_admin(backend, AdminState::Ready)?;
        }
        Ok(())
    }

    async fn apply(&mut self, pools: &Pools) -> Result<()> {
        self.reload(pools)?;
        self.wait_agreed().await
    }

    async fn observe(&mut self, time: Duration) -> Result<()> {
        poll::holds("programs of the site run", time, async || {
            self.all_running()
        })
        .await
    }
}

fn index(backend: u8) -> usize {
    usize::from(backend) - 1
}
