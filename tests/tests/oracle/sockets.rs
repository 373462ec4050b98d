//! A namespace with listeners, connections and half of some, and what the oracle is told of them.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_common::backend::Found;
use lb_oracle::host::Facts;
use lb_oracle::host::scene::{CONNECTED, VIPS};
use lb_oracle::make::{Cast, Service};
use lb_tests::harness::flows;
use lb_tests::harness::netns::Netns;
use lb_tests::packet::{SYN, Segment};

/// VIP, its client, and a client that exists only as packets.
const FAMILIES: [[&str; 3]; 2] = [
    [VIPS[0], "192.0.2.77", "192.0.2.200"],
    [VIPS[1], "2001:db8:77::77", "2001:db8:78::200"],
];
const TCP: u16 = 80;
const CLIENT: u16 = 40_000;
const GHOST: u16 = 41_000;
const PATIENCE: Duration = Duration::from_secs(5);

/// Sockets that stay what they are, and what is to be known of them.
#[derive(Default)]
pub struct Stage {
    pub facts: Facts,
    /// Numbers that mean something to them.
    pub numbers: Vec<u32>,
    listeners: Vec<TcpListener>,
    clients: Vec<TcpStream>,
    servers: Vec<TcpStream>,
    _datagrams: Vec<UdpSocket>,
}

fn addresses() -> [[IpAddr; 3]; 2] {
    FAMILIES.map(|family| family.map(|address| address.parse().expect("an address in a test")))
}

/// The namespace of a test.
pub fn namespace(test: &str) -> Result<Netns> {
    let netns = Netns::create(&format!("oracle-{test}"))?;
    let local = addresses().map(|[vip, client, _]| [vip, client]).concat();
    flows::lay_out(&netns, &local, &addresses().map(|[.., ghost]| ghost))?;
    // Handshakes shall be under way for as long as the test takes.
    netns.sysctl("net.ipv4.tcp_synack_retries", "100")?;
    Ok(netns)
}

impl Stage {
    /// Made on a thread inside the namespace: per family a listener, a connection, a handshake, a UDP flow.
    pub fn set() -> Result<Self> {
        let mut stage = Self::default();
        for [vip, client, ghost] in addresses() {
            let (tcp, udp) = (SocketAddr::new(vip, TCP), SocketAddr::new(vip, CONNECTED));
            let (client, ghost) = ((client, CLIENT).into(), (ghost, GHOST).into());
            let listener = TcpListener::bind(tcp)?;
            let (near, far) = flows::connection_to(&listener, client)?;
            stage.clients.push(near);
            stage.servers.push(far);
            stage.facts.flows.push((client, tcp, Found::Live));
            let sent = flows::half_open(ghost, tcp)?;
            stage.numbers.extend([sent, sent.wrapping_add(1)]);
            let found = Found::Handshake(Some(sent));
            stage.facts.flows.push((ghost, tcp, found));
            stage.facts.listeners.push(tcp);
            stage.listeners.push(listener);
            let socket = UdpSocket::bind(udp)?;
            socket.connect(client)?;
            stage.facts.connected.push((client, udp));
            stage._datagrams.push(socket);
            // Bound and not connected says nothing about any flow.
            stage._datagrams.push(UdpSocket::bind((vip, 9000))?);
        }
        Ok(stage)
    }

    /// Listeners that answer every SYN with a cookie, and one cookie each.
    pub fn cookies() -> Result<Self> {
        const ALWAYS: &str = "2";
        std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", ALWAYS)?;
        let mut stage = Self::default();
        for [vip, _, ghost] in addresses() {
            let (tcp, ghost) = (SocketAddr::new(vip, TCP), SocketAddr::new(ghost, GHOST));
            stage.listeners.push(TcpListener::bind(tcp)?);
            stage.facts.listeners.push(tcp);
            let cookie = flows::half_open(ghost, tcp)?;
            let next = Segment::new(ghost, tcp, SYN).sequence.wrapping_add(1);
            let numbers = [next, cookie.wrapping_add(1)];
            stage.facts.cookies.push((ghost, tcp, numbers));
            stage.numbers.extend(numbers);
        }
        Ok(stage)
    }

    /// Servers close their ends, and then clients: what is left of the flows knows nothing but that they have ended.
    pub fn close(&mut self) -> Result<()> {
        self.servers.clear();
        self.clients.clear();
        let start = Instant::now();
        while time_waits()? < FAMILIES.len() {
            ensure!(start.elapsed() < PATIENCE, "no flow is in TIME_WAIT");
            std::thread::yield_now();
        }
        for (.., found) in &mut self.facts.flows {
            if *found == Found::Live {
                *found = Found::TimeWait;
            }
        }
        Ok(())
    }

    /// Their flows among those that packets are of.
    pub fn enter(&self, cast: &mut Cast) {
        let service = |at, protocol| Service { at, protocol };
        let facts = &self.facts;
        let flows = facts
            .flows
            .iter()
            .map(|(client, vip, _)| (*client, service(*vip, 6)));
        let cookies = facts
            .cookies
            .iter()
            .map(|(client, vip, _)| (*client, service(*vip, 6)));
        let datagrams = facts
            .connected
            .iter()
            .map(|(client, vip)| (*client, service(*vip, 17)));
        cast.flows = flows.chain(cookies).chain(datagrams).collect();
        cast.numbers.clone_from(&self.numbers);
    }
}

/// Servers' sockets in TIME_WAIT.
fn time_waits() -> Result<usize> {
    const TIME_WAIT: &str = "06";
    let tables = ["tcp", "tcp6"]
        .map(|table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")));
    let mut count = 0;
    for table in tables {
        let table = table?;
        let states = table
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3));
        count += states.filter(|state| *state == TIME_WAIT).count();
    }
    Ok(count)
}
