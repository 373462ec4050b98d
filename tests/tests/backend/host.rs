//! The decision on the host: maps made of an image, sockets made up.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use anylb::backend::image::{Image, Wanted};
use lb_common::abi::VipBucket;
use lb_common::backend::{self, Exit, Flow, Found, Gone, Sockets, Tables, Whole};
use lb_common::backend_abi::{Config, Macs, ServiceBucket};
use lb_common::frame::Frame;
use lb_common::packet::{Packet, View};

/// A backend's maps, sockets and budget.
pub struct Host {
    pub image: Image,
    pub next_hops: BTreeMap<[u64; 2], Macs>,
    /// What every lookup finds.
    pub found: Found,
    pub budget: Cell<u32>,
    /// Whether a lookup was allowed to check a cookie.
    pub cookie_asked: Cell<bool>,
    /// The last flow looked up.
    pub flow: Cell<Option<Flow>>,
    /// Where first parts have gone.
    pub gone: RefCell<Vec<(Whole, Gone)>>,
}

impl Host {
    pub fn new(wanted: &Wanted) -> Self {
        Self {
            image: Image::new(wanted).expect("it fits"),
            next_hops: BTreeMap::new(),
            found: Found::Nothing,
            budget: Cell::new(u32::MAX),
            cookie_asked: Cell::new(false),
            flow: Cell::new(None),
            gone: RefCell::new(Vec::new()),
        }
    }

    /// Where `packet` leaves, and as what.
    pub fn run(&self, packet: &[u8]) -> (Exit, Vec<u8>) {
        let mut frame = Frame::new(packet).expect("a packet of a test");
        let exit = backend::run(&mut frame, self, self);
        (exit, frame.bytes().to_vec())
    }

    /// Where it leaves if the kernel has joined it of several.
    pub fn run_joined(&self, packet: &[u8]) -> Exit {
        let mut joined = Joined(Frame::new(packet).expect("a packet of a test"));
        backend::run(&mut joined, self, self)
    }
}

/// A packet that the kernel has joined of several.
struct Joined(Frame);

impl Packet for Joined {
    fn get<T: View>(&self, offset: usize) -> Option<&T> {
        self.0.get(offset)
    }

    fn get_at<T: View>(&self, offset: usize) -> Option<&T> {
        self.0.get_at(offset)
    }

    fn get_mut<T: View>(&mut self, offset: usize) -> Option<&mut T> {
        self.0.get_mut(offset)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn grow(&mut self, by: i32) -> bool {
        self.0.grow(by)
    }

    fn is_joined(&self) -> bool {
        true
    }
}

impl Tables for Host {
    fn config(&self) -> Option<&Config> {
        Some(&self.image.config)
    }

    fn vips(&self, index: u32) -> Option<&VipBucket> {
        const EMPTY: &VipBucket = &VipBucket {
            entries: [lb_common::abi::VipEntry {
                address: [0; 2],
                kind: 0,
                id: 0,
            }; 4],
        };
        Some(self.image.vips.get(&index).unwrap_or(EMPTY))
    }

    fn prefix(&self, address: [u64; 2]) -> u32 {
        backend::around(self, &self.image.config, address)
    }

    fn services(&self, index: u32) -> Option<&ServiceBucket> {
        self.image.services.get(&index)
    }

    fn next_hop(&self, address: [u64; 2]) -> Option<Macs> {
        self.next_hops.get(&address).copied()
    }

    fn spend(&self) -> bool {
        let left = self.budget.get();
        self.budget.set(left.saturating_sub(1));
        left > 0
    }

    fn remember(&self, whole: &Whole, gone: Gone) {
        let mut all = self.gone.borrow_mut();
        all.retain(|(known, _)| known != whole);
        all.push((*whole, gone));
    }

    fn recall(&self, whole: &Whole) -> Option<Gone> {
        let gone = self.gone.borrow();
        gone.iter()
            .find_map(|(known, gone)| (known == whole).then_some(*gone))
    }
}

impl<P: Packet> Sockets<P> for Host {
    fn connected(&self, flow: &Flow) -> bool {
        self.flow.set(Some(*flow));
        self.found == Found::Live
    }

    fn tcp(&self, _: &P, flow: &Flow, headers: Option<(usize, usize)>) -> Found {
        self.flow.set(Some(*flow));
        self.cookie_asked.set(headers.is_some());
        self.found
    }
}
