//! A link with a small MTU behind the router: the router says so of the tunnel's packets, the node learns it and tells the clients.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use anylb::status::{BackendStatus, Counters, NodeStatus};
use lb_tests::harness::star::{Node, Star};
use lb_tests::harness::{hash_key, leftovers, poll, privileged, shell};
use lb_tests::lab::agent::Agent;
use socket2::{Domain, Protocol, Socket, Type};

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(20);
const SIZE: usize = 300_000;
const VIPS: [&str; 2] = ["198.51.100.1", "2001:db8:100::1"];
const TUNNEL_PORT: u16 = 6080;
/// Room for a packet of IPv6 with every header of the tunnels.
const NARROW: u32 = 1420;

/// Pools with their ports: how they tunnel, and to which backend.
const POOLS: [(&str, u16, &str, &str); 3] = [
    ("gue4", 8001, "", "10.1.1.2"),
    ("gue6", 8002, "", "fd00:1:2::2"),
    (
        "ipip",
        8003,
        "mode = \"stateless\"\nencap = \"ipip\"\n",
        "10.1.3.2",
    ),
];

struct Site {
    // Dropped in this order: programs before the network.
    _backends: Vec<Agent>,
    lb: Agent,
    star: Star,
}

impl Site {
    async fn build(prefix: &str) -> Result<Self> {
        let run_dir = Path::new("/run").join(prefix);
        leftovers::clear(prefix, &run_dir).await?;
        let star = Star::build(prefix, &run_dir, 1, POOLS.len() as u8)?;
        let anylb = Path::new(LAB).with_file_name("anylb");
        let mut backends = Vec::new();
        for node in &star.backends {
            serve(node)?;
            std::fs::write(node.dir.join("anylb.toml"), backend_file(node))?;
            backends.push(Agent::backend(&anylb, node)?);
        }
        for agent in &mut backends {
            agent.ready().await?;
        }
        let node = &star.lbs[0];
        hash_key::write_into(&node.dir)?;
        std::fs::write(node.dir.join("anylb.toml"), lb_file(node))?;
        let mut lb = Agent::lb(&anylb, node)?;
        lb.ready().await?;
        lb.until("reachable backends", SOON, |status| {
            let mut all = status.pools.values().flat_map(|pool| &pool.backends);
            let mut services = status.services.iter();
            status.services.len() == POOLS.len() * VIPS.len()
                && services.all(|service| service.healthy == 1)
                && all.all(|backend| backend.reachable)
        })
        .await?;
        star.r1
            .ip(&format!("route add {}/32 via {}", VIPS[0], node.v4))?;
        star.r1
            .ip(&format!("-6 route add {}/128 via {}", VIPS[1], node.v6))?;
        Ok(Self {
            _backends: backends,
            lb,
            star,
        })
    }

    /// Uploads to a VIP; the server must have received every byte.
    fn upload(&self, vip: &str, port: u16) -> Result<()> {
        let to = SocketAddr::new(vip.parse::<IpAddr>()?, port);
        let connect = || TcpStream::connect_timeout(&to, SOON).context("connect");
        let mut stream = self.star.client.run(connect)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&vec![7; SIZE]).context("send")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).context("answer")?;
        ensure!(u64::from_be_bytes(answer) == SIZE as u64, "{answer:?}");
        Ok(())
    }

    /// What the client has been told is per VIP: the next pool is to tell it anew.
    fn forget_paths(&self) -> Result<()> {
        self.star.client.ip("route flush cache")?;
        self.star.client.ip("-6 route flush cache")?;
        Ok(())
    }

    /// Sends an ICMP message to the node from the client, about a packet of 1,556 bytes.
    fn forge(&self, mtu: u16, [source, destination]: [Ipv4Addr; 2], port: u16) -> Result<()> {
        let mut message = vec![3, 4, 0, 0, 0, 0];
        message.extend(mtu.to_be_bytes());
        message.extend([0x45, 0]);
        message.extend(1556_u16.to_be_bytes());
        message.extend([0, 0, 0x40, 0, 63, 17, 0, 0]);
        message.extend(source.octets());
        message.extend(destination.octets());
        message.extend([0xc0, 0]);
        message.extend(port.to_be_bytes());
        message.extend([0; 4]);
        let words = message
            .chunks(2)
            .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
        let sum = words.sum::<u32>();
        let sum = (sum & 0xffff) + (sum >> 16);
        message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        let to = SocketAddr::from((self.star.lbs[0].v4, 0));
        self.star.client.run(|| {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
            socket.send_to(&message, &to.into())?;
            Ok(())
        })
    }

    async fn counters(&self) -> Result<Counters> {
        self.lb.counters().await
    }
}

/// Servers on every port of a backend, for as long as the process lives: they take everything, and answer how much it was.
fn serve(node: &Node) -> Result<()> {
    for (_, port, _, _) in POOLS {
        let any = SocketAddr::new("::".parse()?, port);
        let listener = node.netns.run(|| Ok(TcpListener::bind(any)?))?;
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // A client that gave up is its own business.
                std::thread::spawn(move || -> Result<()> {
                    let mut all = Vec::new();
                    stream.read_to_end(&mut all)?;
                    Ok(stream.write_all(&(all.len() as u64).to_be_bytes())?)
                });
            }
        });
    }
    Ok(())
}

fn services(pools: bool) -> String {
    let mut text = String::new();
    for (name, port, _, _) in POOLS {
        for (vip, family) in VIPS.into_iter().zip(["v4", "v6"]) {
            text += &format!(
                "[[service]]\nname = \"{name}-{family}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nports = [{port}]\n"
            );
            if pools {
                text += &format!("pool = \"{name}\"\n");
            }
        }
    }
    text
}

fn backend_file(node: &Node) -> String {
    node.section()
        + "[backend]\ntrusted_lbs = [\"10.0.0.0/16\", \"fd00::/32\"]\n\
           trusted_backends = [\"10.1.0.0/16\", \"fd00:1::/32\"]\n"
        + &services(false)
}

fn lb_file(node: &Node) -> String {
    let mut text = node.lb_section();
    for (name, port, tunnel, backend) in POOLS {
        text += &format!(
            "[[pool]]\nname = \"{name}\"\n{tunnel}\
             check = {{ type = \"tcp\", port = {port}, interval = \"200ms\", timeout = \"150ms\" }}\n\
             [[pool.backend]]\naddress = \"{backend}\"\n"
        );
    }
    text + &services(true)
}

fn backend_of<'a>(status: &'a NodeStatus, pool: &str) -> &'a BackendStatus {
    let pool = status.pools.iter().find(|(name, _)| name.0 == pool);
    &pool.expect("a pool of the file").1.backends[0]
}

fn answered(counters: &Counters) -> u64 {
    let mut exits = counters.exits.iter();
    let exit = exits.find(|exit| exit.name == "too_big_answered");
    exit.map_or(0, |exit| exit.packets)
}

#[tokio::test]
async fn what_a_router_says_reaches_the_clients() -> Result<()> {
    if !privileged::available("what_a_router_says_reaches_the_clients") {
        return Ok(());
    }
    let site = Site::build("anylb-pmtu").await?;
    for (name, port, _, _) in POOLS {
        for vip in VIPS {
            site.upload(vip, port)
                .with_context(|| format!("{vip} by {name}, wide"))?;
        }
    }
    let before = site.counters().await?;
    ensure!(answered(&before) == 0, "{before:?}");
    let heard = before.path_mtu_messages.context("it listens")?;
    ensure!(heard.lowered == 0, "{heard:?}");

    for n in 1..=POOLS.len() {
        site.star.r1.ip(&format!("link set be{n} mtu {NARROW}"))?;
    }
    for (name, port, _, _) in POOLS {
        for vip in VIPS {
            site.upload(vip, port)
                .with_context(|| format!("{vip} by {name}, narrow"))?;
            site.forget_paths()?;
        }
        let status = site.lb.status()?;
        let learned = backend_of(&status, name).path_mtu;
        ensure!(learned == Some(NARROW), "{name}: {learned:?}");
    }
    let after = site.counters().await?;
    let heard = after.path_mtu_messages.context("it listens")?;
    ensure!(heard.lowered == POOLS.len() as u64, "{heard:?}");
    ensure!(heard.malformed == 0, "{heard:?}");
    ensure!(answered(&after) >= 2 * POOLS.len() as u64, "{after:?}");
    let list = site.lb.tell(&["backend", "list"])?;
    let note = format!("* fd00:1:2::2 in gue6: path MTU {NARROW}, as a router says");
    ensure!(list.contains(&note), "{list}");
    Ok(())
}

#[tokio::test]
async fn what_others_say_is_bounded() -> Result<()> {
    if !privileged::available("what_others_say_is_bounded") {
        return Ok(());
    }
    let site = Site::build("anylb-pmtf").await?;
    let (node, backend) = (site.star.lbs[0].v4, Ipv4Addr::new(10, 1, 1, 2));
    let other = Ipv4Addr::new(10, 1, 9, 9);
    site.forge(1400, [other, backend], TUNNEL_PORT)?;
    site.forge(1400, [node, other], TUNNEL_PORT)?;
    site.forge(1400, [node, backend], 53)?;
    // Plain GUE or GUE with hops it is; never IP in IP.
    site.forge(1400, [node, Ipv4Addr::new(10, 1, 3, 2)], TUNNEL_PORT)?;
    poll::until("four messages", SOON, async || {
        let heard = site
            .counters()
            .await?
            .path_mtu_messages
            .context("it listens")?;
        ensure!(heard.foreign == 4 && heard.lowered == 0, "{heard:?}");
        Ok(())
    })
    .await?;
    // A perfect one: whoever knows the addresses may say what he likes, and the service goes on.
    site.forge(68, [node, backend], TUNNEL_PORT)?;
    let floor = 1280 + 56;
    site.lb
        .until("the floor", SOON, |status| {
            backend_of(status, "gue4").path_mtu == Some(floor)
        })
        .await?;
    for vip in VIPS {
        site.upload(vip, 8001)
            .with_context(|| format!("{vip} at the floor"))?;
    }
    Ok(())
}

#[test]
fn doctor_says_when_they_are_not_heard() -> Result<()> {
    if !privileged::available("doctor_says_when_they_are_not_heard") {
        return Ok(());
    }
    let anylb = Path::new(LAB).with_file_name("anylb");
    let dir = std::env::temp_dir().join(format!("anylb-pmtu-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    hash_key::write_into(&dir)?;
    let file = dir.join("anylb.toml");
    std::fs::write(
        &file,
        "version = 1\n[node]\nname = \"lb1\"\nrouter_id = \"10.0.0.11\"\ninterfaces = [\"lo\"]\nhash_key_file = \"hash.key\"\n\
         [[pool]]\nname = \"web\"\ncheck = { type = \"tcp\", port = 1, timeout = \"100ms\", interval = \"200ms\" }\n\
         [[pool.backend]]\naddress = \"10.1.0.1\"\n",
    )?;
    let ask = |wrapper: &str| -> Result<String> {
        let mut command = std::process::Command::new("sh");
        let doctor = format!(
            "{wrapper} {} doctor -c {}; true",
            anylb.display(),
            file.display()
        );
        command.arg("-c").arg(doctor);
        shell::output(&mut command)
    };
    let (heard, deaf) = (ask("")?, ask("setpriv --bounding-set=-net_raw --")?);
    std::fs::remove_dir_all(&dir)?;
    let line = |text: &str| -> Option<String> {
        let mut lines = text.lines();
        lines
            .find(|line| line.starts_with("path MTU"))
            .map(str::to_owned)
    };
    ensure!(
        line(&heard).is_some_and(|line| line.contains("ok")),
        "{heard}"
    );
    ensure!(
        line(&deaf).is_some_and(|line| line.contains("warn")),
        "{deaf}"
    );
    ensure!(deaf.contains("CAP_NET_RAW"), "{deaf}");
    Ok(())
}
