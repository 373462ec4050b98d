//! Backends without anylb: what the LB program sends, ended by the kernel's own tunnel devices. They are set up by the very commands
//! of docs/plain-backends.md.
//!
//! Ignored, since not every kernel has the devices; `cargo xtask kernels` runs them under one that has.

use std::io::Read as _;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use anylb::dataplane::{Dataplane, Next, Options};
use anylb::model::{Encap, Mode, PoolName, Ports, Protocol, XdpMode};
use anylb::plan::desired::NextHop;
use anylb::plan::{
    Desired, DesiredBackend, DesiredPool, DesiredService, ServiceOptions, Slots, plan,
};
use anylb::status::Health;
use lb_common::abi;
use lb_common::flow::FlowKey;
use lb_tests::harness::netns::Netns;
use lb_tests::harness::{bpffs::Bpffs, privileged, raw};
use lb_tests::packet::{MACS, frame, mend, message, set_ttl};
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};

const PAGE: &str = include_str!("../../docs/plain-backends.md");
const PATIENCE: Duration = Duration::from_secs(10);
const PORT: u16 = 53;
const ECN: u8 = 3;
const CE: u8 = 3;
/// DSCP EF and ECT(0).
const TOS: u8 = 46 << 2 | 2;

/// Client and VIP of each family.
const FLOWS: [(&str, &str); 2] = [
    ("192.0.2.7:4001", "198.51.100.1:53"),
    ("[2001:db8:c::7]:4001", "[2001:db8:100::1]:53"),
];

#[test]
#[ignore = "needs the kernel's own ipip and sit: cargo xtask kernels"]
fn ip_in_ip_over_ipv4() {
    carried("IP in IP over IPv4", "ipip4", Encap::IpIp, "10.1.0.1");
}

#[test]
#[ignore = "needs the kernel's own ip6tnl: cargo xtask kernels"]
fn ip_in_ip_over_ipv6() {
    carried("IP in IP over IPv6", "ipip6", Encap::IpIp, "fd00:1::1");
}

#[test]
#[ignore = "needs the kernel's own fou, ipip and sit: cargo xtask kernels"]
fn gue_over_ipv4() {
    carried("GUE over IPv4", "gue4", Encap::Gue, "10.1.0.1");
}

#[test]
#[ignore = "needs the kernel's own fou and ip6tnl: cargo xtask kernels"]
fn gue_over_ipv6() {
    carried("GUE over IPv6", "gue6", Encap::Gue, "fd00:1::1");
}

/// Datagrams of both families for a backend set up as the page says under `title` reach a socket at the VIP.
fn carried(title: &str, name: &str, encap: Encap, backend: &str) {
    if !privileged::available(name) {
        return;
    }
    let outcome = Site::build(name, encap, backend).and_then(|site| site.carries(title));
    outcome.unwrap_or_else(|error| panic!("{title}: {error:#}"));
}

/// An LB node's program, a wire, and a backend with nothing but its kernel.
struct Site {
    lb: Lb,
    wire: Netns,
    backend: Netns,
    sockets: [UdpSocket; 2],
    tap: Socket,
}

impl Site {
    /// The backend has its VIPs, and strict reverse path filters as some distributions set them.
    fn build(name: &str, encap: Encap, address: &str) -> Result<Self> {
        let wire = Netns::create(&format!("plain-{name}-lb"))?;
        let backend = Netns::create(&format!("plain-{name}-be"))?;
        for scope in ["all", "default"] {
            backend.sysctl(&format!("net.ipv4.conf.{scope}.rp_filter"), "1")?;
        }
        let mac = MACS[..6].iter().map(|byte| format!("{byte:02x}"));
        let mac = mac.collect::<Vec<_>>().join(":");
        let end = format!("name eth0 address {mac} netns {}", backend.name());
        wire.ip(&format!("link add wire type veth peer {end}"))?;
        wire.ip("link set wire up")?;
        for line in [
            "link set eth0 up",
            "address add 10.1.0.1/24 dev eth0",
            "address add fd00:1::1/64 dev eth0",
            "route add default via 10.1.0.254 dev eth0",
            "-6 route add default via fd00:1::fe dev eth0",
        ] {
            backend.ip(line)?;
        }
        run(&backend, commands("The VIPs"))?;
        let bound = FLOWS.map(|(_, vip)| {
            let socket = backend.run(|| Ok(UdpSocket::bind(vip)?))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        });
        let [four, six]: [Result<UdpSocket>; 2] = bound;
        let tap = backend.run(|| {
            const EVERY_PROTOCOL: u16 = 3;
            let every = SocketProtocol::from(i32::from(EVERY_PROTOCOL.to_be()));
            Ok(Socket::new(Domain::PACKET, Type::RAW, Some(every))?)
        })?;
        tap.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            lb: Lb::load(name, encap, address)?,
            sockets: [four?, six?],
            tap,
            wire,
            backend,
        })
    }

    /// Nothing arrives before the devices are there, nothing of IPv4 before the filter is off, everything after, as it was
    /// sent but for what the wire has marked.
    fn carries(&self, title: &str) -> Result<()> {
        let is_device = |line: &&str| line.starts_with("ip ");
        self.send_all("no device", None)?;
        run(&self.backend, commands(title).filter(is_device))?;
        self.send_all("strict", None)?;
        run(
            &self.backend,
            commands(title).filter(|line| !is_device(line)),
        )?;
        run(&self.backend, commands("MTU and MSS"))?;
        let sent = self.send_all("as sent", None)?;
        let marked = self.send_all("marked", Some(CE))?;
        for (flow, (_, vip)) in FLOWS.into_iter().enumerate() {
            if at(vip).is_ipv6() {
                self.receives(flow, "strict")?;
            }
            self.receives(flow, "as sent")?;
            self.receives(flow, "marked")?;
        }
        for packet in sent.iter().chain(&marked) {
            self.sees(packet)?;
        }
        Ok(())
    }

    /// Sends a datagram of each flow through the LB program to the backend, the outer header's ECN bits as the wire sets
    /// them; returns the packets that should come out of the tunnel.
    fn send_all(&self, data: &str, ecn: Option<u8>) -> Result<Vec<Vec<u8>>> {
        let send = |(client, vip)| {
            let mut inner = message(at(client), at(vip), TOS, data.as_bytes());
            let mut tunnel = self.lb.tunnel(&frame(&inner))?;
            set_ttl(&mut inner, 63);
            if let Some(ecn) = ecn {
                set_ecn(&mut tunnel[14..], ecn);
                set_ecn(&mut inner, ecn);
            }
            raw::send(&self.wire, "wire", &tunnel)?;
            Ok(inner)
        };
        FLOWS.into_iter().map(send).collect()
    }

    /// The next datagram at the VIP of a flow is this one, from its client.
    fn receives(&self, flow: usize, data: &str) -> Result<()> {
        let mut buffer = [0; 64];
        let (client, vip) = FLOWS[flow];
        let received = self.sockets[flow].recv_from(&mut buffer);
        let (length, from) = received.with_context(|| format!("{vip} got no {data:?}"))?;
        let got = String::from_utf8_lossy(&buffer[..length]);
        ensure!(got == data, "{vip} got {got:?} instead of {data:?}");
        ensure!(from == at(client), "{data:?} from {from}");
        Ok(())
    }

    /// The stack has been given this very packet, after those seen before: tunnel devices have no link-layer header.
    fn sees(&self, packet: &[u8]) -> Result<()> {
        let start = Instant::now();
        let mut buffer = [0; 2048];
        while start.elapsed() < PATIENCE {
            let length = (&self.tap)
                .read(&mut buffer)
                .context("not among what came")?;
            if &buffer[..length] == packet {
                return Ok(());
            }
        }
        anyhow::bail!("not among what came: {packet:02x?}")
    }
}

/// The LB program with one stateless pool of one backend, in the kernel.
struct Lb {
    // Before the file system that has its pins.
    plane: Dataplane,
    _bpffs: Bpffs,
}

impl Lb {
    fn load(name: &str, encap: Encap, backend: &str) -> Result<Self> {
        let bpffs = Bpffs::mount(&std::env::temp_dir().join(format!("anylb-test-{name}")))?;
        let mut plane = Dataplane::open(&Options {
            pin_dir: bpffs.path().join("anylb"),
            interfaces: Vec::new(),
            mode: XdpMode::Auto,
            next: Next::Kernel,
            flow_table_entries: 1024,
        })?;
        let (image, mut operations) = desired(encap, backend).image(&mut Slots::default())?;
        operations.extend(plan(&image, &plane.observed()?)?);
        plane.apply(&operations)?;
        Ok(Self {
            plane,
            _bpffs: bpffs,
        })
    }

    /// What it makes of a frame.
    fn tunnel(&self, frame: &[u8]) -> Result<Vec<u8>> {
        let result = self.plane.probe(frame)?;
        ensure!(result.sent(), "{result:?}");
        Ok(result.packet)
    }
}

fn desired(encap: Encap, backend: &str) -> Desired {
    let pool = PoolName("plain".into());
    let member = DesiredBackend {
        address: backend.parse().expect("an address in a test"),
        next_hop: Some(NextHop {
            ifindex: 1,
            mtu: 1600,
            source_mac: MACS[6..].try_into().expect("six bytes"),
            destination_mac: MACS[..6].try_into().expect("six bytes"),
            vlan: None,
            local: false,
            on_link: true,
        }),
        health: Health::Up,
        gone: false,
    };
    let row = [0, abi::ABSENT, abi::ABSENT, abi::ABSENT];
    let services = FLOWS.map(|(_, vip)| DesiredService {
        name: vip.into(),
        vip: at(vip).ip().into(),
        protocol: Protocol::Udp,
        ports: vec![Ports::one(PORT)],
        pool: pool.clone(),
        options: ServiceOptions::default(),
    });
    Desired {
        flow_key: FlowKey::new(*b"0123456789abcdef"),
        source_v4: Some([10, 1, 0, 11].into()),
        source_v6: Some("fd00:1::11".parse().expect("an address")),
        generation: 1,
        jiffies_per_sec: 250,
        own: [member.address].into(),
        pools: [(
            pool,
            DesiredPool {
                encap,
                mode: Mode::Stateless,
                members: vec![member],
                rows: Arc::from(vec![row; abi::ROWS as usize]),
                settling: false,
            },
        )]
        .into(),
        services: services.into(),
    }
}

/// The commands of a section of the page: its indented lines.
fn commands(title: &str) -> impl Iterator<Item = &'static str> {
    let heading = format!("\n## {title}\n");
    let (_, section) = PAGE
        .split_once(&heading)
        .unwrap_or_else(|| panic!("the page has no {title:?}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    section.lines().filter_map(|line| line.strip_prefix("    "))
}

/// Runs commands of the page in a namespace.
fn run<'a>(netns: &Netns, lines: impl Iterator<Item = &'a str>) -> Result<()> {
    for line in lines {
        if let Some(arguments) = line.strip_prefix("ip ") {
            netns.ip(arguments)?;
        } else if let Some((key, value)) = line
            .strip_prefix("sysctl -w ")
            .and_then(|line| line.split_once('='))
        {
            netns.sysctl(key, value)?;
        } else {
            anyhow::bail!("the page has a command that this test does not know: {line}");
        }
    }
    Ok(())
}

fn set_ecn(packet: &mut [u8], ecn: u8) {
    if packet[0] >> 4 == 4 {
        packet[1] = packet[1] & !ECN | ecn;
        mend(packet);
    } else {
        packet[1] = packet[1] & !(ECN << 4) | ecn << 4;
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address in a test")
}
