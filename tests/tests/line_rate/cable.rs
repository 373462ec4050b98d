//! A generator and a node under test, with a cable between them.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use lb_tests::harness::bpffs::Bpffs;
use lb_tests::harness::netns::Netns;
use lb_tests::harness::process::Process;
use lb_tests::harness::star::Node;
use lb_tests::harness::{hash_key, leftovers};
use lb_tests::lab::agent::Agent;
use serde_json::Value;

use crate::SOON;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
/// Where the generator answers the node's checks.
pub const WEB: u16 = 80;
/// Room for frames that make the line, which a veth says to be of 10 Gbit/s, slow enough for a short search.
const MTU: u32 = 3400;

/// `generator` (eth1) -- (eth0) `node`; the node's one backend is the generator.
pub struct Cable {
    // Dropped in this order: programs before the network.
    _web: Process,
    pub generator: Netns,
    pub node: Node,
    pub bpffs: Bpffs,
    run_dir: PathBuf,
}

impl Cable {
    pub async fn lay(prefix: &str) -> Result<Self> {
        let run_dir = Path::new("/run").join(prefix);
        leftovers::clear(prefix, &run_dir).await?;
        let generator = Netns::create(&format!("{prefix}-gen"))?;
        let netns = Netns::create(&format!("{prefix}-lb"))?;
        generator.ip(&format!(
            "link add eth1 mtu {MTU} type veth peer name eth0 mtu {MTU} address 02:00:00:00:00:02 netns {}",
            netns.name()
        ))?;
        for (side, device, host) in [(&generator, "eth1", 1), (&netns, "eth0", 2)] {
            side.ip(&format!("addr add 10.9.0.{host}/24 dev {device}"))?;
            side.ip(&format!("addr add fd09::{host}/64 dev {device} nodad"))?;
            side.ip(&format!("link set {device} up"))?;
        }
        let dir = run_dir.join("lb1");
        std::fs::create_dir_all(&dir)?;
        let node = Node {
            netns,
            name: "lb1".into(),
            v4: Ipv4Addr::new(10, 9, 0, 2),
            v6: "fd09::2".parse()?,
            bpffs: Bpffs::mount(&dir.join("bpf"))?,
            dir,
        };
        let mut web = generator.command(Path::new(LAB));
        web.args(["serve", "--name", "generator", "--port", "80"]);
        Ok(Self {
            _web: Process::spawn("web", web, &run_dir)?,
            generator,
            node,
            bpffs: Bpffs::mount(&run_dir.join("bpf"))?,
            run_dir,
        })
    }

    /// Writes the node's configuration file, with these ports in service.
    pub fn configure(&self, ports: &str) -> Result<()> {
        Ok(std::fs::write(
            self.node.dir.join("anylb.toml"),
            file(&self.node, ports),
        )?)
    }

    /// Starts the node's agent with these ports in service, and waits until it would send.
    pub async fn serve(&self, ports: &str) -> Result<Agent> {
        let dir = &self.node.dir;
        hash_key::write_into(dir)?;
        self.configure(ports)?;
        let mut agent = Agent::lb(&Path::new(LAB).with_file_name("anylb"), &self.node)?;
        agent.ready().await?;
        agent
            .until("the generator as a backend", SOON, |status| {
                let services = &status.services;
                services.len() == 2
                    && services.iter().all(|service| service.healthy == 1)
                    && status
                        .pools
                        .values()
                        .all(|pool| pool.backends.iter().all(|backend| backend.reachable))
            })
            .await?;
        Ok(agent)
    }

    /// `anylb bench` on the generator, by the cable and from one CPU unless told; `wrapper` runs it.
    fn command(&self, wrapper: &[&str], options: &str) -> std::process::Command {
        let anylb = Path::new(LAB).with_file_name("anylb");
        let mut words = wrapper.iter().map(OsStr::new).chain([anylb.as_os_str()]);
        let mut command = self.generator.command(words.next().unwrap_or_default());
        command.args(words).args(["bench", "--json"]);
        if !options.contains("--iface") {
            command.args(["--iface", "eth1"]);
        }
        if !options.contains("--cpus") {
            command.args(["--cpus", "1"]);
        }
        command.args(options.split_whitespace());
        command
    }

    /// The same to its end: the answer and the exit code.
    pub fn bench(&self, options: &str) -> Result<(Value, Option<i32>)> {
        let output = self.command(&[], options).output()?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer = serde_json::from_slice(&output.stdout).with_context(|| complaint)?;
        Ok((answer, output.status.code()))
    }

    /// What it says where it will not begin.
    pub fn refusal(&self, wrapper: &[&str], options: &str) -> Result<String> {
        let output = self.command(wrapper, options).output()?;
        ensure!(
            output.status.code() == Some(6),
            "{options}: {:?} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        ensure!(output.stdout.is_empty(), "an answer beside the refusal");
        Ok(String::from_utf8(output.stderr)?)
    }

    /// Starts `anylb bench`, which goes on.
    pub fn start(&self, options: &str) -> Result<Process> {
        Process::spawn("bench", self.command(&[], options), &self.run_dir)
    }

    /// Removes everything. A test that fails does not come here: its logs stay.
    pub fn take_up(self) -> Result<()> {
        let run_dir = self.run_dir.clone();
        drop(self);
        std::fs::remove_dir_all(&run_dir).with_context(|| run_dir.display().to_string())
    }

    /// Whether a program hangs on the generator's interface.
    pub fn attached(&self) -> Result<bool> {
        let link = self.generator.ip_json("link show eth1")?;
        Ok(link[0]["xdp"]["mode"].is_number())
    }
}

/// A pool of the generator for each family, a service of each.
fn file(node: &Node, ports: &str) -> String {
    let mut text = node.lb_section();
    for (family, vip, backend) in [
        ("v4", "198.51.100.1", "10.9.0.1"),
        ("v6", "2001:db8:100::1", "fd09::1"),
    ] {
        text.push_str(&format!(
            "[[pool]]\nname = \"{family}\"\ncheck = {{ type = \"tcp\", port = {WEB}, interval = \"200ms\", timeout = \"150ms\" }}\n\
             [[pool.backend]]\naddress = \"{backend}\"\nname = \"generator\"\n\
             [[service]]\nname = \"load-{family}\"\nvip = \"{vip}\"\nprotocol = \"udp\"\nports = [{ports}]\npool = \"{family}\"\nneed = 1\n"
        ));
    }
    text
}
