//! The LB node's decision on the host.

mod lists;
pub mod scene;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use lb_common::abi::{self, Bank, Row, kind};
use lb_common::exit::Action;
use lb_common::filter::Element;
use lb_common::flow_table::{Bucket, Outcome};
use lb_common::frame::Frame;
use lb_common::lb::extra::{self, Case};
use lb_common::lb::{self, Exit, Mark, Tables, prefix};
use lb_common::prefix::{lengths, place};
use lb_common::rate::Rate;
use lb_common::sources::Sources;
use zerocopy::FromZeros as _;

pub use scene::Scene;

/// A node's tables, and what it is to know of the rest.
pub struct Node {
    bank: Option<Box<Bank>>,
    rows: BTreeMap<u32, Arc<[u64]>>,
    /// By slot.
    filters: BTreeMap<u32, Arc<[Element]>>,
    /// Whether a ping is answered.
    pub answers: bool,
    flows: RefCell<Vec<Bucket>>,
    counted: RefCell<Counted>,
}

/// Of the flow table.
const FLOW_BUCKETS: usize = 256;

/// What a node has counted, by counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// New flows.
    pub services: BTreeMap<u32, u64>,
    /// Packets, bytes.
    pub backends: BTreeMap<u32, (u64, u64)>,
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

/// How a packet comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// A node's own probe.
    pub probe: bool,
    /// Bytes of headroom.
    pub headroom: usize,
    /// What unwritten bytes hold.
    pub fill: u8,
}

impl Arrival {
    /// From the wire.
    pub const WIRE: Self = Self {
        probe: false,
        headroom: 256,
        fill: 0xa5,
    };
}

impl Node {
    /// With the tables of a scene, laid out anew.
    pub fn new(scene: &Scene) -> Self {
        Self {
            bank: Some(bank(scene)),
            filters: scene.filters_by_slot(),
            ..Self::empty(scene.tables.clone())
        }
    }

    /// Before an agent has applied anything.
    pub fn without_root() -> Self {
        Self::empty(BTreeMap::new())
    }

    fn empty(rows: BTreeMap<u32, Arc<[u64]>>) -> Self {
        Self {
            bank: None,
            rows,
            filters: BTreeMap::new(),
            answers: true,
            flows: RefCell::new(vec![Bucket::default(); FLOW_BUCKETS]),
            counted: RefCell::default(),
        }
    }

    /// Decides about one frame; none where it is longer than a [`Frame`] holds.
    pub fn run(&self, packet: &[u8], arrival: Arrival) -> Option<Left> {
        self.decide::<false>(packet, arrival)
    }

    /// The same on a box that is a backend as well.
    pub(crate) fn run_beside_backend(&self, packet: &[u8], arrival: Arrival) -> Option<Left> {
        self.decide::<true>(packet, arrival)
    }

    fn decide<const BACKEND: bool>(&self, packet: &[u8], arrival: Arrival) -> Option<Left> {
        let mut frame = Frame::filled(packet, arrival.fill)?.with_headroom(arrival.headroom);
        let mark = if arrival.probe {
            Mark::PROBE
        } else {
            Mark::NONE
        };
        let exit = lb::run(&mut frame, &View::<BACKEND>(self), mark).of_client();
        Some(Left { exit, frame })
    }

    /// What was counted since the last call.
    pub fn take_counted(&self) -> Counted {
        self.counted.take()
    }
}

/// The node as a program sees it.
struct View<'a, const BACKEND: bool>(&'a Node);

impl<const BACKEND: bool> Tables for View<'_, BACKEND> {
    const BACKEND: bool = BACKEND;

    fn bank(&self) -> Option<&Bank> {
        self.0.bank.as_deref()
    }

    fn row(&self, table: &u32, row: u32) -> Option<Row> {
        let packed = self.0.rows.get(table)?.get(row as usize)?;
        Some(Row::of(*packed))
    }

    fn filter<'t>(&'t self, slot: u32) -> Option<impl Fn(u32) -> Option<&'t Element>> {
        let elements = self.0.filters.get(&slot)?;
        Some(|index: u32| elements.get(index as usize))
    }

    /// Of a scene, rates are such that a bucket is full at any time, or never has enough.
    fn take(&self, _: u32, _: u32, rate: &Rate) -> bool {
        rate.cost <= rate.most
    }

    fn extra(&self, bank: &Bank, case: &Case) -> u64 {
        extra::run(self, bank, case)
    }

    fn prefix(&self, bank: &Bank, address: [u64; 2]) -> u32 {
        prefix::number(bank, address)
    }

    fn flow_buckets(&self) -> u32 {
        self.0.flows.borrow().len() as u32
    }

    fn flow_bucket<R>(&self, number: u32, work: impl FnOnce(&mut Bucket) -> R) -> Option<R> {
        self.0.flows.borrow_mut().get_mut(number as usize).map(work)
    }

    // No time passes.
    fn tick(&self) -> u16 {
        1
    }

    fn count_flow(&self, _: Outcome) {}

    fn count_new_flow(&self, service: u32) {
        let mut counted = self.0.counted.borrow_mut();
        *counted.services.entry(service).or_default() += 1;
    }

    fn count_backend(&self, counter: u32, bytes: u32) {
        let mut counted = self.0.counted.borrow_mut();
        let count = counted.backends.entry(counter).or_default();
        count.0 += 1;
        count.1 += u64::from(bytes);
    }

    // Beside the exits, which nobody counts here.
    fn count_error(&self, _: u32, _: u32) {}

    fn may_answer(&self, _: &Bank) -> bool {
        self.0.answers
    }
}

/// The action of a program that has left by `exit`, as XDP numbers it; for [`Action::Local`] what it does without a backend.
pub fn verdict(action: Action) -> u32 {
    match action {
        Action::Drop | Action::Local => 1,
        Action::Pass => 2,
        Action::Transmit => 3,
        Action::Redirect => 4,
    }
}

/// Lays a scene out in buckets, under the first seeds that fit.
fn bank(scene: &Scene) -> Box<Bank> {
    (0..1000)
        .find_map(|seed| try_bank(scene, seed))
        .expect("a scene is small")
}

fn try_bank(scene: &Scene, seed: u64) -> Option<Box<Bank>> {
    let mut bank = Bank::new_box_zeroed().expect("four megabytes");
    bank.shared = abi::Shared {
        vip_seed: seed,
        service_seed: seed,
        ..scene.shared
    };
    bank.sources = Sources::of(&scene.vips);
    bank.prefixes = lengths(&scene.vips);
    let mut mixed = BTreeMap::new();
    for vip in &scene.vips {
        let place = place(seed, vip);
        if kind::is_prefix(vip.kind) {
            mixed.insert(vip.id, abi::prefix_mixed(vip.id));
        } else if vip.kind == kind::VIP {
            mixed.insert(vip.id, place);
        }
        let bucket = abi::vip_bucket(place) as usize;
        bank.occupied[bucket / 64] |= 1 << (bucket % 64);
        let entries = &mut bank.vips[bucket].entries;
        *entries.iter_mut().find(|free| free.kind == kind::EMPTY)? = *vip;
    }
    let mut services = scene.services.clone();
    // Of ranges around a port the narrowest counts, and is found first.
    services.sort_by_key(|service| service.last_port - service.first_port);
    for service in services {
        let vip = mixed[&abi::service_vip(service.key)];
        let bucket = abi::service_bucket(seed, vip, service.key) as usize;
        let entries = &mut bank.services[bucket].entries;
        *entries.iter_mut().find(|free| free.key == 0)? = service;
    }
    bank.backends[..scene.backends.len()].copy_from_slice(&scene.backends);
    for (counter, extra) in &scene.extras {
        bank.extras[*counter as usize] = *extra;
    }
    Some(bank)
}

/// Exits that no packet alone reaches, with what it takes.
pub const OTHER_CIRCUMSTANCES: &[(Exit, &str)] = &[
    (Exit::NoRoot, "nothing was ever applied"),
    (Exit::Probe, "a mark before the packet"),
    (Exit::EchoLimited, "no budget"),
    (Exit::TooBigLimited, "no budget"),
    (Exit::NoHeadroom, "no room before the packet"),
    (Exit::Local, "a box that is a backend as well"),
    (
        Exit::NoLocalBackend,
        "such a box whose backend's program is gone",
    ),
];

/// Exits that generated packets must reach.
pub fn reachable() -> Vec<Exit> {
    let other = |exit: &&Exit| OTHER_CIRCUMSTANCES.iter().any(|(one, _)| one == *exit);
    Exit::ALL
        .iter()
        .filter(|exit| !other(exit))
        .copied()
        .collect()
}
