//! The backend's decision on the host.

pub mod scene;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};

use lb_common::abi::VipBucket;
use lb_common::backend::{self, Exit, Flow, Found, Gone, Sockets, Tables, Whole};
use lb_common::backend_abi::{Config, Macs, ServiceBucket};
use lb_common::frame::Frame;
use lb_common::packet::Packet;
use lb_common::wire::{Be16, Tcp};

use crate::words;

pub use scene::Scene;

/// A backend's tables, and what its kernel knows.
pub struct Host {
    scene: Scene,
    /// What the kernel's sockets say.
    pub facts: Facts,
    /// Whether anything may be passed on.
    pub may_spend: bool,
    /// Where first parts of packets have gone.
    gone: RefCell<Vec<(Whole, Gone)>>,
}

/// Sockets of a network namespace.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Where something listens.
    pub listeners: Vec<SocketAddr>,
    /// Client, VIP and what there is for their flow.
    pub flows: Vec<(SocketAddr, SocketAddr, Found)>,
    /// Clients of connected UDP sockets, and the VIP.
    pub connected: Vec<(SocketAddr, SocketAddr)>,
    /// Client and VIP, and the sequence numbers of a segment that carries a valid SYN cookie: its own and the acknowledged one.
    pub cookies: Vec<(SocketAddr, SocketAddr, [u32; 2])>,
}

/// Where a packet has left.
#[derive(Clone)]
pub struct Left {
    /// By which exit.
    pub exit: Exit,
    /// As what.
    pub frame: Frame,
}

impl Left {
    /// The packet.
    pub fn bytes(&self) -> &[u8] {
        self.frame.bytes()
    }
}

impl Host {
    /// With the tables of a scene and no socket at all.
    pub fn new(scene: Scene) -> Self {
        Self {
            scene,
            facts: Facts::default(),
            may_spend: true,
            gone: RefCell::default(),
        }
    }

    /// Decides about one frame, with `fill` in what is never written; none where it is longer than a [`Frame`] holds.
    pub fn run(&self, packet: &[u8], fill: u8) -> Option<Left> {
        Some(self.run_on(Frame::filled(packet, fill)?))
    }

    /// Decides about a frame that has come some way already.
    pub(crate) fn run_on(&self, mut frame: Frame) -> Left {
        let exit = backend::run(&mut frame, self, self);
        Left { exit, frame }
    }

    /// What the TC program makes of a frame: what is no tunnel's leaves before anything is read in.
    pub fn run_tc(&self, packet: &[u8], fill: u8) -> Option<Left> {
        let frame = Frame::filled(packet, fill)?;
        if backend::is_foreign(&frame, self) {
            return Some(Left {
                exit: Exit::NotTunnel,
                frame,
            });
        }
        Some(self.run_on(frame))
    }
}

impl Tables for Host {
    fn config(&self) -> Option<&Config> {
        Some(&self.scene.config)
    }

    fn vips(&self, index: u32) -> Option<&VipBucket> {
        self.scene.vips.get(index as usize)
    }

    fn prefix(&self, address: [u64; 2]) -> u32 {
        backend::around(self, &self.scene.config, address)
    }

    fn services(&self, index: u32) -> Option<&ServiceBucket> {
        self.scene.services.get(index as usize)
    }

    fn next_hop(&self, address: [u64; 2]) -> Option<Macs> {
        let mut known = self.scene.next_hops.iter();
        known
            .find(|(hop, _)| words(*hop) == address)
            .map(|(_, macs)| *macs)
    }

    fn spend(&self) -> bool {
        self.may_spend
    }

    fn remember(&self, whole: &Whole, gone: Gone) {
        let mut all = self.gone.borrow_mut();
        all.retain(|(known, _)| known != whole);
        all.push((*whole, gone));
    }

    fn recall(&self, whole: &Whole) -> Option<Gone> {
        let all = self.gone.borrow();
        all.iter()
            .find_map(|(known, gone)| (known == whole).then_some(*gone))
    }
}

impl<P: Packet> Sockets<P> for Host {
    fn connected(&self, flow: &Flow) -> bool {
        let mut all = self.facts.connected.iter();
        all.any(|(client, vip)| self::flow(*client, *vip) == *flow)
    }

    fn tcp(&self, packet: &P, flow: &Flow, headers: Option<(usize, usize)>) -> Found {
        let facts = &self.facts;
        let of = |client: &SocketAddr, vip: &SocketAddr| self::flow(*client, *vip) == *flow;
        if let Some((.., found)) = facts.flows.iter().find(|(client, vip, _)| of(client, vip)) {
            return *found;
        }
        if !facts.listeners.iter().any(|at| listens(*at, flow)) {
            return Found::Nothing;
        }
        let carries = |numbers: &[u32; 2]| {
            let tcp = headers.and_then(|(_, at)| packet.get_at::<Tcp>(at));
            tcp.is_some_and(|tcp| {
                const SYN_RST_ACK: u8 = 0x16;
                tcp.flags & SYN_RST_ACK == 0x10
                    && [tcp.sequence.value(), tcp.acknowledgment.value()] == *numbers
            })
        };
        let mut cookies = facts.cookies.iter();
        if cookies.any(|(client, vip, numbers)| of(client, vip) && carries(numbers)) {
            Found::Cookie
        } else {
            Found::Listener
        }
    }
}

/// The flow of a client and a VIP.
fn flow(client: SocketAddr, vip: SocketAddr) -> Flow {
    let ports = ports(client.port(), vip.port());
    match (client.ip(), vip.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Flow::V4 {
            client: u32::from_ne_bytes(from.octets()),
            vip: u32::from_ne_bytes(to.octets()),
            ports,
        },
        (from, to) => Flow::V6 {
            client: words(from),
            vip: words(to),
            ports,
        },
    }
}

fn ports(source: u16, destination: u16) -> u32 {
    let ([a, b], [c, d]) = (source.to_be_bytes(), destination.to_be_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

fn listens(at: SocketAddr, flow: &Flow) -> bool {
    let second = |ports: u32| {
        let [.., c, d] = ports.to_ne_bytes();
        Be16::from_raw(u16::from_ne_bytes([c, d])).value()
    };
    match (*flow, at.ip()) {
        (Flow::V4 { vip, ports, .. }, IpAddr::V4(address)) => {
            vip == u32::from_ne_bytes(address.octets()) && second(ports) == at.port()
        }
        (Flow::V6 { vip, ports, .. }, IpAddr::V6(_)) => {
            vip == words(at.ip()) && second(ports) == at.port()
        }
        _ => false,
    }
}

/// Exits that no packet alone reaches, with what it takes.
pub const OTHER_CIRCUMSTANCES: &[(Exit, &str)] = &[
    (Exit::AcceptedSocket, "sockets"),
    (Exit::AcceptedSyn, "a listener"),
    (Exit::AcceptedHandshake, "a handshake under way"),
    (Exit::AcceptedCookie, "SYN cookies"),
    (Exit::AcceptedNoBudget, "no budget"),
];

/// Exits that nothing reaches here, with the reason.
pub const OUT_OF_REACH: &[(Exit, &str)] = &[
    (
        Exit::NoHeadroom,
        "a packet that has headers to lose can lose them; only a driver refuses",
    ),
    (
        Exit::Joined,
        "only the kernel joins packets, and a test run is one packet",
    ),
];

/// Exits that generated packets must reach.
pub fn reachable() -> Vec<Exit> {
    let apart = |exit: &&Exit| {
        let mut all = OTHER_CIRCUMSTANCES.iter().chain(OUT_OF_REACH);
        all.any(|(one, _)| one == *exit)
    };
    Exit::ALL
        .iter()
        .filter(|exit| !apart(exit))
        .copied()
        .collect()
}
