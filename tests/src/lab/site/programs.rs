//! The site's programs: servers and agents, started and ended.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{IN_A_WHILE, PORT, SOON, Site, UDP_CONNECTED, UDP_STATELESS, VIPS, index};
use crate::harness::netns::Netns;
use crate::harness::poll;
use crate::harness::process::Process;
use crate::harness::shell;
use crate::harness::star::{CLIENT_V4, CLIENT_V6, Node};
use crate::lab::agent::Agent;
use crate::lab::files;

/// State directories of lb2: in use, and put aside.
const STATE: &str = "state";
const SITE_STATE: &str = "state-of-the-site";
const OTHER_STATE: &str = "state-of-the-control";

impl Site {
    /// Web servers, each on its backend, where none runs.
    pub async fn start_webs(&mut self) -> Result<()> {
        start_webs(&self.star.backends, &mut self.webs).await
    }

    /// Kills the web server of a backend; its kernel resets what was connected.
    pub fn kill_web(&mut self, backend: u8) -> Result<()> {
        self.webs[index(backend)].take().context("it runs")?.kill()
    }

    /// UDP servers, each on its backend, where none runs. They are programs of their own: to start them anew ends every flow, and
    /// no health check notices.
    pub async fn start_answerers(&mut self) -> Result<()> {
        for (node, answerer) in self.star.backends.iter().zip(&mut self.answerers) {
            if answerer.is_none() {
                *answerer = Some(start_answerer(node)?);
            }
        }
        for node in &self.star.backends {
            let what = format!("the UDP server of {}", node.name);
            poll::until(&what, SOON, async || {
                let sockets = udp_sockets(node)?;
                ensure!(
                    sockets.lines().count() == VIPS.len(),
                    "bound to port {UDP_CONNECTED}:\n{sockets}"
                );
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// UDP servers without any flow.
    pub async fn restart_answerers(&mut self) -> Result<()> {
        for answerer in self.answerers.iter_mut().filter_map(Option::take) {
            answerer.kill()?;
        }
        self.start_answerers().await
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
                // Twelve at once, and each waits for the kernel: on a busy machine of two cores that took more than ten seconds.
                agent.stop(IN_A_WHILE).await?;
            }
        }
        Ok(())
    }

    /// The agents of the backends.
    pub fn backend_agents(&self) -> impl Iterator<Item = &Agent> {
        self.backend_agents.iter().flatten()
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

    /// An error where an agent or a server that was started has ended by itself.
    pub(super) fn all_running(&mut self) -> Result<()> {
        let agents = self.lb_agents.iter_mut().chain(&mut self.backend_agents);
        for agent in agents.flatten() {
            ensure!(agent.is_running()?, "an agent has ended");
        }
        let nodes = self.star.backends.iter();
        let servers = self.webs.iter_mut().zip(&mut self.answerers);
        for (node, (web, answerer)) in nodes.zip(servers) {
            for (what, server) in [("web", web), ("UDP", answerer)] {
                if let Some(server) = server {
                    let ended = server.ended()?.is_some();
                    ensure!(!ended, "the {what} server of {} has ended", node.name);
                }
            }
        }
        Ok(())
    }

    /// Forgets agents that have ended by themselves.
    pub(super) fn forget_ended_agents(&mut self) -> Result<()> {
        for agent in self.lb_agents.iter_mut().chain(&mut self.backend_agents) {
            if let Some(running) = agent
                && !running.is_running()?
            {
                *agent = None;
            }
        }
        Ok(())
    }
}

/// Web servers, each on its node, where none runs.
pub async fn start_webs(nodes: &[Node], webs: &mut [Option<Process>]) -> Result<()> {
    for (node, web) in nodes.iter().zip(webs) {
        if web.is_none() {
            *web = Some(start_web(node)?);
        }
    }
    for node in nodes {
        let what = format!("the web server of {}", node.name);
        poll::until(&what, SOON, async || {
            node.netns
                .run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).context("connect"))
        })
        .await?;
    }
    Ok(())
}

/// Ends the client's connections at both ends. One that broke stays half-open at its server; a new one with the same ports may
/// later be sent to that server first, whose socket then answers to segments that it knows nothing of. At the client its end is
/// sent again and again, which counts as packets lost.
pub fn end_connections(client: &Netns, servers: &[Node]) -> Result<()> {
    let from_client = format!("sport = :{PORT} and ( dst {CLIENT_V4} or dst [{CLIENT_V6}] )");
    for node in servers {
        end(&node.netns, &from_client)?;
    }
    end(client, &format!("dport = :{PORT}"))
}

fn end(netns: &Netns, filter: &str) -> Result<()> {
    let ended = connections(netns, &["-K"], filter)?;
    let left = connections(netns, &[], filter)?;
    ensure!(
        left.is_empty(),
        "{}: connections left of an earlier trial; `ss -K` needs CONFIG_INET_DIAG_DESTROY; ended:\n{ended}left:\n{left}",
        netns.name()
    );
    Ok(())
}

/// What `ss` says about connections; those in TIME-WAIT are over.
fn connections(netns: &Netns, options: &[&str], filter: &str) -> Result<String> {
    let mut command = netns.command("ss");
    command.args(["-Htn"]).args(options).args([
        "state",
        "connected",
        "exclude",
        "time-wait",
        filter,
    ]);
    shell::output(&mut command)
}

fn start_web(node: &Node) -> Result<Process> {
    let mut command = node.netns.command(std::env::current_exe()?);
    command.args(["serve", "--port", &PORT.to_string(), "--name", &node.name]);
    Process::spawn("web", command, &node.dir)
}

fn start_answerer(node: &Node) -> Result<Process> {
    let mut command = node.netns.command(std::env::current_exe()?);
    command.args(["answer", "--name", &node.name]);
    for vip in VIPS {
        command.args(["--vip", &vip.to_string()]);
    }
    command.args(["--connected", &UDP_CONNECTED.to_string()]);
    let (first, last) = (UDP_STATELESS.start(), UDP_STATELESS.end());
    command.args(["--stateless", &format!("{first}-{last}")]);
    Process::spawn("udp", command, &node.dir)
}

/// What `ss` says about UDP sockets that wait for new flows.
fn udp_sockets(node: &Node) -> Result<String> {
    let mut command = node.netns.command("ss");
    command.args(["-Hun", "state", "unconnected"]);
    command.arg(format!("sport = :{UDP_CONNECTED}"));
    shell::output(&mut command)
}

/// Removes a folder that may not be there.
pub fn remove_dir(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}
