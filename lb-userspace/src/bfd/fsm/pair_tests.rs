//! Two sessions on one virtual clock, over a network that loses, delays and reorders, falls silent and comes back.
//!
//! For a while the network is bad, and the operators of both sides meddle. From then on it is sound: the two must come Up,
//! agree on their intervals and stay Up; and when it falls silent for good, notice within their detection times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::testing::MS;
use super::*;
use crate::bfd::packet::{ControlPacket, LENGTH};

const FAULTS_END: Duration = Duration::from_secs(6);
/// Two packets of a second and an answer.
const UP_WITHIN: Duration = Duration::from_secs(3);
const STAY: Duration = Duration::from_secs(3);
const SEEDS: u64 = 10_000;
/// Of a sound network; together with its jitter a packet is never late.
const DELAY_MAX: Duration = Duration::from_millis(20);

/// When, in which order of sending where two arrive at once, at which node, what.
type Arrival = (Duration, u64, usize, [u8; LENGTH]);

/// Deterministic, so that a failure can be run again.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

struct World {
    nodes: [Session; 2],
    settings: [Settings; 2],
    enabled: [bool; 2],
    forwarding: [bool; 2],
    packets: BinaryHeap<Reverse<Arrival>>,
    random: Random,
    clock: Duration,
    epoch: Instant,
    sequence: u64,
    loss_percent: u64,
    silent: bool,
    /// Nothing reaches this node.
    deaf: Option<usize>,
    /// Nothing overtakes what was sent before it, by receiver: its last arrival.
    in_order: Option<[Duration; 2]>,
    ups: u32,
    flaps: u32,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let epoch = Instant::now();
        let settings = [any_settings(&mut random), any_settings(&mut random)];
        let node = |n: u32| {
            // Equal numbers are no matter: each side has its own.
            let number = NonZeroU32::new(1 + n * (seed as u32 % 2)).expect("not zero");
            Session::new(settings[n as usize], number, seed + u64::from(n), epoch)
        };
        World {
            nodes: [node(0), node(1)],
            settings,
            enabled: [true; 2],
            forwarding: [true; 2],
            packets: BinaryHeap::new(),
            random,
            clock: Duration::ZERO,
            epoch,
            sequence: 0,
            loss_percent: 0,
            silent: false,
            deaf: None,
            in_order: None,
            ups: 0,
            flaps: 0,
        }
    }

    fn feed(&mut self, node: usize, input: Input) {
        let now = self.epoch + self.clock;
        for action in self.nodes[node].handle(input, now) {
            match action {
                Action::Send(packet) => self.transmit(1 - node, &packet),
                Action::Changed(change) => {
                    self.ups += u32::from(change.to == State::Up);
                    self.flaps += u32::from(change.from == State::Up);
                }
            }
        }
    }

    fn transmit(&mut self, to: usize, packet: &ControlPacket) {
        if self.silent || self.deaf == Some(to) || self.random.chance(self.loss_percent) {
            return;
        }
        let worse = if self.loss_percent > 0 { 20 } else { 1 };
        let delay = Duration::from_micros(self.random.below(DELAY_MAX.as_micros() as u64 * worse));
        self.sequence += 1;
        let mut at = self.clock + delay;
        if let Some(last) = &mut self.in_order {
            at = at.max(last[to]);
            last[to] = at;
        }
        let arrival = (at, self.sequence, to, packet.encode());
        self.packets.push(Reverse(arrival));
    }

    /// To `end`, everything in its order.
    fn run(&mut self, end: Duration) {
        loop {
            let deadlines = self.nodes.iter().filter_map(Session::next_deadline);
            let tick = deadlines.min().map(|at| at - self.epoch);
            let arrival = self.packets.peek().map(|Reverse((at, ..))| *at);
            let next = [tick, arrival].into_iter().flatten().min();
            match next.filter(|at| *at < end) {
                Some(at) => self.clock = self.clock.max(at),
                None => break,
            }
            if arrival == next {
                let Some(Reverse((_, _, to, bytes))) = self.packets.pop() else {
                    return;
                };
                let packet = ControlPacket::decode(&bytes).expect("sessions send what they take");
                self.feed(to, Input::Received(packet));
            } else {
                self.feed(0, Input::Tick);
                self.feed(1, Input::Tick);
            }
        }
        self.clock = end;
    }

    /// A bad network, and people.
    fn meddle(&mut self) {
        while self.clock < FAULTS_END {
            self.loss_percent = self.random.one_of(&[10, 30, 60]);
            self.silent = self.random.chance(20);
            let node = self.random.below(2) as usize;
            match self.random.below(6) {
                0 => {
                    self.enabled[node] = !self.enabled[node];
                    self.feed(node, switch(self.enabled[node]));
                }
                1 => {
                    self.forwarding[node] = !self.forwarding[node];
                    self.feed(node, Input::Forwarding(self.forwarding[node]));
                }
                2 => {
                    self.settings[node] = any_settings(&mut self.random);
                    self.feed(node, Input::Configure(self.settings[node]));
                }
                3 => self.begin_anew(node),
                _ => {}
            }
            let pause = MS * self.random.below(1500) as u32;
            self.run(self.clock + pause);
        }
    }

    /// As after a crash: another number, and nothing remembered.
    fn begin_anew(&mut self, node: usize) {
        let number = NonZeroU32::new(1000 + self.sequence as u32).expect("not zero");
        let now = self.epoch + self.clock;
        let anew = Session::new(self.settings[node], number, self.sequence, now);
        self.nodes[node] = anew;
        self.enabled[node] = true;
        self.forwarding[node] = true;
        // Nothing that was sent to the one before reaches this one.
        self.packets.retain(|Reverse((_, _, to, _))| *to != node);
    }

    fn mend(&mut self) {
        self.loss_percent = 0;
        self.silent = false;
        for node in 0..2 {
            self.feed(node, Input::Forwarding(true));
            self.feed(node, Input::Enable);
        }
    }

    fn states(&self) -> [State; 2] {
        [self.nodes[0].state(), self.nodes[1].state()]
    }

    fn check_agreement(&self) {
        for (node, other) in [(0, 1), (1, 0)] {
            let (ours, theirs) = (self.settings[node], self.settings[other]);
            let sends = theirs.desired_min_tx.max(ours.required_min_rx);
            assert_eq!(self.nodes[other].transmit_interval(), Some(sends));
            let detection = sends * u32::from(theirs.multiplier);
            assert_eq!(self.nodes[node].detection_time(), Some(detection));
        }
    }
}

fn switch(enabled: bool) -> Input {
    if enabled {
        Input::Enable
    } else {
        Input::Disable
    }
}

fn any_settings(random: &mut Random) -> Settings {
    let intervals = [200 * MS, 300 * MS, 400 * MS, 700 * MS];
    Settings {
        desired_min_tx: random.one_of(&intervals),
        required_min_rx: random.one_of(&intervals),
        multiplier: random.one_of(&[2, 3, 3, 5]),
    }
}

/// Returns how often sessions came Up and went Down.
fn live(seed: u64) -> (u32, u32) {
    let mut world = World::new(seed);
    world.meddle();
    world.mend();
    world.run(FAULTS_END + UP_WITHIN + 2 * STAY);
    assert_eq!(world.states(), [State::Up; 2]);
    world.check_agreement();
    let seen = (world.ups, world.flaps);
    world.run(world.clock + STAY);
    assert_eq!((world.ups, world.flaps), seen, "sessions must stay Up");
    world.silent = true;
    let detection = world.nodes.each_ref().map(Session::detection_time);
    let longest = detection.into_iter().flatten().max().expect("both are Up");
    world.run(world.clock + longest + DELAY_MAX + MS);
    assert_eq!(world.states(), [State::Down; 2]);
    seen
}

#[test]
fn two_sessions_come_up_stay_up_and_notice_the_end() {
    let (mut ups, mut flaps) = (0, 0);
    for seed in 0..SEEDS {
        let seen = std::panic::catch_unwind(|| live(seed));
        let Ok(seen) = seen else {
            panic!("seed {seed}")
        };
        ups += seen.0;
        flaps += seen.1;
    }
    assert!(
        ups > 3 * SEEDS as u32 && flaps > SEEDS as u32 / 2,
        "faults must end sessions, or recovery is not tested: {ups} {flaps}"
    );
}

#[test]
fn up_within_three_packets_over_a_sound_network() {
    for seed in 0..1000 {
        let mut world = World::new(seed);
        world.in_order = Some([Duration::ZERO; 2]);
        world.run(4 * DELAY_MAX);
        assert_eq!(world.states(), [State::Up; 2], "seed {seed}");
        assert_eq!(world.flaps, 0, "seed {seed}");
    }
}

#[test]
fn one_way_silence_is_noticed_by_both() {
    for seed in 0..200 {
        let mut world = World::new(seed);
        world.run(Duration::from_secs(5));
        let detection = world.nodes[0].detection_time().expect("it is Up");
        world.deaf = Some(0);
        world.run(world.clock + detection + 2 * DELAY_MAX);
        let told = world.nodes[1].state();
        assert_ne!(told, State::Up, "seed {seed}: the other has told it");
    }
}
