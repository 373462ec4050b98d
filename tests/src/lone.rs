//! One LB node and its backends without a router's control plane: for tests of the agent alone.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::dataplane::layout;
use aya::maps::MapData;

use crate::bench::bpf;
use crate::harness::process::Process;
use crate::harness::star::{Node, Star};
use crate::harness::{hash_key, leftovers, poll};
use crate::lab::agent::Agent;

const SOON: Duration = Duration::from_secs(10);
/// Port of web servers and services.
pub const PORT: u16 = 80;

/// The node, its backends and what runs on them. Dropped in this order: programs before the network.
#[derive(Debug)]
pub struct Lone {
    webs: Vec<Option<Process>>,
    /// The network; its one LB node is the lone one.
    pub star: Star,
    anylb: PathBuf,
    lab: PathBuf,
}

impl Lone {
    /// A node and so many backends with a web server each. `lab` is the program of that name, beside which `anylb` is unless
    /// `ANYLB_BIN` names another.
    pub async fn build(prefix: &str, lab: &str, backends: u8) -> Result<Self> {
        Self::build_with(prefix, lab, 1, backends).await
    }

    /// The same with so many LB nodes, of which the first is the lone one.
    pub async fn build_with(prefix: &str, lab: &str, lbs: u8, backends: u8) -> Result<Self> {
        let run_dir = Path::new("/run").join(prefix);
        leftovers::clear(prefix, &run_dir).await?;
        let lab = PathBuf::from(lab);
        let anylb = match std::env::var_os("ANYLB_BIN") {
            Some(path) => PathBuf::from(path),
            None => lab.with_file_name("anylb"),
        };
        ensure!(
            anylb.is_file(),
            "no {}: build the workspace first",
            anylb.display()
        );
        let mut lone = Self {
            webs: (0..backends).map(|_| None).collect(),
            star: Star::build(prefix, &run_dir, lbs, backends)?,
            anylb,
            lab,
        };
        for number in 1..=backends {
            lone.start_web(number).await?;
        }
        hash_key::write_into(&lone.node().dir)?;
        Ok(lone)
    }

    /// The LB node.
    pub fn node(&self) -> &Node {
        &self.star.lbs[0]
    }

    /// A command to the node's agent, without its arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.anylb);
        let socket = self.node().dir.join("run/admin.sock");
        command.arg("--socket").arg(socket);
        command
    }

    /// The program under test.
    pub fn anylb(&self) -> &Path {
        &self.anylb
    }

    /// Starts the web server of a backend.
    pub async fn start_web(&mut self, number: u8) -> Result<()> {
        let backend = &self.star.backends[usize::from(number) - 1];
        let mut command = backend.netns.command(&self.lab);
        command.args(["serve", "--name", &backend.name, "--port"]);
        command.arg(PORT.to_string());
        let web = Process::spawn("web", command, &backend.dir)?;
        poll::until("the web server", SOON, async || {
            backend
                .netns
                .run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).context("connect"))
        })
        .await?;
        self.webs[usize::from(number) - 1] = Some(web);
        Ok(())
    }

    /// Kills the web server of a backend.
    pub fn kill_web(&mut self, number: u8) -> Result<()> {
        let web = self.webs[usize::from(number) - 1].take();
        web.context("it runs")?.kill()
    }

    /// Writes the node's configuration.
    pub fn write(&self, file: &File) -> Result<()> {
        Ok(std::fs::write(self.config(), file.text(self.node()))?)
    }

    /// Where it is written.
    pub fn config(&self) -> PathBuf {
        self.node().dir.join("anylb.toml")
    }

    /// Starts the agent and waits until it answers.
    pub async fn start(&self) -> Result<Agent> {
        let mut agent = Agent::lb(&self.anylb, self.node())?;
        agent.ready().await?;
        Ok(agent)
    }

    /// Starts the agent of a backend for the service `web` of [`File::with`], and waits until it answers. `sections` is what
    /// its configuration has beside the usual.
    pub async fn start_backend(&self, number: u8, sections: &str) -> Result<Agent> {
        let backend = &self.star.backends[usize::from(number) - 1];
        let file = format!(
            "{}{sections}\n\
             [backend]\ntrusted_lbs = [\"10.0.0.0/16\"]\ntrusted_backends = [\"10.1.0.0/16\"]\n\
             [[service]]\nname = \"web\"\nvip = \"198.51.100.1\"\nprotocol = \"tcp\"\nports = [{PORT}]\n",
            backend.section(),
        );
        std::fs::write(backend.dir.join("anylb.toml"), file)?;
        let mut agent = Agent::backend(&self.anylb, backend)?;
        agent.ready().await?;
        Ok(agent)
    }

    /// Starts an agent that is to end by itself: its exit code and what it said on its last lines. `wrapper` is a program
    /// and its arguments that starts it with less than all privileges; empty: none.
    pub async fn refused(&self, wrapper: &[&str]) -> Result<(Option<i32>, String)> {
        let anylb = self.anylb.to_string_lossy();
        let words = [wrapper, &[&anylb, "run", "-c"]].concat();
        let mut command = self.node().netns.command(words[0]);
        command.args(&words[1..]).arg(self.config());
        command.env("RUST_LOG", "off");
        let log = self.node().dir.join("refused.log");
        if log.exists() {
            std::fs::remove_file(&log)?;
        }
        let mut process = Process::spawn("refused", command, &self.node().dir)?;
        let status = process.wait(SOON).await?;
        Ok((status.code(), std::fs::read_to_string(log)?))
    }

    /// Waits until the settling flag has gone from the datapath: it goes with the last switch of the bank.
    pub async fn settled(&self) -> Result<Footprint> {
        let mut last = self.footprint()?;
        let mut since = tokio::time::Instant::now();
        // 3 x 200 ms + 150 ms after the last change, found by the tick of a second.
        let quiet = Duration::from_secs(2);
        let (footprint, _) = poll::until("a quiet datapath", SOON, async || {
            let now = self.footprint()?;
            if now != last {
                (last, since) = (now, tokio::time::Instant::now());
            }
            ensure!(since.elapsed() >= quiet, "it still changes");
            Ok(last.clone())
        })
        .await?;
        Ok(footprint)
    }

    /// What is in the kernel because of an agent.
    pub fn footprint(&self) -> Result<Footprint> {
        Footprint::of(self.node())
    }
}

/// A configuration.
#[derive(Clone, Debug)]
pub struct File {
    /// Lines of `[node]` beside the usual ones.
    pub node: String,
    /// `node.interfaces`.
    pub interface: &'static str,
    /// `node.pin_dir`; none: on the node's BPF file system.
    pub pin_dir: Option<PathBuf>,
    /// `node.runtime_dir` in the node's folder.
    pub runtime_dir: &'static str,
    /// Lines of `[bgp]` beside the usual ones.
    pub bgp: String,
    /// What the pool's check is, but for its port and times.
    pub check: &'static str,
    /// Backends of the pool, by number.
    pub backends: Vec<u8>,
    /// Names and VIPs of services of the pool.
    pub services: Vec<(&'static str, &'static str)>,
}

impl File {
    /// One service over these backends, and a peer that does not answer.
    pub fn with(backends: &[u8]) -> Self {
        Self {
            node: "drain_wait = \"0s\"\nlinger = \"0s\"".into(),
            interface: "eth0",
            pin_dir: None,
            runtime_dir: "run",
            bgp: String::new(),
            check: "type = \"tcp\"",
            backends: backends.to_vec(),
            services: vec![("web", "198.51.100.1")],
        }
    }

    fn text(&self, node: &Node) -> String {
        let dir = node.dir.display();
        let pins = self.pin_dir.clone();
        let pins = pins.unwrap_or_else(|| node.bpffs.path().join("anylb"));
        let mut text = format!(
            "version = 1\n[node]\nname = \"lb1\"\nrouter_id = \"10.0.1.2\"\ninterfaces = [\"{}\"]\n\
             hash_key_file = \"hash.key\"\nstate_dir = \"{dir}/state\"\nruntime_dir = \"{dir}/{}\"\npin_dir = \"{}\"\n{}\n\
             [bgp]\nasn = 65001\n{}\n[[bgp.peer]]\naddress = \"10.0.1.1\"\nasn = 65000\n\
             [[pool]]\nname = \"web\"\ncheck = {{ {}, port = {PORT}, interval = \"200ms\", timeout = \"150ms\" }}\n",
            self.interface,
            self.runtime_dir,
            pins.display(),
            self.node,
            self.bgp,
            self.check,
        );
        // Writing to a string cannot fail.
        for n in &self.backends {
            let _ = writeln!(
                text,
                "[[pool.backend]]\naddress = \"10.1.{n}.2\"\nname = \"be{n}\""
            );
        }
        for (name, vip) in &self.services {
            let _ = writeln!(
                text,
                "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nports = [{PORT}]\npool = \"web\"\nneed = 1\nhold_up = \"0s\""
            );
        }
        text
    }
}

/// Pins, the program on the interface, and what the maps hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Paths below the pin directory, with inode numbers: an object that is made anew has another.
    pub pins: BTreeSet<(PathBuf, u64)>,
    /// Id of the XDP program on the interface.
    pub program: Option<u64>,
    /// Bytes of the maps that the agent writes: root, banks, tables in use and spare.
    pub maps: Vec<(String, Vec<u8>)>,
}

impl Footprint {
    fn of(node: &Node) -> Result<Self> {
        let pin_dir = node.bpffs.path().join("anylb");
        let mut pins = BTreeSet::new();
        collect(&pin_dir, &mut pins)?;
        Ok(Self {
            pins,
            program: program(node)?,
            maps: maps(&pin_dir)?,
        })
    }

    /// The bank in use.
    pub fn bank(&self) -> Option<u32> {
        let (_, root) = self.maps.iter().find(|(name, _)| name == "ROOT")?;
        root.first_chunk::<4>()
            .map(|word| u32::from_ne_bytes(*word))
    }

    /// Kernel memory of all tables, bytes.
    pub fn table_bytes(&self) -> usize {
        let tables = self
            .maps
            .iter()
            .filter(|(name, _)| name.starts_with("tables/"));
        tables.map(|(_, bytes)| bytes.len()).sum()
    }
}

/// Asks a web server on a connection: its answer up to the end of what it tells.
pub fn ask(stream: &mut TcpStream) -> Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
    let mut answer = String::new();
    let mut piece = [0; 1024];
    while !answer.contains('}') {
        let length = stream.read(&mut piece)?;
        ensure!(length > 0, "it ends with {answer:?}");
        answer.push_str(std::str::from_utf8(&piece[..length])?);
    }
    Ok(answer)
}

/// Id of the XDP program on the node's interface.
pub fn program(node: &Node) -> Result<Option<u64>> {
    let link = node.netns.ip_json("link show eth0")?;
    Ok(link[0]["xdp"]["prog"]["id"].as_u64())
}

fn collect(dir: &Path, into: &mut BTreeSet<(PathBuf, u64)>) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        into.insert((entry.path(), metadata.ino()));
        if metadata.is_dir() {
            collect(&entry.path(), into)?;
        }
    }
    Ok(())
}

fn maps(pin_dir: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut maps = Vec::new();
    let own = layout::directory(pin_dir);
    let dir = own.join("maps");
    if !dir.join("ROOT").exists() {
        return Ok(maps);
    }
    let mut add = |name: &str, bytes| maps.push((name.to_owned(), bytes));
    for name in ["ROOT", "BANKS"] {
        add(name, array(&dir.join(name))?);
    }
    let mut tables: Vec<_> = std::fs::read_dir(own.join("tables"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    tables.sort();
    for path in tables {
        let name = path.file_name().context("a name")?.to_string_lossy();
        add(&format!("tables/{name}"), array(&path)?);
    }
    Ok(maps)
}

/// All bytes of a pinned array.
fn array(path: &Path) -> Result<Vec<u8>> {
    let map = MapData::from_pin(path).with_context(|| path.display().to_string())?;
    let info = map.info()?;
    let mut bytes = Vec::new();
    for index in 0..info.max_entries() {
        bytes.extend(bpf::lookup(
            map.fd().as_fd(),
            index,
            info.value_size() as usize,
        )?);
    }
    Ok(bytes)
}
