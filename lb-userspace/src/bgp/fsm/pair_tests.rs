//! Two peers on one virtual clock, over a network that loses connections, and both dial.
//!
//! Model: a connection delivers messages in order, each after a random delay; it can be cut (nothing arrives any more
//! and nobody is told), reset (each end is told after a delay) or closed by one end (the other is told after what was
//! sent before). A dial is answered, refused or lost. After half a minute of faults the network is sound, and from then on
//! the two must find together and stay together.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::*;
use crate::bgp::codec::Message;
use crate::bgp::notification::Notification;

const FAULTS_END: Duration = Duration::from_secs(30);
/// Longer than a fault takes to be noticed.
const NEWS: Duration = Duration::from_secs(1);
/// Time within which two peers over a sound network are together.
const TOGETHER_WITHIN: Duration = Duration::from_secs(90);
/// Time for which they then stay.
const STAY: Duration = Duration::from_secs(30);
const SEEDS: u64 = 10_000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn delay(&mut self) -> Duration {
        let slow = if self.chance(10) { 40 } else { 1 };
        Duration::from_micros(100 + self.next() % 20_000 * slow)
    }
}

/// One end of a connection: which node, and who opened it from that node's view.
type End = (usize, Direction);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct ConnectionId(u32);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// A dial of this node is answered.
    Dialed(usize, u32, bool),
    /// A connection reaches the listening node.
    Arrives(usize, ConnectionId),
    /// A message, by its place in `messages`.
    Message(ConnectionId, usize, u32),
    /// An end learns that the connection is over.
    Closed(ConnectionId, usize),
    /// Something breaks.
    Fault,
}

struct Connection {
    dialer: usize,
    /// When the last message towards each node arrives.
    busy_until: [Duration; 2],
    cut: bool,
    /// The node has closed its end or been told that it is over.
    closed: [bool; 2],
}

struct World {
    nodes: [Peer; 2],
    /// The connection each node has in each direction.
    links: [BTreeMap<Direction, ConnectionId>; 2],
    dials: [Option<u32>; 2],
    connections: BTreeMap<ConnectionId, Connection>,
    queue: BinaryHeap<Reverse<(Duration, u64, Happening)>>,
    messages: Vec<Message>,
    random: Random,
    clock: Duration,
    epoch: Instant,
    sequence: u64,
    next_id: u32,
    dialled: [u32; 2],
    collisions: u32,
    sessions: u32,
    up: [Option<Direction>; 2],
    faults_end: Duration,
    together_at: Option<Duration>,
}

impl World {
    fn new(seed: u64, faults_end: Duration) -> World {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let swap = random.chance(50);
        let node = |n: usize, seed| {
            let settings = Settings {
                asn: 65001 + n as u32,
                peer_asn: 65002 - n as u32,
                identifier: Ipv4Addr::new(192, 0, 2, if swap { 2 - n as u8 } else { 1 + n as u8 }),
                hold_time_secs: 9,
                passive: false,
                next_hop_v4: None,
                next_hop_v6: None,
                graceful_restart: None,
            };
            Peer::new(settings, seed)
        };
        World {
            nodes: [node(0, seed), node(1, seed + 1_000_000)],
            links: Default::default(),
            dials: [None, None],
            connections: BTreeMap::new(),
            queue: BinaryHeap::new(),
            messages: Vec::new(),
            random,
            clock: Duration::ZERO,
            epoch: Instant::now(),
            sequence: 0,
            next_id: 0,
            dialled: [0, 0],
            collisions: 0,
            sessions: 0,
            up: [None, None],
            faults_end,
            together_at: None,
        }
    }

    fn at(&mut self, when: Duration, what: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse((when, self.sequence, what)));
    }

    fn later(&mut self, what: Happening) {
        let delay = self.random.delay();
        self.at(self.clock + delay, what);
    }

    fn faulty(&self) -> bool {
        self.clock < self.faults_end
    }

    /// Runs to the end and checks on the way.
    fn run(&mut self) {
        for _ in 0..self.faults_end.as_secs() / 5 {
            let when =
                Duration::from_millis(self.random.next() % self.faults_end.as_millis() as u64);
            self.at(when, Happening::Fault);
        }
        self.feed(0, Input::Start);
        self.feed(1, Input::Start);
        let mut end = self.faults_end + TOGETHER_WITHIN;
        let mut settled = false;
        while self.clock < end {
            let tick = self
                .nodes
                .iter()
                .filter_map(Peer::next_deadline)
                .min()
                .map(|at| at - self.epoch);
            let happening = self.queue.peek().map(|Reverse((when, ..))| *when);
            match (happening, tick) {
                (Some(when), tick) if tick.is_none_or(|tick| when <= tick) => {
                    let Some(Reverse((when, _, what))) = self.queue.pop() else {
                        return;
                    };
                    self.clock = self.clock.max(when);
                    self.happen(what);
                }
                (_, Some(tick)) => {
                    self.clock = self.clock.max(tick);
                    self.feed(0, Input::Tick);
                    self.feed(1, Input::Tick);
                }
                (_, None) => panic!("nothing will ever happen again"),
            }
            if !settled && self.clock >= self.faults_end + NEWS && self.is_settled() {
                settled = true;
                end = self.clock + STAY;
            }
            if settled {
                self.check_together();
            }
        }
        assert!(settled, "not together: {:?}", self.up);
    }

    /// Both are Established on one connection that nothing has happened to.
    fn is_settled(&self) -> bool {
        let [Some(a), Some(b)] = self.up else {
            return false;
        };
        let (here, there) = (self.links[0].get(&a), self.links[1].get(&b));
        here == there && here.is_some_and(|id| !self.connections[id].cut)
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Dialed(node, dial, accepted) => self.dialed(node, dial, accepted),
            Happening::Arrives(node, id) => {
                let over = self.connections[&id].closed[node] || self.connections[&id].cut;
                if !over {
                    self.connect((node, Direction::Incoming), id);
                }
            }
            Happening::Message(id, node, message) => {
                let message = self.messages[message as usize].clone();
                if let Some(direction) = self.direction_of(node, id) {
                    self.feed(
                        node,
                        Input::Received {
                            direction,
                            message: Ok(message),
                        },
                    );
                }
            }
            Happening::Closed(id, node) => {
                let Some(direction) = self.direction_of(node, id) else {
                    return;
                };
                self.feed(
                    node,
                    Input::Disconnected {
                        direction,
                        error: "closed".into(),
                    },
                );
            }
            Happening::Fault => self.fault(),
        }
    }

    fn fault(&mut self) {
        let open: Vec<ConnectionId> = self
            .links
            .iter()
            .flat_map(|l| l.values().copied())
            .collect();
        if open.is_empty() {
            return;
        }
        let id = open[self.random.next() as usize % open.len()];
        if self.random.chance(50) {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.cut = true;
            }
        } else {
            self.later(Happening::Closed(id, 0));
            self.later(Happening::Closed(id, 1));
        }
    }

    fn direction_of(&self, node: usize, id: ConnectionId) -> Option<Direction> {
        self.links[node]
            .iter()
            .find(|(_, held)| **held == id)
            .map(|(direction, _)| *direction)
    }

    fn dialed(&mut self, node: usize, dial: u32, accepted: bool) {
        if self.dials[node] != Some(dial) {
            return;
        }
        self.dials[node] = None;
        if !accepted {
            let error = "refused".into();
            self.feed(
                node,
                Input::Disconnected {
                    direction: Direction::Outgoing,
                    error,
                },
            );
            return;
        }
        let id = ConnectionId(dial);
        let connection = Connection {
            dialer: node,
            busy_until: [self.clock; 2],
            cut: false,
            closed: [false; 2],
        };
        self.connections.insert(id, connection);
        let delay = self.random.delay();
        let arrival = self.clock + delay;
        self.at(arrival, Happening::Arrives(1 - node, id));
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.busy_until[1 - node] = arrival;
        }
        self.connect((node, Direction::Outgoing), id);
    }

    /// Reports a connection, and takes it if the node does.
    fn connect(&mut self, (node, direction): End, id: ConnectionId) {
        let local = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1 + node as u8));
        let now = self.epoch + self.clock;
        let actions = self.nodes[node].handle(Input::Connected { direction, local }, now);
        let adopted = actions.contains(&Action::Adopt(direction));
        self.perform(node, actions, Some(id));
        if !adopted {
            self.close(node, id);
        }
    }

    fn feed(&mut self, node: usize, input: Input) {
        let now = self.epoch + self.clock;
        let actions = self.nodes[node].handle(input, now);
        assert!(actions.len() < 20, "{actions:?}");
        self.perform(node, actions, None);
    }

    fn perform(&mut self, node: usize, actions: Vec<Action>, reported: Option<ConnectionId>) {
        for action in actions {
            match action {
                Action::Dial => self.dial(node),
                Action::CancelDial => self.dials[node] = None,
                Action::Adopt(direction) => {
                    let id = reported.expect("only a reported connection can be adopted");
                    let before = self.links[node].insert(direction, id);
                    assert!(before.is_none(), "a connection was adopted over another");
                }
                Action::Refuse(notification) => {
                    let id = reported.expect("only a reported connection can be refused");
                    self.transmit(node, id, Message::Notification(notification));
                }
                Action::Send(direction, reply) => {
                    let id = *self.links[node]
                        .get(&direction)
                        .expect("sent on a connection it has not");
                    self.transmit(node, id, message(reply));
                }
                Action::Close(direction) => {
                    let id = self.links[node]
                        .remove(&direction)
                        .expect("closed a connection it has not");
                    self.close(node, id);
                }
                Action::Up(direction, _) => {
                    assert_eq!(self.up[node], None, "two sessions with one peer");
                    self.up[node] = Some(direction);
                    self.sessions += 1;
                    self.together_at =
                        Some(self.clock).filter(|_| self.up.iter().all(Option::is_some));
                }
                Action::Down(direction, _) => {
                    assert_eq!(self.up[node].take(), Some(direction));
                }
                Action::Failed(_, Reason::Collision) => self.collisions += 1,
                Action::Failed(..) | Action::Resend(_) => {}
            }
        }
    }

    fn dial(&mut self, node: usize) {
        self.dialled[node] += 1;
        self.next_id += 1;
        let dial = self.next_id;
        self.dials[node] = Some(dial);
        let (lost, refused) = (
            self.faulty() && self.random.chance(15),
            self.faulty() && self.random.chance(15),
        );
        if !lost {
            self.later(Happening::Dialed(node, dial, !refused));
        }
    }

    fn transmit(&mut self, from: usize, id: ConnectionId, message: Message) {
        self.messages.push(message);
        let message = self.messages.len() as u32 - 1;
        self.deliver(1 - from, id, |id, node| {
            Happening::Message(id, node, message)
        });
    }

    fn close(&mut self, node: usize, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.closed[node] = true;
        }
        self.deliver(1 - node, id, Happening::Closed);
    }

    /// In order, after what was sent before; not over a cut connection.
    fn deliver(
        &mut self,
        to: usize,
        id: ConnectionId,
        what: impl Fn(ConnectionId, usize) -> Happening,
    ) {
        let delay = self.random.delay();
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.cut {
            return;
        }
        let when = connection.busy_until[to].max(self.clock + delay);
        connection.busy_until[to] = when;
        self.at(when, what(id, to));
    }

    fn check_together(&self) {
        let [Some(a), Some(b)] = self.up else {
            panic!("at {:?}: not both Established: {:?}", self.clock, self.up)
        };
        assert_eq!(
            self.links[0][&a], self.links[1][&b],
            "Established on different connections"
        );
        let dialer = self.connections[&self.links[0][&a]].dialer;
        assert_eq!(a == Direction::Outgoing, dialer == 0);
        for node in 0..2 {
            assert_eq!(self.links[node].len(), 1, "a connection too many");
            assert_eq!(self.dials[node], None, "dials although Established");
        }
    }
}

fn message(reply: Reply) -> Message {
    match reply {
        Reply::Open(open) => Message::Open(open),
        Reply::Keepalive => Message::Keepalive,
        Reply::Notification(notification) => Message::Notification(notification),
    }
}

#[test]
fn two_peers_find_together_and_stay_together() {
    let (mut collisions, mut sessions, mut dials_max) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed, FAULTS_END);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
        assert!(result.is_ok(), "seed {seed}");
        collisions += world.collisions;
        sessions += world.sessions;
        dials_max = dials_max.max(*world.dialled.iter().max().expect("two nodes"));
    }
    assert!(
        collisions > SEEDS as u32,
        "both dial at once in nearly every run, so most must collide: {collisions}"
    );
    assert!(
        sessions > 3 * SEEDS as u32,
        "faults must end sessions, or recovery is not tested: {sessions}"
    );
    assert!(
        dials_max <= 75,
        "a dial in four seconds at most, with faults and all: {dials_max}"
    );
}

/// Where both dial at once over a sound network, the collision must not cost both connections: only where one side is
/// Established on the connection that the other one drops for it does RFC 4271's procedure lose both.
#[test]
fn rfc4271_6_8_a_collision_costs_one_connection() {
    let (mut at_once, mut slowest) = (0, Duration::ZERO);
    for seed in 0..SEEDS {
        let mut world = World::new(seed, Duration::ZERO);
        world.run();
        let together_at = world.together_at.expect("together at the end");
        at_once += u64::from(world.sessions == 2 && world.dialled[0].max(world.dialled[1]) == 1);
        slowest = slowest.max(together_at);
    }
    assert!(
        at_once * 10 > SEEDS * 9,
        "of {SEEDS} runs only {at_once} were together after one dial each"
    );
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
}

#[test]
fn a_stopped_peer_leaves_the_other_without_a_session() {
    let mut world = World::new(1, Duration::ZERO);
    world.feed(0, Input::Start);
    world.feed(1, Input::Start);
    while let Some(Reverse((when, _, what))) = world.queue.pop() {
        world.clock = when;
        world.happen(what);
    }
    world.check_together();
    world.feed(0, Input::Stop(Notification::shutdown("bye")));
    while let Some(Reverse((when, _, what))) = world.queue.pop() {
        world.clock = when;
        world.happen(what);
    }
    assert_eq!(world.up, [None, None]);
}
