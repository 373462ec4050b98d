//! Boxes that are LB node and backend at once: packets for themselves and for each other, the second chance between them,
//! restart, reload and end.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::dataplane::layout;
use anylb::status::Counters;
use lb_tests::harness::process::Process;
use lb_tests::harness::star::{Node, Star};
use lb_tests::harness::{hash_key, leftovers, privileged};
use lb_tests::lab::agent::Agent;
use lb_tests::lone;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(10);
const PORT: u16 = 80;
/// As services have them, with the family of their pool.
const VIPS: [(&str, &str); 4] = [
    ("198.51.100.1", "4"),
    ("2001:db8:100::1", "6"),
    ("203.0.113.0/24", "4"),
    ("2001:db8:1::/64", "6"),
];
/// Where clients connect to: the addresses, and some of each prefix.
const TARGETS: [&str; 8] = [
    "198.51.100.1",
    "2001:db8:100::1",
    "203.0.113.0",
    "203.0.113.77",
    "203.0.113.255",
    "2001:db8:1::",
    "2001:db8:1::77",
    "2001:db8:1:0:ffff:ffff:ffff:ffff",
];
const BOXES: u8 = 2;

/// The boxes, each with a web server that says its name.
struct Boxes {
    // Dropped in this order: programs before the network.
    _webs: Vec<Process>,
    star: Star,
    anylb: PathBuf,
}

impl Boxes {
    async fn build(prefix: &str) -> Result<Self> {
        let run_dir = Path::new("/run").join(prefix);
        leftovers::clear(prefix, &run_dir).await?;
        let star = Star::build(prefix, &run_dir, BOXES, 0)?;
        let mut webs = Vec::new();
        for node in &star.lbs {
            let mut command = node.netns.command(Path::new(LAB));
            command.args(["serve", "--name", &node.name, "--port"]);
            command.arg(PORT.to_string());
            webs.push(Process::spawn("web", command, &node.dir)?);
            hash_key::write_into(&node.dir)?;
        }
        Ok(Self {
            _webs: webs,
            star,
            anylb: Path::new(LAB).with_file_name("anylb"),
        })
    }

    /// Writes every box's file.
    fn write(&self, drained: Option<u8>, hops: u8) -> Result<()> {
        for node in &self.star.lbs {
            std::fs::write(node.dir.join("anylb.toml"), file(node, drained, hops))?;
        }
        Ok(())
    }

    /// Starts an agent on every box and waits until each finds both healthy and reached.
    async fn start(&self) -> Result<Vec<Agent>> {
        let mut agents = Vec::new();
        for node in &self.star.lbs {
            agents.push(Agent::lb(&self.anylb, node)?);
        }
        for agent in &mut agents {
            agent.ready().await?;
            agent
                .until("both backends of both families", SOON, |status| {
                    status.services.len() == VIPS.len()
                        && status.services.iter().all(|service| service.healthy == 2)
                        && status
                            .pools
                            .values()
                            .all(|pool| pool.backends.iter().all(|backend| backend.reachable))
                })
                .await?;
        }
        Ok(agents)
    }

    /// Sends everything for the VIPs to one box.
    fn route_to(&self, number: u8) -> Result<()> {
        let node = &self.star.lbs[usize::from(number) - 1];
        for (vip, family) in VIPS {
            let via = if family == "4" {
                node.v4.to_string()
            } else {
                node.v6.to_string()
            };
            let route = format!("-{family} route replace {vip} via {via}");
            self.star.r1.ip(&route)?;
        }
        Ok(())
    }

    fn connect(&self, vip: &str) -> Result<Connection> {
        let vip: IpAddr = vip.parse()?;
        let stream = self
            .star
            .client
            .run(|| TcpStream::connect_timeout(&(vip, PORT).into(), SOON).context("connect"))?;
        stream.set_read_timeout(Some(SOON))?;
        let mut connection = Connection {
            stream,
            server: String::new(),
        };
        connection.server = connection.ask()?;
        Ok(connection)
    }
}

/// A connection, and who answers on it.
struct Connection {
    stream: TcpStream,
    server: String,
}

impl Connection {
    fn ask(&mut self) -> Result<String> {
        self.stream
            .write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
        let mut answer = String::new();
        let mut piece = [0; 1024];
        while !answer.contains('}') {
            let length = self.stream.read(&mut piece)?;
            ensure!(length > 0, "it ends with {answer:?}");
            answer.push_str(std::str::from_utf8(&piece[..length])?);
        }
        let (_, name) = answer.split_once("\"name\":\"").context("a name")?;
        Ok(name.split('"').next().context("its end")?.to_owned())
    }
}

fn file(node: &Node, drained: Option<u8>, hops: u8) -> String {
    let mut text = node.lb_section();
    text.push_str(
        "[backend]\ntrusted_lbs = [\"10.0.0.0/16\", \"fd00::/32\"]\ntrusted_backends = [\"10.0.0.0/16\", \"fd00::/32\"]\n",
    );
    for family in ["4", "6"] {
        text.push_str(&format!(
            "[[pool]]\nname = \"web{family}\"\nhops = {hops}\n\
             check = {{ type = \"tcp\", port = {PORT}, interval = \"200ms\", timeout = \"150ms\" }}\n",
        ));
        for number in (1..=BOXES).filter(|number| Some(*number) != drained) {
            let address = match family {
                "4" => format!("10.0.{number}.2"),
                _ => format!("fd00:0:{number}::2"),
            };
            text.push_str(&format!("[[pool.backend]]\naddress = \"{address}\"\n"));
        }
    }
    for (number, (vip, family)) in (1..).zip(VIPS) {
        text.push_str(&format!(
            "[[service]]\nname = \"web{number}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nports = [{PORT}]\npool = \"web{family}\"\nhold_up = \"0s\"\n"
        ));
    }
    text
}

fn exits(counters: &Counters, name: &str) -> u64 {
    let exits = counters.exits.iter();
    exits
        .filter(|exit| exit.name == name)
        .map(|exit| exit.packets)
        .sum()
}

#[tokio::test]
async fn two_boxes_serve_themselves_and_each_other() -> Result<()> {
    if !privileged::available("two_boxes_serve_themselves_and_each_other") {
        return Ok(());
    }
    let boxes = Boxes::build("anylb-both").await?;
    boxes.write(None, 4)?;
    let agents = boxes.start().await?;
    let status = agents[0].status()?;
    assert_eq!(status.role, "combined");
    assert_eq!(status.problems, [""; 0]);

    // One box gets everything: some of it is for itself, some for the other, and both answer.
    boxes.route_to(1)?;
    let mut connections = Vec::new();
    for vip in TARGETS {
        let before = connections.len();
        for _ in 0..24 {
            connections.push(boxes.connect(vip)?);
        }
        for server in ["lb1", "lb2"] {
            let new = &connections[before..];
            assert!(
                new.iter().any(|connection| connection.server == server),
                "{vip}: {server} answers none of 24"
            );
        }
    }
    let counters = agents[0].counters().await?;
    let chance = counters.second_chance.clone().context("a backend's")?;
    assert!(chance.decapsulated > 0 && exits(&counters, "sent") > 0);
    assert_eq!(exits(&counters, "no_local_backend"), 0);
    assert_eq!(exits(&counters, "untrusted_source"), 0);
    let held: u64 = counters
        .vip_connections
        .iter()
        .flatten()
        .map(|(_, n)| n)
        .sum();
    let here = connections.iter().filter(|one| one.server == "lb1");
    assert_eq!(held, here.count() as u64);

    // The other box gets everything: same rows, so each packet finds its server.
    boxes.route_to(2)?;
    survive(&mut connections)?;

    // A box leaves the pools: its connections live on by the second chance, through either box.
    boxes.write(Some(1), 4)?;
    for agent in &agents {
        agent.tell(&["reload"])?;
    }
    survive(&mut connections)?;
    boxes.route_to(1)?;
    survive(&mut connections)?;
    let counters = agents[1].counters().await?;
    ensure!(exits(&counters, "forwarded_ipv4") > 0 && exits(&counters, "forwarded_ipv6") > 0);
    let elsewhere = |connection: &Connection| connection.server == "lb2";
    for vip in TARGETS {
        for _ in 0..8 {
            assert!(elsewhere(&boxes.connect(vip)?), "new ones go to the other");
        }
    }
    boxes.write(None, 4)?;
    for agent in &agents {
        agent.tell(&["reload"])?;
        agent.tell(&["bpf", "verify"])?;
    }
    survive(&mut connections)?;

    // Agents come and go; what they loaded stays, and is replaced.
    for agent in agents {
        agent.kill()?;
    }
    survive(&mut connections)?;
    // One of them was of another layout.
    let pins = boxes.star.lbs[0].bpffs.path().join("anylb");
    let others = pins.join("abi-0123456789abcdef");
    std::fs::rename(layout::directory(&pins), &others)?;
    let agents = boxes.start().await?;
    ensure!(!others.exists() && layout::directory(&pins).exists());
    assert!(
        agents
            .iter()
            .all(|agent| agent.status().is_ok_and(|status| status.adopted))
    );
    survive(&mut connections)?;
    agents[0].tell(&["restart"])?;

    for agent in agents.into_iter().skip(1) {
        agent.stop(SOON).await?;
    }
    let node = &boxes.star.lbs[1];
    ensure!(lone::program(node)?.is_none(), "the program came off");
    let left = std::fs::read_dir(node.bpffs.path().join("anylb"))?;
    ensure!(left.count() == 0, "pins are left");
    let lo = own(node)?;
    ensure!(VIPS.iter().all(|(vip, _)| !lo.contains(vip)), "{lo}");

    // The first was told to hand over. By its new file it is a backend no more.
    let node = &boxes.star.lbs[0];
    let lo = own(node)?;
    ensure!(VIPS.iter().all(|(vip, _)| lo.contains(vip)), "{lo}");
    let file = file(node, Some(1), 4);
    let (head, backend) = file.split_once("[backend]").context("a backend")?;
    let (_, pools) = backend.split_once("[[pool]]").context("pools")?;
    let file = format!("{head}[[pool]]{pools}");
    std::fs::write(node.dir.join("anylb.toml"), file)?;
    let mut agent = Agent::lb(&boxes.anylb, node)?;
    agent.ready().await?;
    let status = agent.status()?;
    assert_eq!((status.role.as_str(), status.adopted), ("lb", true));
    let lo = own(node)?;
    ensure!(VIPS.iter().all(|(vip, _)| !lo.contains(vip)), "{lo}");
    ensure!(!node.bpffs.path().join("anylb/backend").exists());
    agent.stop(SOON).await?;
    let left = std::fs::read_dir(node.bpffs.path().join("anylb"))?;
    ensure!(left.count() == 0, "pins are left");
    Ok(())
}

/// What a box takes for its own.
fn own(node: &Node) -> Result<String> {
    let addresses = node.netns.ip("address show dev lo")?;
    let v4 = node.netns.ip("-4 route show table local dev lo")?;
    let v6 = node.netns.ip("-6 route show table local dev lo")?;
    Ok([addresses, v4, v6].concat())
}

fn survive(connections: &mut [Connection]) -> Result<()> {
    for connection in connections {
        let server = connection.ask()?;
        assert_eq!(server, connection.server);
    }
    Ok(())
}
