//! What a fuzzer's bytes are tried with; any broken promise is a panic.
//!
//! The first byte says how the packet comes, and whether the rest is a frame or the choices that one is made by: a fuzzer finds
//! its way through the fields of a frame, and through choices to frames that it would not find.

use lb_common::backend::Found;
use lb_common::exit::Action;

use crate::dice::Dice;
use crate::host::{self, Host};
use crate::make::{self, Cast, Service, Tunnels};
use crate::node::{self, Arrival, Node};
use crate::{both, promise};

/// Bits of the first byte.
const CHOICES: u8 = 1;
const PROBE: u8 = 2;
const NO_ROOM: u8 = 4;
const NO_BUDGET: u8 = 8;

/// Both sides of [`Arrival::fill`]: what differs was never written.
const FILLS: [u8; 2] = [0xa5, 0x5a];

/// A node and a backend with every kind of service.
pub struct Bench {
    node: Node,
    host: Host,
    of_node: Cast,
    of_host: Cast,
    tunnels: Tunnels,
}

impl Bench {
    /// Takes a while: every table is filled.
    pub fn new() -> Self {
        let (node, scene) = (node::Scene::new(), host::Scene::new());
        let (mut of_host, tunnels) = (scene.cast(), scene.tunnels());
        let mut host = Host::new(scene);
        sockets(&mut host, &mut of_host);
        Self {
            of_node: node.cast(),
            node: Node::new(&node),
            host,
            of_host,
            tunnels,
        }
    }

    /// The LB node's decision.
    ///
    /// # Panics
    /// Where it does not keep what it promises.
    pub fn node(&mut self, data: &[u8]) {
        let Some((&how, rest)) = data.split_first() else {
            return;
        };
        let frame = if how & CHOICES != 0 {
            make::for_node(&mut Dice::Script(rest), &self.of_node).bytes
        } else {
            rest.to_vec()
        };
        self.node.answers = how & NO_BUDGET == 0;
        let ways = FILLS.map(|fill| Arrival {
            probe: how & PROBE != 0,
            headroom: if how & NO_ROOM != 0 { 40 } else { 256 },
            fill,
        });
        let [Some(one), Some(other)] = ways.map(|way| self.node.run(&frame, way)) else {
            return;
        };
        assert_eq!(one.exit, other.exit, "unwritten bytes decide");
        assert_eq!(one.bytes(), other.bytes(), "never written");
        promise::of_node(&frame, one.exit, one.bytes()).unwrap_or_else(|broken| {
            panic!("{:?}: {broken}: {frame:02x?}", one.exit);
        });
        let [Some(one), Some(other)] =
            ways.map(|way| both::run(&self.node, Some(&self.host), &frame, way))
        else {
            return;
        };
        assert!(
            one.bytes == other.bytes,
            "never written on a box that is both"
        );
        let goes_on = matches!(one.node.action(), Action::Pass | Action::Local);
        assert_eq!(one.host.is_some(), goes_on && how & PROBE == 0);
        self.node.take_counted();
    }

    /// The backend's decision, on XDP and on TC.
    ///
    /// # Panics
    /// Where it does not keep what it promises.
    pub fn host(&mut self, data: &[u8]) {
        let Some((&how, rest)) = data.split_first() else {
            return;
        };
        let frame = if how & CHOICES != 0 {
            make::for_backend(&mut Dice::Script(rest), &self.of_host, &self.tunnels).bytes
        } else {
            rest.to_vec()
        };
        self.host.may_spend = how & NO_BUDGET == 0;
        let [Some(one), Some(other)] = FILLS.map(|fill| self.host.run(&frame, fill)) else {
            return;
        };
        assert_eq!(one.exit, other.exit, "unwritten bytes decide");
        assert_eq!(one.bytes(), other.bytes(), "never written");
        promise::of_host(&frame, one.exit, one.bytes()).unwrap_or_else(|broken| {
            panic!("{:?}: {broken}: {frame:02x?}", one.exit);
        });
        let tc = self.host.run_tc(&frame, FILLS[0]);
        let same = tc.is_some_and(|tc| tc.exit == one.exit && tc.bytes() == one.bytes());
        assert!(same, "another decision on TC: {frame:02x?}");
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

/// A socket of every kind at every VIP that is served.
fn sockets(host: &mut Host, cast: &mut Cast) {
    let kinds = [
        Found::Live,
        Found::TimeWait,
        Found::Handshake(Some(5000)),
        Found::Handshake(None),
    ];
    let tcp = cast
        .services
        .iter()
        .filter(|service| service.at.port() == 80);
    for service in tcp.copied().collect::<Vec<_>>() {
        host.facts.listeners.push(service.at);
        for (port, found) in (40_000..).zip(kinds.iter()) {
            let client = service.client(port);
            host.facts.flows.push((client, service.at, *found));
            cast.flows.push((client, service));
        }
        let client = service.client(50_000);
        host.facts.cookies.push((client, service.at, [5000, 5001]));
        cast.flows.push((client, service));
    }
    let udp = cast
        .services
        .iter()
        .filter(|service| service.at.port() == host::scene::CONNECTED);
    for service in udp.copied().collect::<Vec<_>>() {
        host.facts
            .connected
            .push((service.client(40_000), service.at));
        cast.flows.push((service.client(40_000), service));
    }
    cast.numbers = vec![5000, 5001];
}

impl Service {
    /// A client of the same family.
    fn client(&self, port: u16) -> std::net::SocketAddr {
        let address = if self.at.is_ipv4() {
            "192.0.2.77"
        } else {
            "2001:db8:77::77"
        };
        (crate::ip(address), port).into()
    }
}
