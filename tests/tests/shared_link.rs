//! `encap = "l2"` over a link that client, node and backends share: plain backends that have the VIP on `lo` answer straight to the
//! client, backends that route it instead are caught, and flows that the node remembers survive changes of the pool.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use anylb::status::Counters;
use lb_tests::bench::cpu;
use lb_tests::harness::bpffs::Bpffs;
use lb_tests::harness::netns::Netns;
use lb_tests::harness::raw::Tap;
use lb_tests::harness::star::Node;
use lb_tests::harness::xdp_pass::XdpPass;
use lb_tests::harness::{hash_key, leftovers, poll, privileged, shell};
use lb_tests::lab::agent::Agent;
use lb_tests::packet::source_of;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(10);
const PORT: u16 = 80;
const VIPS: [&str; 2] = ["198.51.100.1", "2001:db8:100::1"];
/// Two that nothing is remembered of.
const TWO: Pool = Pool {
    mode: "stateless",
    backends: 1..=2,
};
const CONNECTIONS: usize = 40;
/// A connection that nobody answers is given up before its SYN is sent again.
const NO_ANSWER: Duration = Duration::from_millis(300);
/// Without a further packet for so long, none circles.
const QUIET: Duration = Duration::from_millis(500);

/// Hosts with their last number on the link.
const CLIENT: u8 = 9;
const NODE: u8 = 11;
const FIRST_BACKEND: u8 = 21;

/// The node's pool.
#[derive(Clone)]
struct Pool {
    mode: &'static str,
    backends: RangeInclusive<u8>,
}

/// A switch, and around it a client, an LB node and backends.
struct Link {
    // Dropped in this order: the program before the network.
    lb: Agent,
    client: Host,
    backends: Vec<Host>,
    node: Node,
    _switch: Netns,
    _bpffs: Bpffs,
}

struct Host {
    netns: Netns,
    mac: [u8; 6],
}

impl Link {
    /// With so many backends on the link.
    async fn build(prefix: &str, pool: &Pool, backends_all: u8) -> Result<Self> {
        let run_dir = Path::new("/run").join(prefix);
        leftovers::clear(prefix, &run_dir).await?;
        let bpffs = Bpffs::mount(&run_dir.join("bpf"))?;
        let pass = XdpPass::load(bpffs.path())?;
        let switch = Netns::create(&format!("{prefix}-switch"))?;
        switch.ip("link add br0 type bridge")?;
        switch.ip("link set br0 up")?;
        let host = |name: &str, number: u8| -> Result<Host> {
            let netns = Netns::create(&format!("{prefix}-{name}"))?;
            plug(&switch, &pass, netns, name, number)
        };
        let client = host("client", CLIENT)?;
        for (vip, node) in VIPS.into_iter().zip(addresses(NODE)) {
            client.netns.ip(&format!("route add {vip} via {node}"))?;
        }
        let mut backends = Vec::new();
        for number in 1..=backends_all {
            let backend = host(&format!("be{number}"), FIRST_BACKEND - 1 + number)?;
            set_vips(&backend.netns, "add")?;
            serve(&backend.netns, number)?;
            backends.push(backend);
        }
        let dir = run_dir.join("lb1");
        let node = Node {
            netns: host("lb1", NODE)?.netns,
            name: "lb1".to_owned(),
            v4: v4(NODE),
            v6: v6(NODE),
            bpffs: Bpffs::mount(&dir.join("bpf"))?,
            dir,
        };
        hash_key::write_into(&node.dir)?;
        std::fs::write(node.dir.join("anylb.toml"), file(&node, pool))?;
        let mut lb = Agent::lb(&Path::new(LAB).with_file_name("anylb"), &node)?;
        lb.ready().await?;
        let link = Self {
            lb,
            client,
            backends,
            node,
            _switch: switch,
            _bpffs: bpffs,
        };
        link.serving(pool).await?;
        Ok(link)
    }

    /// Gives the node another pool.
    async fn change(&self, pool: &Pool) -> Result<()> {
        std::fs::write(self.node.dir.join("anylb.toml"), file(&self.node, pool))?;
        self.lb.tell(&["reload", "--force", "--wait"])?;
        self.serving(pool).await
    }

    /// Waits until all of the pool's backends serve.
    async fn serving(&self, pool: &Pool) -> Result<()> {
        let count = pool.backends.clone().count();
        let what = "reachable backends";
        self.lb
            .until(what, SOON, |status| {
                let mut all = status.pools.values().flat_map(|pool| &pool.backends);
                let mut services = status.services.iter();
                status.services.len() == 2 * VIPS.len()
                    && services.all(|service| service.healthy == count)
                    && all.all(|backend| backend.reachable)
            })
            .await?;
        Ok(())
    }

    /// Connects to a VIP; the name of the server, if one answers.
    fn ask(&self, vip: &str, patience: Duration) -> Result<Option<u8>> {
        let to = SocketAddr::new(vip.parse::<IpAddr>()?, PORT);
        self.client.netns.run(|| {
            let Ok(mut stream) = TcpStream::connect_timeout(&to, patience) else {
                return Ok(None);
            };
            stream.set_read_timeout(Some(SOON))?;
            stream.write_all(b"?")?;
            let mut name = [0];
            stream.read_exact(&mut name)?;
            Ok(Some(name[0]))
        })
    }

    async fn counters(&self) -> Result<Counters> {
        self.lb.counters().await
    }

    /// Waits until the node sees no packet of a VIP any more; how many more there were of each exit than `before`.
    async fn quiet_since(&self, before: &Counters) -> Result<BTreeMap<String, u64>> {
        let mut last = exits(&self.counters().await?);
        let mut since = tokio::time::Instant::now();
        poll::until("a quiet link", SOON, async || {
            let now = exits(&self.counters().await?);
            if now != last {
                (last, since) = (now, tokio::time::Instant::now());
            }
            ensure!(since.elapsed() >= QUIET, "packets circle: {last:?}");
            Ok(())
        })
        .await?;
        let before = exits(before);
        last.retain(|name, count| {
            *count -= before[name];
            *count > 0
        });
        Ok(last)
    }
}

/// Packets by exit, but for those that are for no VIP.
fn exits(counters: &Counters) -> BTreeMap<String, u64> {
    let exits = counters.exits.iter().filter(|exit| exit.action != "pass");
    exits
        .map(|exit| (exit.name.clone(), exit.packets))
        .collect()
}

fn v4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, number)
}

fn v6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, number.into())
}

fn addresses(number: u8) -> [IpAddr; 2] {
    [v4(number).into(), v6(number).into()]
}

/// A cable from the switch to a host.
fn plug(switch: &Netns, pass: &XdpPass, netns: Netns, port: &str, number: u8) -> Result<Host> {
    let mac = [2, 0, 0, 9, 0, number];
    let text = format!("02:00:00:09:00:{number:02x}");
    shell::run(&format!(
        "ip link add name {port} netns {} type veth peer name eth0 address {text} netns {}",
        switch.name(),
        netns.name()
    ))?;
    switch.ip(&format!("link set {port} master br0 up"))?;
    // What a node's program transmits arrives only where there is a program; and it cannot finish checksums.
    pass.attach(switch, port)?;
    shell::output(switch.command("ethtool").args(["-K", port, "tx", "off"]))?;
    netns.ip(&format!("address add {}/24 dev eth0", v4(number)))?;
    netns.ip(&format!("address add {}/64 dev eth0 nodad", v6(number)))?;
    netns.ip("link set eth0 up")?;
    Ok(Host { netns, mac })
}

/// A server that answers every octet of a connection, and every datagram to a VIP, with its number, for as long as the process lives.
fn serve(netns: &Netns, number: u8) -> Result<()> {
    for vip in VIPS {
        let at = SocketAddr::new(vip.parse()?, PORT);
        let socket = netns.run(|| Ok(UdpSocket::bind(at)?))?;
        std::thread::spawn(move || -> Result<()> {
            loop {
                let (_, client) = socket.recv_from(&mut [0])?;
                socket.send_to(&[number], client)?;
            }
        });
    }
    let any = SocketAddr::new("::".parse()?, PORT);
    let listener = netns.run(|| Ok(TcpListener::bind(any)?))?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A client that gave up is its own business, and so is a check that only connects.
            std::thread::spawn(move || -> Result<()> {
                loop {
                    stream.read_exact(&mut [0])?;
                    stream.write_all(&[number])?;
                }
            });
        }
    });
    Ok(())
}

/// Puts the VIPs on `lo`, where nobody finds them by asking the link (`add`), or takes them away (`del`).
fn set_vips(netns: &Netns, what: &str) -> Result<()> {
    netns.sysctl("net.ipv4.conf.all.arp_ignore", "1")?;
    netns.sysctl("net.ipv4.conf.all.arp_announce", "2")?;
    for (vip, bits) in VIPS.into_iter().zip([32, 128]) {
        netns.ip(&format!("address {what} {vip}/{bits} dev lo"))?;
    }
    Ok(())
}

/// Makes a backend send the VIPs' packets on to another host of the link instead of taking them.
fn route_vips(netns: &Netns, to: u8) -> Result<()> {
    set_vips(netns, "del")?;
    for (key, value) in [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
        ("net.ipv4.conf.all.send_redirects", "0"),
        ("net.ipv4.conf.eth0.send_redirects", "0"),
    ] {
        netns.sysctl(key, value)?;
    }
    for (vip, gateway) in VIPS.into_iter().zip(addresses(to)) {
        netns.ip(&format!("route add {vip} via {gateway}"))?;
    }
    Ok(())
}

fn file(node: &Node, pool: &Pool) -> String {
    let mut text = node.lb_section();
    text += &format!(
        "[[pool]]\nname = \"web\"\nencap = \"l2\"\nmode = \"{}\"\n\
         check = {{ type = \"tcp\", port = {PORT}, interval = \"200ms\", timeout = \"150ms\" }}\n",
        pool.mode
    );
    for number in pool.backends.clone() {
        let address = v4(FIRST_BACKEND - 1 + number);
        text += &format!("[[pool.backend]]\naddress = \"{address}\"\n");
    }
    for vip in VIPS {
        for protocol in ["tcp", "udp"] {
            text += &format!(
                "[[service]]\nname = \"{}-{protocol}\"\nvip = \"{vip}\"\nprotocol = \"{protocol}\"\nports = [{PORT}]\npool = \"web\"\n",
                vip.replace(':', "-")
            );
        }
    }
    text
}

/// A conversation with a server at a VIP.
struct Flow {
    line: Line,
    vip: &'static str,
    /// Who answered first.
    server: u8,
}

enum Line {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Flow {
    /// The server has answered three times, so that the flow is no new one.
    fn open(client: &Netns, vip: &'static str, protocol: &str) -> Result<Self> {
        let to = SocketAddr::new(vip.parse()?, PORT);
        let line = client.run(|| match protocol {
            "tcp" => Ok(Line::Tcp(TcpStream::connect_timeout(&to, SOON)?)),
            _ => {
                let any: IpAddr = if to.is_ipv4() { "0.0.0.0" } else { "::" }.parse()?;
                let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
                socket.connect(to)?;
                Ok(Line::Udp(socket))
            }
        })?;
        let mut flow = Self {
            line,
            vip,
            server: 0,
        };
        flow.server = flow.ask(SOON)?;
        for _ in 0..2 {
            let again = flow.ask(SOON)?;
            ensure!(again == flow.server, "{vip}, {protocol}: {again}");
        }
        Ok(flow)
    }

    /// Who answers.
    fn ask(&mut self, patience: Duration) -> Result<u8> {
        let mut name = [0];
        match &mut self.line {
            Line::Tcp(stream) => {
                stream.set_read_timeout(Some(patience))?;
                stream.write_all(b"?")?;
                stream.read_exact(&mut name)?;
            }
            Line::Udp(socket) => {
                socket.set_read_timeout(Some(patience))?;
                socket.send(b"?")?;
                socket.recv(&mut name)?;
            }
        }
        Ok(name[0])
    }

    fn protocol(&self) -> &'static str {
        match self.line {
            Line::Tcp(_) => "tcp",
            Line::Udp(_) => "udp",
        }
    }

    fn port(&self) -> Result<u16> {
        let address = match &self.line {
            Line::Tcp(stream) => stream.local_addr()?,
            Line::Udp(socket) => socket.local_addr()?,
        };
        Ok(address.port())
    }
}

/// Flows of servers that stay whom somebody else, or nobody, answers once another backend has come and the first has gone, by
/// protocol; and that the node says of each that it has what answers.
async fn lost(prefix: &str, mode: &'static str) -> Result<BTreeMap<&'static str, usize>> {
    let three = |backends| Pool { mode, backends };
    let link = Link::build(prefix, &three(1..=3), 4).await?;
    let mut flows = Vec::new();
    for vip in VIPS {
        for protocol in ["tcp", "udp"] {
            for _ in 0..CONNECTIONS {
                flows.push(Flow::open(&link.client.netns, vip, protocol)?);
            }
        }
    }
    let mut lost = BTreeMap::from([("tcp", 0), ("udp", 0)]);
    for pool in [three(1..=4), three(2..=4)] {
        link.change(&pool).await?;
        for flow in &mut flows {
            let stays = pool.backends.contains(&flow.server);
            let answers = flow.ask(SOON).ok();
            if stays && answers != Some(flow.server) {
                *lost.entry(flow.protocol()).or_default() += 1;
            }
        }
    }
    if mode == "flow-table" {
        remembered(&link, &flows)?;
    }
    Ok(lost)
}

/// `anylb explain` says of flows whose server stays that a CPU remembers them with it.
fn remembered(link: &Link, flows: &[Flow]) -> Result<()> {
    for flow in flows.iter().filter(|flow| flow.server != 1).step_by(7) {
        let client = match flow.vip.contains(':') {
            true => v6(CLIENT).into(),
            false => IpAddr::from(v4(CLIENT)),
        };
        let from = SocketAddr::new(client, flow.port()?).to_string();
        let at = SocketAddr::new(flow.vip.parse()?, PORT);
        let to = format!("{at}/{}", flow.protocol());
        let text = link.lb.tell(&["explain", &from, &to])?;
        let server = v4(FIRST_BACKEND - 1 + flow.server);
        let known = format!("remembers it with {server}, seen ");
        ensure!(text.contains(&known), "{text}");
    }
    Ok(())
}

/// On one CPU, as the NIC has it for a flow: what another CPU remembers is of no use.
#[tokio::test]
async fn remembered_flows_survive_changes_of_the_pool_and_others_do_not() -> Result<()> {
    if !privileged::available("remembered_flows_survive_changes_of_the_pool_and_others_do_not") {
        return Ok(());
    }
    cpu::stay()?;
    let control = lost("anylb-sls", "stateless").await?;
    println!("of flows that nobody remembers were lost: {control:?}");
    ensure!(control.values().all(|count| *count > 0), "{control:?}");
    let kept = lost("anylb-slf", "flow-table").await?;
    ensure!(kept.values().all(|count| *count == 0), "{kept:?}");
    Ok(())
}

#[tokio::test]
async fn backends_answer_straight_to_the_client() -> Result<()> {
    if !privileged::available("backends_answer_straight_to_the_client") {
        return Ok(());
    }
    let link = Link::build("anylb-sla", &TWO, 2).await?;
    for vip in VIPS {
        let tap = Tap::open(&link.client.netns)?;
        let mut served = BTreeMap::<u8, usize>::new();
        for n in 0..CONNECTIONS {
            let name = link.ask(vip, SOON)?;
            let name = name.with_context(|| format!("{vip}: no answer to connection {n}"))?;
            *served.entry(name).or_default() += 1;
        }
        ensure!(served.len() == TWO.backends.count(), "{vip}: {served:?}");
        // What came of the VIP came from the backends, with the VIP as its source.
        let macs: Vec<_> = link.backends.iter().map(|backend| backend.mac).collect();
        let mut answers = 0;
        while answers < CONNECTIONS {
            let received = tap.next_to(link.client.mac, SOON)?;
            let (ethernet, ip) = received.frame.split_at(14);
            let is_ip = matches!(&ethernet[12..], [8, 0] | [0x86, 0xdd]);
            if is_ip && source_of(ip).to_string() == vip {
                let from = &ethernet[6..12];
                ensure!(macs.iter().any(|mac| mac == from), "from {from:02x?}");
                answers += 1;
            }
        }
    }
    let counters = link.counters().await?;
    let dropped: Vec<_> = counters
        .exits
        .iter()
        .filter(|exit| exit.action == "drop" && exit.packets > 0)
        .collect();
    ensure!(dropped.is_empty(), "{dropped:?}");
    Ok(())
}

#[tokio::test]
async fn a_backend_that_routes_the_vip_back_is_caught() -> Result<()> {
    if !privileged::available("a_backend_that_routes_the_vip_back_is_caught") {
        return Ok(());
    }
    let link = Link::build("anylb-slr", &TWO, 2).await?;
    route_vips(&link.backends[1].netns, NODE)?;
    for vip in VIPS {
        let before = link.counters().await?;
        let mut lost = 0;
        for _ in 0..CONNECTIONS {
            match link.ask(vip, NO_ANSWER)? {
                Some(1) => {}
                Some(other) => anyhow::bail!("{other} has no VIP and answers"),
                None => lost += 1,
            }
        }
        let since = link.quiet_since(&before).await?;
        ensure!(lost > 0, "{vip}: no flow to the second backend");
        // Every SYN that it got came back once, and no more.
        ensure!(
            since.get("l2_loop") == Some(&lost),
            "{vip}: {lost} lost, {since:?}"
        );
        ensure!(since.len() == 2 && since.contains_key("sent"), "{since:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_loop_over_two_backends_ends_with_the_ttl() -> Result<()> {
    if !privileged::available("a_loop_over_two_backends_ends_with_the_ttl") {
        return Ok(());
    }
    let link = Link::build("anylb-slt", &TWO, 2).await?;
    // From each to the other, and from there to the node: what the node sends to the first comes back from the second.
    let [first, second] = &link.backends[..] else {
        anyhow::bail!("two backends");
    };
    route_vips(&first.netns, FIRST_BACKEND + 1)?;
    route_vips(&second.netns, NODE)?;
    for vip in VIPS {
        let before = link.counters().await?;
        let asked = 12;
        for _ in 0..asked {
            ensure!(link.ask(vip, NO_ANSWER)?.is_none(), "nobody has the VIP");
        }
        let since = link.quiet_since(&before).await?;
        // The node, the first and the second backend take one each of 64.
        let rounds = 64_u64.div_ceil(3);
        let sent = since.get("sent").copied().unwrap_or(0);
        ensure!(sent > asked && sent <= asked * rounds, "{vip}: {since:?}");
    }
    Ok(())
}
