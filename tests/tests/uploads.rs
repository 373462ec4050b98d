//! 10 MB to a VIP over an underlay of 1500 bytes that drops all ICMP: through generic XDP on both sides, and through a backend on
//! TC ingress behind devices that join packets; and in frames of 9,000 bytes, which no driver has in one buffer.

use std::hash::{DefaultHasher, Hasher as _};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use anylb::status::Counters;
use lb_tests::harness::filter::Filter;
use lb_tests::harness::netns::Netns;
use lb_tests::harness::star::{Node, Star};
use lb_tests::harness::{hash_key, leftovers, privileged, shell};
use lb_tests::lab::agent::Agent;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(20);
const SIZE: usize = 10_000_000;
const MTU: u32 = 1500;
const JUMBO_MTU: u32 = 9000;
/// The longest frame that veth hands to a program in one buffer.
const ONE_BUFFER: u64 = 3520;
const PROTOCOLS: [&str; 2] = ["tcp", "udp"];
const ETHERNET: u64 = 14;
const VIPS: [&str; 2] = ["198.51.100.1", "2001:db8:100::1"];

/// A pool of its own for every port: how it tunnels, and in which family.
#[derive(Clone, Copy, Debug)]
struct Way {
    port: u16,
    pool: &'static str,
    /// Lines of `[[pool]]`.
    tunnel: &'static str,
    v6: bool,
}

const ROWS: &str = "";
const IP_IN_IP: &str = "mode = \"stateless\"\nencap = \"ipip\"\n";
const GUE4: Way = Way {
    port: 8001,
    pool: "gue4",
    tunnel: ROWS,
    v6: false,
};
const GUE6: Way = Way {
    port: 8002,
    pool: "gue6",
    tunnel: ROWS,
    v6: true,
};
const IPIP4: Way = Way {
    port: 8003,
    pool: "ipip4",
    tunnel: IP_IN_IP,
    v6: false,
};
const IPIP6: Way = Way {
    port: 8004,
    pool: "ipip6",
    tunnel: IP_IN_IP,
    v6: true,
};
const WAYS: [Way; 4] = [GUE4, GUE6, IPIP4, IPIP6];

/// What a site is made of.
struct Plan {
    prefix: &'static str,
    backends: u8,
    /// Lines of `[node]` of the LB node.
    lb: &'static str,
    /// Lines of `[node]` and of `[backend]` of backends.
    backend: [&'static str; 2],
    /// Sets up the devices before any agent starts.
    devices: fn(&Star) -> Result<()>,
}

/// One LB node and its backends, between a client and servers that take anything and tell its sum.
struct Site {
    // Dropped in this order: programs before the network.
    backends: Vec<Agent>,
    lb: Agent,
    _no_icmp: [Filter; 2],
    star: Star,
}

impl Site {
    async fn build(plan: Plan) -> Result<Self> {
        let run_dir = Path::new("/run").join(plan.prefix);
        leftovers::clear(plan.prefix, &run_dir).await?;
        let star = Star::build(plan.prefix, &run_dir, 1, plan.backends)?;
        star.set_underlay_mtu(MTU)?;
        (plan.devices)(&star)?;
        let icmp = [
            "meta l4proto icmp".to_owned(),
            "icmpv6 type < 133".to_owned(),
            "icmpv6 type > 137".to_owned(),
        ];
        let no_icmp = [
            Filter::dropping(&star.r1, "icmp-forward", "forward", &icmp)?,
            Filter::dropping(&star.r1, "icmp-output", "output", &icmp)?,
        ];
        let anylb = Path::new(LAB).with_file_name("anylb");
        let mut agents = Vec::new();
        for node in &star.backends {
            serve(node)?;
            write(node, &backend_file(node, plan.backend))?;
            agents.push(Agent::backend(&anylb, node)?);
        }
        for agent in &mut agents {
            agent.ready().await?;
        }
        let node = &star.lbs[0];
        hash_key::write_into(&node.dir)?;
        write(node, &lb_file(node, plan.backends, plan.lb))?;
        let mut lb = Agent::lb(&anylb, node)?;
        lb.ready().await?;
        lb.until("reachable backends", SOON, |status| {
            let mut all = status.pools.values().flat_map(|pool| &pool.backends);
            let mut services = status.services.iter();
            status.services.len() == VIPS.len() * WAYS.len() * PROTOCOLS.len()
                && services.all(|service| service.healthy == usize::from(plan.backends))
                && all.all(|backend| backend.reachable)
        })
        .await?;
        star.r1
            .ip(&format!("route add {}/32 via {}", VIPS[0], node.v4))?;
        star.r1
            .ip(&format!("-6 route add {}/128 via {}", VIPS[1], node.v6))?;
        Ok(Self {
            backends: agents,
            lb,
            _no_icmp: no_icmp,
            star,
        })
    }

    fn connect(&self, vip: &str, way: Way) -> Result<TcpStream> {
        let to = SocketAddr::new(vip.parse::<IpAddr>()?, way.port);
        let connect = || TcpStream::connect_timeout(&to, SOON).context("connect");
        let stream = self.star.client.run(connect)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Uploads to a VIP; the server must have received every byte.
    fn upload(&self, vip: &str, way: Way) -> Result<()> {
        let stream = self.connect(vip, way)?;
        finish(stream, SIZE).with_context(|| format!("{vip} by {}", way.pool))
    }

    async fn counters(&self, backend: usize) -> Result<Counters> {
        self.backends[backend].counters().await
    }
}

/// Sends so many bytes and the end, and compares what the server says.
fn finish(mut stream: TcpStream, size: usize) -> Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut sent = DefaultHasher::new();
    let words = (0..size / 8).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    });
    let data: Vec<u8> = words.collect();
    sent.write(&data);
    stream.write_all(&data).context("send")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).context("answer")?;
    let received = u128::from_be_bytes(answer);
    let expected = u128::from(data.len() as u64) << 64 | u128::from(sent.finish());
    ensure!(received == expected, "{received:x} of {expected:x}");
    Ok(())
}

/// Servers on every port of a backend, for as long as the process lives.
fn serve(node: &Node) -> Result<()> {
    for way in WAYS {
        let any = SocketAddr::new("::".parse()?, way.port);
        let listener = node.netns.run(|| Ok(TcpListener::bind(any)?))?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that gave up is its own business.
                std::thread::spawn(move || sum(stream));
            }
        });
    }
    Ok(())
}

/// Takes everything, and answers with length and hash.
fn sum(mut stream: TcpStream) -> Result<()> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let mut hash = DefaultHasher::new();
    hash.write(&all);
    let answer = u128::from(all.len() as u64) << 64 | u128::from(hash.finish());
    Ok(stream.write_all(&answer.to_be_bytes())?)
}

fn write(node: &Node, file: &str) -> Result<()> {
    Ok(std::fs::write(config(node), file)?)
}

fn config(node: &Node) -> PathBuf {
    node.dir.join("anylb.toml")
}

fn services(pool: bool) -> String {
    let mut text = String::new();
    for way in WAYS {
        for (vip, family) in VIPS.into_iter().zip(["v4", "v6"]) {
            let pool = pool.then(|| format!("pool = \"{}\"\n", way.pool));
            let pool = pool.unwrap_or_default();
            for protocol in PROTOCOLS {
                text += &format!(
                    "[[service]]\nname = \"{protocol}-{family}-{}\"\nvip = \"{vip}\"\nprotocol = \"{protocol}\"\n\
                     ports = [{}]\n{pool}",
                    way.pool, way.port,
                );
            }
        }
    }
    text
}

fn backend_file(node: &Node, [lines, role]: [&str; 2]) -> String {
    let mut text = node.section() + lines;
    text += "[backend]\ntrusted_lbs = [\"10.0.0.0/16\", \"fd00::/32\"]\n\
             trusted_backends = [\"10.1.0.0/16\", \"fd00:1::/32\"]\n";
    text += role;
    text + &services(false)
}

fn lb_file(node: &Node, backends: u8, lines: &str) -> String {
    let mut text = node.lb_section() + lines;
    for way in WAYS {
        text += &format!(
            "[[pool]]\nname = \"{}\"\n{}check = {{ type = \"tcp\", port = {}, interval = \"200ms\", timeout = \"150ms\" }}\n",
            way.pool, way.tunnel, way.port
        );
        for number in 1..=backends {
            let address = if way.v6 {
                format!("fd00:1:{number}::2")
            } else {
                format!("10.1.{number}.2")
            };
            text += &format!("[[pool.backend]]\naddress = \"{address}\"\nname = \"be{number}\"\n");
        }
    }
    text + &services(true)
}

fn ethtool(netns: &Netns, arguments: &str) -> Result<String> {
    shell::run(&format!(
        "ip netns exec {} ethtool {arguments}",
        netns.name()
    ))
}

/// Packets and bytes that a backend's program saw.
fn seen(counters: &Counters) -> (u64, u64) {
    let all = &counters.received["eth0"];
    (all.packets, all.bytes + ETHERNET * all.packets)
}

const GENERIC: &str = "xdp_mode = \"generic\"\n";
const TC: &str = "hook = \"tc\"\n";

/// Nothing joins packets: the agents refuse it.
fn nothing_joins(star: &Star) -> Result<()> {
    star.nodes()
        .try_for_each(|node| ethtool(&node.netns, "-K eth0 gro off").map(drop))
}

/// As devices are by themselves, at both ends of every backend's cable; and the router joins what comes from the LB node, whose
/// own packets cannot be longer than a frame.
fn everything_joins(star: &Star) -> Result<()> {
    const OFFLOADS: &str = "tx on tso on gso on gro on";
    ethtool(&star.r1, "-K lb1 gro on")?;
    for node in &star.backends {
        star.r1.ip(&format!("link set {} xdp off", node.name))?;
        ethtool(&star.r1, &format!("-K {} {OFFLOADS}", node.name))?;
        ethtool(&node.netns, &format!("-K eth0 {OFFLOADS}"))?;
    }
    Ok(())
}

/// Links that take frames of 9,000 bytes.
fn jumbo(star: &Star) -> Result<()> {
    star.set_underlay_mtu(JUMBO_MTU)?;
    star.r1.ip(&format!("link set client mtu {JUMBO_MTU}"))?;
    star.client.ip(&format!("link set eth0 mtu {JUMBO_MTU}"))?;
    Ok(())
}

#[tokio::test]
async fn by_native_xdp_in_jumbo_frames() -> Result<()> {
    if !privileged::available("by_native_xdp_in_jumbo_frames") {
        return Ok(());
    }
    let site = Site::build(Plan {
        prefix: "anylb-upj",
        backends: 1,
        lb: "",
        backend: ["", ""],
        devices: jumbo,
    })
    .await?;
    for agent in [&site.lb, &site.backends[0]] {
        assert_eq!(agent.status()?.interfaces[0].mode, "native");
    }
    for (way, vip) in WAYS.into_iter().flat_map(|way| VIPS.map(|vip| (way, vip))) {
        let before = seen(&site.counters(0).await?);
        site.upload(vip, way)?;
        let after = seen(&site.counters(0).await?);
        let (packets, bytes) = (after.0 - before.0, after.1 - before.1);
        ensure!(
            bytes > packets * ONE_BUFFER,
            "{vip} by {}: {bytes} bytes in {packets} packets",
            way.pool
        );
    }
    Ok(())
}

#[tokio::test]
async fn by_generic_xdp_on_both_sides() -> Result<()> {
    if !privileged::available("by_generic_xdp_on_both_sides") {
        return Ok(());
    }
    let site = Site::build(Plan {
        prefix: "anylb-upg",
        backends: 1,
        lb: GENERIC,
        backend: [GENERIC, ""],
        devices: nothing_joins,
    })
    .await?;
    for agent in [&site.lb, &site.backends[0]] {
        assert_eq!(agent.status()?.interfaces[0].mode, "generic");
    }
    for way in WAYS {
        for vip in VIPS {
            site.upload(vip, way)?;
        }
    }
    let (packets, bytes) = seen(&site.counters(0).await?);
    ensure!(
        bytes <= packets * (u64::from(MTU) + ETHERNET),
        "a packet was joined"
    );
    Ok(())
}

#[tokio::test]
async fn by_tc_behind_devices_that_join() -> Result<()> {
    if !privileged::available("by_tc_behind_devices_that_join") {
        return Ok(());
    }
    let site = Site::build(Plan {
        prefix: "anylb-upt",
        backends: 1,
        lb: "",
        backend: ["", TC],
        devices: everything_joins,
    })
    .await?;
    let backend = &site.backends[0];
    assert_eq!(backend.status()?.interfaces[0].mode, "tc");
    for way in WAYS {
        for vip in VIPS {
            let before = seen(&site.counters(0).await?);
            site.upload(vip, way)?;
            let after = seen(&site.counters(0).await?);
            let (packets, bytes) = (after.0 - before.0, after.1 - before.1);
            // The kernel joins what IP in IP carries, of any two families, and not what UDP carries.
            let joined = bytes > packets * (u64::from(MTU) + ETHERNET);
            assert_eq!(joined, way.tunnel == IP_IN_IP, "{vip} by {}", way.pool);
        }
    }
    Ok(())
}

#[tokio::test]
async fn tc_passes_on_what_another_backend_knows() -> Result<()> {
    const CONNECTIONS: usize = 8;
    const PIECE: usize = 1_000_000;
    if !privileged::available("tc_passes_on_what_another_backend_knows") {
        return Ok(());
    }
    let site = Site::build(Plan {
        prefix: "anylb-upp",
        backends: 2,
        lb: "",
        backend: ["", TC],
        devices: everything_joins,
    })
    .await?;
    let mut open = Vec::new();
    for (way, vip) in [GUE4, GUE6]
        .into_iter()
        .flat_map(|way| VIPS.map(|vip| (way, vip)))
    {
        for _ in 0..CONNECTIONS {
            open.push(site.connect(vip, way)?);
        }
    }
    // Its connections go by way of the other now.
    for way in WAYS {
        site.lb
            .tell(&["backend", "drain", "be1", "--pool", way.pool])?;
    }
    for stream in open {
        finish(stream, PIECE)?;
    }
    let chance = site.counters(1).await?.second_chance.context("the role")?;
    for family in ["ipv4", "ipv6"] {
        let passed = chance.forwarded[family];
        ensure!(
            passed as usize > PIECE / MTU as usize,
            "{family}: {passed} passed on"
        );
    }
    let accepted = site.counters(0).await?.second_chance.context("the role")?;
    ensure!(accepted.accepted["socket"] > 0, "{accepted:?}");
    Ok(())
}

#[tokio::test]
async fn datagrams_by_tc() -> Result<()> {
    if !privileged::available("datagrams_by_tc") {
        return Ok(());
    }
    let site = Site::build(Plan {
        prefix: "anylb-upu",
        backends: 1,
        lb: "",
        backend: ["", TC],
        devices: everything_joins,
    })
    .await?;
    for (way, vip) in WAYS.into_iter().flat_map(|way| VIPS.map(|vip| (way, vip))) {
        let to = SocketAddr::new(vip.parse::<IpAddr>()?, way.port);
        let server = site.star.backends[0]
            .netns
            .run(|| Ok(UdpSocket::bind(to)?))?;
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let client = site.star.client.run(|| Ok(UdpSocket::bind(any)?))?;
        let mut buffer = [0; 2048];
        for length in [0, 1, 1000] {
            let data = vec![length as u8; length];
            client.send_to(&data, to)?;
            server.set_read_timeout(Some(SOON))?;
            let (got, from) = server.recv_from(&mut buffer).context(way.pool)?;
            ensure!(buffer[..got] == data, "{vip} by {}", way.pool);
            server.send_to(&data, from)?;
            client.set_read_timeout(Some(SOON))?;
            let (got, from) = client.recv_from(&mut buffer).context(way.pool)?;
            ensure!(got == length && from == to, "{from} answers {got} bytes");
        }
    }
    Ok(())
}
