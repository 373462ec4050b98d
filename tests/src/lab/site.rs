//! The whole site, running: router, LB nodes, backends with web servers, client.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::model::AdminState;
use anylb::status::{Health, NodeStatus, PoolStatus};

use super::agent::Agent;
use super::dice::Dice;
use super::files::{self, Pools};
use super::{PREFIX, RUN_DIR, binary};
use crate::harness::poll;
use crate::harness::process::Process;
use crate::harness::router::Router;
use crate::harness::runtime::NetnsRuntime;
use crate::harness::star::{Node, Star, UNDERLAY_MTU};

/// The VIPs.
pub const VIPS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 1)),
];
/// Their port.
pub const PORT: u16 = 80;
/// State directories of lb2: in use, and put aside.
const STATE: &str = "state";
const SITE_STATE: &str = "state-of-the-site";
const OTHER_STATE: &str = "state-of-the-control";
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
    lb_agents: Vec<Option<Agent>>,
    backend_agents: Vec<Option<Agent>>,
    /// The router's control plane.
    pub router: Router,
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
            write_secret(key, &dice.hash_key())?;
        }
        let star = Star::build(PREFIX, run_dir, 2, files::BACKENDS)?;
        star.reseed_multipath(dice.multipath_seed())?;
        let router = Router::start(&star.r1, files::ROUTER, run_dir).await?;
        let client = NetnsRuntime::start(&star.client)?;
        let mut site = Self {
            client,
            webs: star.backends.iter().map(|_| None).collect(),
            lb_agents: star.lbs.iter().map(|_| None).collect(),
            backend_agents: star.backends.iter().map(|_| None).collect(),
            router,
            star,
            binary,
            dice,
            pools: Pools::first(),
            draining: BTreeSet::new(),
            keys,
        };
        site.start_webs().await?;
        site.start_backend_agents(true).await?;
        site.start_lb_agents().await?;
        Ok(site)
    }

    /// VIPs and port.
    pub fn targets() -> Vec<SocketAddr> {
        VIPS.iter().map(|vip| SocketAddr::new(*vip, PORT)).collect()
    }

    /// Web servers, each on its backend, where none runs.
    pub async fn start_webs(&mut self) -> Result<()> {
        for (node, web) in self.star.backends.iter().zip(&mut self.webs) {
            if web.is_none() {
                *web = Some(start_web(node)?);
            }
        }
        for node in &self.star.backends {
            poll::until(
                &format!("the web server of {}", node.name),
                SOON,
                async || {
                    node.netns
                        .run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).context("connect"))
                },
            )
            .await?;
        }
        Ok(())
    }

    /// Kills the web server of a backend; its kernel resets what was connected.
    pub fn kill_web(&mut self, backend: u8) -> Result<()> {
        self.webs[index(backend)].take().context("it runs")?.kill()
    }

    /// Backend agents where none runs, with the MSS clamp or without.
    pub async fn start_backend_agents(&mut self, clamp: bool) -> Result<()> {
        for (node, agent) in self.star.backends.iter().zip(&mut self.backend_agents) {
            if agent.is_none() {
                std::fs::write(files::path(&node.dir), files::backend(&node.name, clamp))?;
                *agent = Some(Agent::backend(&self.binary, node)?);
            }
        }
        for (node, agent) in self.star.backends.iter().zip(&mut self.backend_agents) {
            let agent = agent.as_mut().context("it was started")?;
            agent.ready().await.with_context(|| node.name.clone())?;
        }
        Ok(())
    }

    /// Stops all backend agents.
    pub async fn stop_backend_agents(&mut self) -> Result<()> {
        for agent in self.backend_agents.iter().flatten() {
            agent.terminate()?;
        }
        for agent in &mut self.backend_agents {
            if let Some(agent) = agent.take() {
                agent.stop(SOON).await?;
            }
        }
        Ok(())
    }

    /// LB agents where none runs.
    pub async fn start_lb_agents(&mut self) -> Result<()> {
        for number in 1..=self.star.lbs.len() {
            if self.lb_agents[number - 1].is_none() {
                self.write_lb_file(number, false)?;
                self.start_lb_agent(number)?;
            }
        }
        for agent in self.lb_agents.iter_mut().flatten() {
            agent.ready().await?;
        }
        Ok(())
    }

    fn start_lb_agent(&mut self, number: usize) -> Result<()> {
        let agent = Agent::lb(&self.binary, &self.star.lbs[number - 1])?;
        self.lb_agents[number - 1] = Some(agent);
        Ok(())
    }

    fn write_lb_file(&self, number: usize, other_key: bool) -> Result<()> {
        let key = other_key.then(|| self.keys[1].as_path());
        let text = files::lb(number, &self.pools, key)?;
        Ok(std::fs::write(
            files::path(&self.star.lbs[number - 1].dir),
            text,
        )?)
    }

    /// An LB node.
    pub fn lb(&self, number: usize) -> &Node {
        &self.star.lbs[number - 1]
    }

    /// The agent of an LB node.
    pub fn lb_agent(&self, number: usize) -> Result<&Agent> {
        self.lb_agents[number - 1]
            .as_ref()
            .with_context(|| format!("the agent of lb{number} does not run"))
    }

    /// Takes the agent of an LB node, to end it.
    pub fn take_lb_agent(&mut self, number: usize) -> Result<Agent> {
        self.lb_agents[number - 1]
            .take()
            .with_context(|| format!("the agent of lb{number} does not run"))
    }

    /// A backend.
    pub fn backend(&self, number: u8) -> &Node {
        &self.star.backends[index(number)]
    }

    /// Status of both LB nodes.
    pub fn statuses(&self) -> Result<Vec<NodeStatus>> {
        (1..=self.star.lbs.len())
            .map(|number| self.lb_agent(number)?.status())
            .collect()
    }

    /// Names of the nodes that the router's kernel sends a VIP's packets to.
    pub fn serving(&self, vip: IpAddr) -> Result<BTreeSet<String>> {
        let family = if vip.is_ipv4() { "-4" } else { "-6" };
        let routes = self
            .star
            .r1
            .ip_json(&format!("{family} route show {vip}"))?;
        Ok(devices(&routes))
    }

    /// Waits until exactly `nodes` serve both VIPs; returns how long that took.
    pub async fn wait_serving(&self, nodes: &[&str], deadline: Duration) -> Result<Duration> {
        let wanted: BTreeSet<String> = nodes.iter().map(|name| (*name).to_owned()).collect();
        let what = format!("both VIPs routed to {nodes:?}");
        let ((), took) = poll::until(&what, deadline, async || {
            for vip in VIPS {
                let serving = self.serving(vip)?;
                ensure!(serving == wanted, "{vip} is routed to {serving:?}");
            }
            Ok(())
        })
        .await?;
        Ok(took)
    }

    /// Gives both nodes new pools and waits until they agree.
    pub async fn apply(&mut self, pools: &Pools) -> Result<()> {
        self.reload(pools)?;
        self.wait_agreed().await
    }

    /// Gives both nodes new pools.
    pub fn reload(&mut self, pools: &Pools) -> Result<()> {
        self.pools = pools.clone();
        for number in 1..=self.star.lbs.len() {
            self.write_lb_file(number, false)?;
        }
        for number in 1..=self.star.lbs.len() {
            self.lb_agent(number)?
                .tell(&["reload"])
                .with_context(|| format!("reload lb{number}"))?;
        }
        Ok(())
    }

    /// Waits until both nodes have the same tables, of the pools as they were given, and find every backend up.
    async fn wait_agreed(&self) -> Result<()> {
        let wanted = usize::from(self.pools.backends);
        poll::until("nodes that agree", IN_A_WHILE, async || {
            let statuses = self.statuses()?;
            for status in &statuses {
                for (name, pool) in &status.pools {
                    let hash = &statuses[0]
                        .pools
                        .get(name)
                        .context("a pool is missing")?
                        .table_hash;
                    ensure!(
                        pool.table_hash == *hash,
                        "table {name} differs between the nodes"
                    );
                    let up = members(pool)
                        .filter(|backend| backend.health == Health::Up)
                        .count();
                    ensure!(
                        up >= wanted,
                        "{}: {up} of {wanted} backends of {name} are up",
                        status.node
                    );
                }
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Sets what the operator says about a backend, on both nodes.
    pub fn set_admin(&mut self, backend: u8, admin: AdminState) -> Result<()> {
        let word = match admin {
            AdminState::Ready => "ready",
            AdminState::Draining => "drain",
        };
        match admin {
            AdminState::Ready => self.draining.remove(&backend),
            AdminState::Draining => self.draining.insert(backend),
        };
        for number in 1..=self.star.lbs.len() {
            self.lb_agent(number)?
                .tell(&["backend", word, &format!("be{backend}")])?;
        }
        Ok(())
    }

    /// No backend drains any more.
    pub fn ready_all(&mut self) -> Result<()> {
        for backend in std::mem::take(&mut self.draining) {
            self.set_admin(backend, AdminState::Ready)?;
        }
        Ok(())
    }

    /// Gives lb2 another hash key: a node that disagrees with the first about every row.
    pub async fn start_lb2_with_other_key(&mut self) -> Result<()> {
        self.remove_lb2(SITE_STATE).await?;
        self.write_lb_file(2, true)?;
        self.start_lb_agent(2)?;
        self.start_lb_agents().await?;
        self.wait_serving(&["lb1", "lb2"], IN_A_WHILE).await?;
        Ok(())
    }

    /// Back to the key of the site, and to the inputs it remembered.
    pub async fn start_lb2_with_its_key(&mut self) -> Result<()> {
        self.remove_lb2(OTHER_STATE).await?;
        let dir = &self.lb(2).dir;
        std::fs::rename(dir.join(SITE_STATE), dir.join(STATE)).context("lb2's state")?;
        self.start_lb_agents().await?;
        self.wait_serving(&["lb1", "lb2"], IN_A_WHILE).await?;
        Ok(())
    }

    /// Ends lb2's agent, takes its datapath away and puts what it remembers aside.
    async fn remove_lb2(&mut self, state: &str) -> Result<()> {
        let agent = self.take_lb_agent(2)?;
        self.star.set_link(self.lb(2), false)?;
        agent.kill()?;
        let dir = &self.lb(2).dir;
        remove_dir(&dir.join("bpf/anylb"))?;
        remove_dir(&dir.join(state))?;
        std::fs::rename(dir.join(STATE), dir.join(state)).context("lb2's state")?;
        self.wait_serving(&["lb1"], SOON).await?;
        self.star.set_link(self.lb(2), true)
    }

    /// Puts everything back as it was before any scenario: links, programs, pools; idempotent.
    pub async fn recover(&mut self) -> Result<()> {
        self.star.set_underlay_mtu(UNDERLAY_MTU)?;
        for node in &self.star.lbs {
            self.star.set_link(node, true)?;
        }
        for agent in self.lb_agents.iter_mut().chain(&mut self.backend_agents) {
            if let Some(running) = agent
                && !running.is_running()?
            {
                *agent = None;
            }
        }
        self.start_webs().await?;
        self.start_backend_agents(true).await?;
        self.start_lb_agents().await?;
        self.ready_all()?;
        self.apply(&Pools::full()).await?;
        self.wait_serving(&["lb1", "lb2"], IN_A_WHILE).await?;
        Ok(())
    }

    /// Log files and the names under which they are kept.
    pub fn logs(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut logs = Vec::new();
        let dirs = self
            .star
            .nodes()
            .map(|node| (node.name.as_str(), node.dir.as_path()));
        for (name, dir) in dirs.chain([("r1", self.star.run_dir())]) {
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

/// Backends of the configuration: not those that were removed and still drain.
fn members(pool: &PoolStatus) -> impl Iterator<Item = &anylb::status::BackendStatus> {
    pool.backends
        .iter()
        .filter(|backend| backend.admin == AdminState::Ready)
}

/// Removes a folder that may not be there.
fn remove_dir(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

fn index(backend: u8) -> usize {
    usize::from(backend) - 1
}

fn start_web(node: &Node) -> Result<Process> {
    let mut command = node.netns.command(std::env::current_exe()?);
    command.args(["serve", "--port", &PORT.to_string(), "--name", &node.name]);
    Process::spawn("web", command, &node.dir)
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())?;
    Ok(std::fs::set_permissions(
        path,
        std::fs::Permissions::from_mode(0o600),
    )?)
}

/// Devices of all next hops in `ip -j route` output.
fn devices(routes: &serde_json::Value) -> BTreeSet<String> {
    let routes = routes.as_array().into_iter().flatten();
    let hops = routes.flat_map(|route| match route["nexthops"].as_array() {
        Some(hops) => hops.clone(),
        None => vec![route.clone()],
    });
    hops.filter_map(|hop| hop["dev"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_one_and_of_many_next_hops() {
        let cases = [
            ("no route", serde_json::json!([]), vec![]),
            (
                "one next hop",
                serde_json::json!([{"dst": "198.51.100.1", "gateway": "10.0.1.2", "dev": "lb1"}]),
                vec!["lb1"],
            ),
            (
                "two",
                serde_json::json!([{"dst": "198.51.100.1", "nexthops": [{"dev": "lb1"}, {"dev": "lb2"}]}]),
                vec!["lb1", "lb2"],
            ),
        ];
        for (what, routes, wanted) in cases {
            assert_eq!(
                devices(&routes).into_iter().collect::<Vec<_>>(),
                wanted,
                "{what}"
            );
        }
    }
}
