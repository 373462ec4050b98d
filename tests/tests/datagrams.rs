//! Datagrams of 8 KiB in fragments, which come by two nodes in every order, and their echoes.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use lb_tests::harness::raw::{Sender, Tap};
use lb_tests::harness::star::{CLIENT_V4, CLIENT_V6, Node, Star};
use lb_tests::harness::{hash_key, leftovers, privileged};
use lb_tests::lab::agent::Agent;
use lb_tests::packet::{destination_of, fragments, mend, message};
use socket2::{Domain, Socket, Type};

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(10);
const PORT: u16 = 5300;
const SIZE: usize = 8192;
const BACKENDS: u8 = 3;
/// What fits the client's link, in eights.
const PART_V4: usize = 1480;
const PART_V6: usize = 1448;
const PARTS: usize = 6;
/// DSCP by which the router tells the nodes apart.
const BY_SECOND_NODE: u8 = 0x10;
/// How long one backend's tunnel is looked at before the next one's.
const GLANCE: Duration = Duration::from_millis(10);
/// How often an order is tried: two packets by two nodes may overtake each other.
const TRIES: usize = 5;

/// How a pool tunnels, and the last number of its VIPs.
#[derive(Clone, Copy)]
struct Way {
    pool: &'static str,
    lines: &'static str,
    last: u8,
}

const ROWS: Way = Way {
    pool: "rows",
    lines: "",
    last: 1,
};
const GUE: Way = Way {
    pool: "gue",
    lines: "mode = \"stateless\"\n",
    last: 2,
};
const IPIP: Way = Way {
    pool: "ipip",
    lines: "mode = \"stateless\"\nencap = \"ipip\"\n",
    last: 3,
};

impl Way {
    fn vips(self) -> [IpAddr; 2] {
        [
            Ipv4Addr::new(198, 51, 100, self.last).into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, self.last.into()).into(),
        ]
    }
}

struct Site {
    // Dropped in this order: programs before the network.
    agents: Vec<Agent>,
    star: Star,
}

impl Site {
    async fn build(prefix: &str, ways: &[Way], udp: &str) -> Result<Self> {
        let run_dir = Path::new("/run").join(prefix);
        leftovers::clear(prefix, &run_dir).await?;
        let star = Star::build(prefix, &run_dir, 2, BACKENDS)?;
        let anylb = Path::new(LAB).with_file_name("anylb");
        let mut agents = Vec::new();
        for node in &star.backends {
            std::fs::write(node.dir.join("anylb.toml"), backend_file(node, ways, udp))?;
            let mut agent = Agent::backend(&anylb, node)?;
            agent.ready().await?;
            agents.push(agent);
        }
        for node in &star.lbs {
            hash_key::write_into(&node.dir)?;
            std::fs::write(node.dir.join("anylb.toml"), lb_file(node, ways))?;
            let mut agent = Agent::lb(&anylb, node)?;
            agent.ready().await?;
            agents.push(agent);
        }
        for (number, node) in (1..).zip(&star.backends) {
            answer_checks(node)?;
            for vip in ways.iter().flat_map(|way| way.vips()) {
                serve(node, SocketAddr::new(vip, PORT), udp, number)?;
            }
            // Echoes in parts that fit the client's link.
            let [_, net, number, _] = node.v4.octets();
            let routers = [
                ("-4", format!("10.{net}.{number}.1")),
                ("-6", format!("fd00:{net}:{number}::1")),
            ];
            for (family, router) in routers {
                node.netns.ip(&format!(
                    "{family} route replace default via {router} mtu 1500"
                ))?;
            }
        }
        for agent in &agents[star.backends.len()..] {
            agent
                .until("reachable backends", SOON, |status| {
                    let mut services = status.services.iter();
                    let mut all = status.pools.values().flat_map(|pool| &pool.backends);
                    status.services.len() == 2 * ways.len()
                        && services.all(|service| service.healthy == usize::from(BACKENDS))
                        && all.all(|backend| backend.reachable)
                })
                .await?;
        }
        route(&star, ways)?;
        Ok(Self { agents, star })
    }

    /// A client of a VIP, from a port of its own.
    fn client(&self, vip: IpAddr, port: u16) -> Result<Client> {
        let own = match vip {
            IpAddr::V4(_) => SocketAddr::from((CLIENT_V4, port)),
            IpAddr::V6(_) => SocketAddr::from((CLIENT_V6, port)),
        };
        let socket = self.star.client.run(|| Ok(UdpSocket::bind(own)?))?;
        socket.set_read_timeout(Some(SOON))?;
        let link = self.star.client.ip_json("link show eth0")?;
        let router = self.star.r1.ip_json("link show client")?;
        Ok(Client {
            socket,
            own,
            vip: SocketAddr::new(vip, PORT),
            sender: Sender::open(&self.star.client, "eth0")?,
            macs: [mac(&router)?, mac(&link)?].concat(),
            identification: 0,
        })
    }

    /// Sees what reaches a backend out of its tunnel.
    fn watch(&self, backend: u8) -> Result<Watch> {
        let node = &self.star.backends[usize::from(backend) - 1];
        let mac = mac(&node.netns.ip_json("link show eth0")?)?;
        Ok(Watch {
            tap: Tap::open(&node.netns)?,
            mac: mac.try_into().map_err(|_| anyhow!("six octets"))?,
        })
    }
}

fn mac(link: &serde_json::Value) -> Result<Vec<u8>> {
    let text = link[0]["address"].as_str().context("an Ethernet address")?;
    let octets = text.split(':').map(|octet| u8::from_str_radix(octet, 16));
    Ok(octets.collect::<Result<_, _>>()?)
}

/// Datagrams of two classes go by two nodes.
fn route(star: &Star, ways: &[Way]) -> Result<()> {
    for family in ["-4", "-6"] {
        star.r1.ip(&format!(
            "{family} rule add pref 100 tos {BY_SECOND_NODE:#x} lookup 100"
        ))?;
    }
    for vip in ways.iter().flat_map(|way| way.vips()) {
        let family = if vip.is_ipv4() { "-4" } else { "-6" };
        let [first, second] = [0, 1].map(|n| star.lbs[n].address(vip));
        star.r1
            .ip(&format!("{family} route add {vip} via {first}"))?;
        star.r1
            .ip(&format!("{family} route add {vip} via {second} table 100"))?;
    }
    Ok(())
}

fn services(ways: &[Way], more: impl Fn(&Way) -> String) -> String {
    let mut text = String::new();
    for way in ways {
        for vip in way.vips() {
            text += &format!(
                "[[service]]\nname = \"{}\"\nvip = \"{vip}\"\nprotocol = \"udp\"\nports = [{PORT}]\n{}\n",
                vip.to_string().replace(':', "-"),
                more(way)
            );
        }
    }
    text
}

fn backend_file(node: &Node, ways: &[Way], udp: &str) -> String {
    node.section()
        + "[backend]\ntrusted_lbs = [\"10.0.0.0/16\"]\ntrusted_backends = [\"10.1.0.0/16\"]\n"
        + &services(ways, |_| format!("udp = \"{udp}\""))
}

fn lb_file(node: &Node, ways: &[Way]) -> String {
    let mut text = node.lb_section();
    for way in ways {
        text += &format!(
            "[[pool]]\nname = \"{}\"\n{}\
             check = {{ type = \"tcp\", port = {PORT}, interval = \"200ms\", timeout = \"150ms\" }}\n",
            way.pool, way.lines
        );
        for number in 1..=BACKENDS {
            text += &format!("[[pool.backend]]\naddress = \"10.1.{number}.2\"\n");
        }
    }
    text + &services(ways, |way| format!("pool = \"{}\"", way.pool))
}

/// Takes the connections of checks, for as long as the process lives.
fn answer_checks(node: &Node) -> Result<()> {
    let any = SocketAddr::from((node.v4, PORT));
    let listener = node.netns.run(|| Ok(TcpListener::bind(any)?))?;
    std::thread::spawn(move || listener.incoming().for_each(drop));
    Ok(())
}

/// Answers every datagram with itself and the backend's number, for as long as the process lives.
fn serve(node: &Node, vip: SocketAddr, udp: &str, number: u8) -> Result<()> {
    let server = Server {
        socket: node.netns.run(|| bound(vip))?,
        number,
    };
    let connected = udp == "connected";
    let netns = node.netns.path();
    std::thread::spawn(move || -> Result<()> {
        let netns = std::fs::File::open(netns)?;
        nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET)?;
        loop {
            let client = server.answer()?;
            if connected {
                let flow = Server {
                    socket: bound(vip)?,
                    number,
                };
                flow.socket.connect(client)?;
                std::thread::spawn(move || -> Result<()> {
                    loop {
                        flow.answer()?;
                    }
                });
            }
        }
    });
    Ok(())
}

struct Server {
    socket: UdpSocket,
    number: u8,
}

impl Server {
    /// Answers the next datagram; whose it was.
    fn answer(&self) -> Result<SocketAddr> {
        let mut data = vec![0; SIZE + 2];
        let (length, client) = self.socket.recv_from(&mut data)?;
        data[length] = self.number;
        match self.socket.peer_addr() {
            Ok(_) => self.socket.send(&data[..=length])?,
            Err(_) => self.socket.send_to(&data[..=length], client)?,
        };
        Ok(client)
    }
}

fn bound(vip: SocketAddr) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(vip), Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&vip.into())?;
    Ok(socket.into())
}

/// Sends datagrams in parts, and receives their echoes whole.
struct Client {
    socket: UdpSocket,
    own: SocketAddr,
    vip: SocketAddr,
    sender: Sender,
    /// Of the router and of the client.
    macs: Vec<u8>,
    identification: u16,
}

impl Client {
    /// Sends a datagram in its parts in this order, one by each node in turn; the backend that has answered, if one has.
    fn exchange(&mut self, order: &[usize; PARTS]) -> Result<Option<u8>> {
        let datagram = self.datagram(order)?;
        self.send(&datagram.parts)?;
        self.echo(&datagram)
    }

    /// The same of a flow that nobody knows. Nothing follows the first part before a backend has taken it: on another CPU it
    /// could overtake the decision about the first one.
    fn begin(&mut self, watches: &[Watch]) -> Result<Option<u8>> {
        let datagram = self.datagram(&std::array::from_fn(|part| part))?;
        let (first, others) = datagram.parts.split_at(1);
        self.send(first)?;
        let start = Instant::now();
        let taken = || {
            watches
                .iter()
                .any(|watch| watch.part(self, GLANCE).is_some())
        };
        while !taken() {
            ensure!(start.elapsed() < SOON, "nobody has taken the first part");
        }
        self.send(others)?;
        self.echo(&datagram)
    }

    /// Until its parts have come to a backend in this order. So many of them come there before the others are sent.
    fn exchange_in_order(
        &mut self,
        order: &[usize; PARTS],
        watch: &Watch,
        ahead: usize,
    ) -> Result<u8> {
        let mut came = Vec::new();
        for _ in 0..TRIES {
            let datagram = self.datagram(order)?;
            let (first, others) = datagram.parts.split_at(ahead);
            self.send(first)?;
            came = watch.parts(self, ahead)?;
            self.send(others)?;
            let server = self.echo(&datagram)?;
            came.extend(watch.parts(self, PARTS - ahead)?);
            if came == order {
                return server.context("no echo");
            }
        }
        Err(anyhow!("they came as {came:?}"))
    }

    /// The next datagram, for one node and the other in turn.
    fn datagram(&mut self, order: &[usize; PARTS]) -> Result<Datagram> {
        self.identification += 1;
        let id = self.identification;
        let data: Vec<u8> = (0..SIZE).map(|at| (at / 7) as u8 ^ id as u8).collect();
        let whole = message(self.own, self.vip, 0, &data);
        let parts = fragments(&whole, self.part(), id);
        ensure!(parts.len() == PARTS, "{} parts", parts.len());
        let in_order = order.iter().enumerate().map(|(n, &which)| {
            let mut part = parts[which].clone();
            if (n + usize::from(id)) % 2 == 1 {
                set_class(&mut part, BY_SECOND_NODE);
            }
            part
        });
        Ok(Datagram {
            parts: in_order.collect(),
            data,
        })
    }

    fn send(&self, parts: &[Vec<u8>]) -> Result<()> {
        let ethertype: [u8; 2] = if self.own.is_ipv4() {
            [8, 0]
        } else {
            [0x86, 0xdd]
        };
        for part in parts {
            self.sender
                .send(&[&self.macs[..], &ethertype, part].concat())?;
        }
        Ok(())
    }

    /// The backend that has answered, if one has.
    fn echo(&self, datagram: &Datagram) -> Result<Option<u8>> {
        let mut echo = vec![0; SIZE + 2];
        loop {
            let (length, from) = match self.socket.recv_from(&mut echo) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                other => other?,
            };
            // One of an earlier try may still be under way.
            if from == self.vip && length == SIZE + 1 && echo[..SIZE] == datagram.data {
                return Ok(Some(echo[SIZE]));
            }
        }
    }

    /// One small datagram, by the first node.
    fn hello(&self) -> Result<u8> {
        self.socket.send_to(b"hello", self.vip)?;
        let mut echo = [0; 16];
        let length = self.socket.recv(&mut echo)?;
        ensure!(echo[..length - 1] == *b"hello", "{echo:?}");
        Ok(echo[length - 1])
    }

    fn part(&self) -> usize {
        if self.own.is_ipv4() { PART_V4 } else { PART_V6 }
    }
}

/// A datagram on its way.
struct Datagram {
    /// In the order in which they are sent.
    parts: Vec<Vec<u8>>,
    /// What it says.
    data: Vec<u8>,
}

/// A backend's end of its tunnel.
struct Watch {
    tap: Tap,
    mac: [u8; 6],
}

impl Watch {
    /// The next so many parts of a client's last datagram, in the order in which they have come; those that come in time.
    fn parts(&self, client: &Client, count: usize) -> Result<Vec<usize>> {
        let (mut order, start) = (Vec::new(), Instant::now());
        while order.len() < count && start.elapsed() < SOON {
            let frame = self.tap.next_to(self.mac, SOON)?.frame;
            order.extend(part_of(&frame[14..], client));
        }
        Ok(order)
    }

    /// Whether the next frame in time is such a part.
    fn part(&self, client: &Client, patience: Duration) -> Option<usize> {
        let next = self.tap.next_to(self.mac, patience).ok()?;
        part_of(&next.frame[14..], client)
    }
}

/// Which part of a client's last datagram a packet is.
fn part_of(packet: &[u8], client: &Client) -> Option<usize> {
    let word = |at: usize| Some(u16::from_be_bytes(*packet.get(at..)?.first_chunk()?));
    let (identification, offset) = match packet.first()? >> 4 {
        4 if packet[9] == 17 => (word(4)?, usize::from(word(6)? & 0x1fff) * 8),
        6 if packet[6] == 44 => (word(46)?, usize::from(word(42)? & !7)),
        _ => return None,
    };
    let its = destination_of(packet) == client.vip.ip() && identification == client.identification;
    its.then_some(offset / client.part())
}

fn set_class(packet: &mut [u8], class: u8) {
    if packet[0] >> 4 == 4 {
        packet[1] = class;
        mend(packet);
    } else {
        packet[0] = 0x60 | class >> 4;
        packet[1] = class << 4;
    }
}

/// Every order of the parts.
fn orders() -> Vec<[usize; PARTS]> {
    let mut all = vec![Vec::new()];
    for _ in 0..PARTS {
        let longer = |order: &Vec<usize>| {
            let rest = (0..PARTS).filter(|part| !order.contains(part));
            let all = rest.map(|part| [&order[..], &[part]].concat());
            all.collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    let whole = |order: Vec<usize>| order.try_into().expect("every part is in it");
    all.into_iter().map(whole).collect()
}

#[tokio::test]
async fn they_come_back_whole_whatever_the_order() -> Result<()> {
    if !privileged::available("they_come_back_whole_whatever_the_order") {
        return Ok(());
    }
    let ways = [ROWS, GUE, IPIP];
    let site = Site::build("anylb-dgs", &ways, "stateless").await?;
    let orders = orders();
    assert_eq!(orders.len(), 720);
    for way in ways {
        for vip in way.vips() {
            let mut client = site.client(vip, 4000)?;
            let server = client.exchange(&orders[0])?.context("in order")?;
            let watch = site.watch(server)?;
            for order in &orders {
                let answered = client.exchange_in_order(order, &watch, 0);
                let answered = answered.with_context(|| format!("{vip}: {order:?}"))?;
                ensure!(answered == server, "{vip}: {order:?}: {answered}");
            }
        }
    }
    for node in &site.agents[site.star.backends.len()..] {
        let counters = node.counters().await?;
        let sent: u64 = counters
            .services
            .values()
            .map(|one| one.count.packets)
            .sum();
        let least = (2 * ways.len() * orders.len() * PARTS / 2) as u64;
        ensure!(sent >= least, "{sent} parts by one node");
    }
    Ok(())
}

#[tokio::test]
async fn of_a_connected_flow_they_follow_the_first_part() -> Result<()> {
    if !privileged::available("of_a_connected_flow_they_follow_the_first_part") {
        return Ok(());
    }
    const CLIENTS: u16 = 6;
    let site = Site::build("anylb-dgc", &[ROWS], "connected").await?;
    let orders: Vec<_> = orders().into_iter().filter(|order| order[0] == 0).collect();
    assert_eq!(orders.len(), 120);
    let mut elsewhere = 0;
    for vip in ROWS.vips() {
        // A flow that begins with parts begins where they go, and later ones find it there.
        let mut new = site.client(vip, 4000)?;
        let everywhere = (1..=BACKENDS).map(|backend| site.watch(backend));
        let everywhere = everywhere.collect::<Result<Vec<_>>>()?;
        let parts_go_to = new.begin(&everywhere)?.context("a new flow")?;
        for port in 4001..=4000 + CLIENTS {
            let mut client = site.client(vip, port)?;
            let server = client.hello()?;
            elsewhere += usize::from(server != parts_go_to);
            let watch = site.watch(server)?;
            for order in &orders {
                let answered = client.exchange_in_order(order, &watch, 1);
                let answered = answered.with_context(|| format!("{vip}: {port}: {order:?}"))?;
                ensure!(answered == server, "{vip}: {port}: {order:?}: {answered}");
            }
        }
    }
    // The row of the parts is not that of the flow: they are passed on.
    ensure!(
        elsewhere > 0,
        "no flow has another backend than its parts' first hop"
    );
    Ok(())
}
