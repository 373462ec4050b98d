//! Cases of the backend: data of a connection that is here, and of one that is elsewhere.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use anylb::backend::datapath::{Datapath, Entry};
use anylb::backend::host;
use anylb::backend::image::{Endpoint, Image, Wanted};
use anylb::dataplane::jiffies;
use lb_common::backend_abi::Macs;
use lb_common::tunnel;
use socket2::{Domain, Socket, Type};

use super::family::{FAMILIES, Family};
use super::series::Case;
use super::wrapper::{Frame, Probe};
use crate::packet::{ACK, Segment, Tunnel};

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const HOPS: u8 = 4;
const CONNECTED_PORT: u16 = 40_001;
const UNKNOWN_PORT: u16 = 40_002;
const PAYLOAD: usize = 10;
/// More than a CPU passes on.
const BUDGET: u32 = 1 << 30;

/// The cases, and the connections that they depend on.
#[derive(Debug)]
pub struct Backend {
    /// Accepted by socket, then passed on, in both families.
    pub cases: Vec<Case>,
    _connections: Vec<Connection>,
}

/// A connection to a VIP of this namespace, and its server.
#[derive(Debug)]
struct Connection {
    _listener: TcpListener,
    _client: Socket,
    _server: std::net::TcpStream,
}

impl Backend {
    /// Puts VIPs and clients on `lo` of this namespace, connects them, and loads the program for the first of four hops.
    pub fn new() -> Result<Self> {
        let connections: Result<Vec<Connection>> = FAMILIES.iter().map(Connection::open).collect();
        let mut datapath = Datapath::load(&image()?, host::offsets(), Entry::LbNode)?;
        let mut cases = Vec::new();
        for (name, port, verdict) in [
            ("accept", CONNECTED_PORT, XDP_PASS),
            ("passon", UNKNOWN_PORT, XDP_TX),
        ] {
            for family in &FAMILIES {
                datapath.set_next_hop(
                    family.backend(2)?,
                    Some(Macs {
                        low: 2,
                        high: 2,
                        padding: 0,
                    }),
                )?;
                let name = format!("backend-{name}-{}", family.name);
                let frame = frame(family, family.client(port)?)?;
                let probe =
                    Probe::new(datapath.program_fd()?, frame).with_context(|| name.clone())?;
                cases.push(Case {
                    name,
                    probe,
                    verdict,
                });
            }
        }
        Ok(Self {
            cases,
            _connections: connections?,
        })
    }
}

impl Connection {
    fn open(family: &Family) -> Result<Self> {
        let (vip, client) = (family.vip()?, family.client(CONNECTED_PORT)?);
        for address in [vip.ip(), client.ip()] {
            let mut add = Command::new("ip");
            add.args(["address", "add", &address.to_string(), "dev", "lo"]);
            if address.is_ipv6() {
                add.arg("nodad");
            }
            let status = add.status().context("ip")?;
            ensure!(
                status.success(),
                "ip address add {address} dev lo: {status}"
            );
        }
        let listener = TcpListener::bind(vip).with_context(|| vip.to_string())?;
        let socket = Socket::new(Domain::for_address(client), Type::STREAM, None)?;
        socket
            .bind(&client.into())
            .with_context(|| client.to_string())?;
        socket
            .connect(&vip.into())
            .with_context(|| vip.to_string())?;
        let (server, _) = listener.accept()?;
        Ok(Self {
            _listener: listener,
            _client: socket,
            _server: server,
        })
    }
}

/// A backend with all of the underlay as its site, and no limit to what it passes on.
fn image() -> Result<Image> {
    let mut wanted = Wanted {
        tunnel_port: tunnel::PORT,
        hertz: jiffies::per_second(),
        ..Wanted::default()
    };
    for family in &FAMILIES {
        let vip = family.vip()?;
        wanted.own.insert(family.backend(1)?);
        wanted.trusted_lbs.push(family.underlay()?);
        wanted.trusted_backends.push(family.underlay()?);
        wanted.endpoints.insert(Endpoint::tcp(vip));
    }
    let mut image = Image::new(&wanted)?;
    image.config.budget_per_jiffy = BUDGET;
    image.config.budget_max = BUDGET;
    Ok(image)
}

/// Data of the client in a tunnel to the first hop. All headers are restored: decapsulation overwrites some of them.
fn frame(family: &Family, client: SocketAddr) -> Result<Frame> {
    let hops: Result<Vec<_>> = (1..=HOPS).map(|number| family.backend(number)).collect();
    let tunnel = Tunnel::new(family.node()?, &hops?);
    let data = Segment {
        acknowledgment: 1,
        payload: PAYLOAD,
        ..Segment::new(client, family.vip()?, ACK)
    };
    let inner = data.ip();
    let restore = tunnel.inner_offset() + inner.len() - PAYLOAD;
    Ok(Frame {
        bytes: tunnel.frame(&inner),
        restore,
        vary: None,
    })
}
