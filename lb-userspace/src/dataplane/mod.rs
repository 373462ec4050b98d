//! The LB node's programs and maps in the kernel: load or adopt, read, apply, probe, leave. No other module of the agent's LB
//! side knows aya.
//!
//! | file | holds |
//! |---|---|
//! | [`error`] | every way it fails, one line that says what to do |
//! | [`objects`] | the compiled programs |
//! | `maps` | shapes of the maps, opening and checking pins |
//! | `pins` | the directory of pins: locked, checked, cleared |
//! | [`privileges`] | what this process may do |
//! | `root` | which bank is in use |
//! | `memory` | arrays through memory |
//! | `link` | XDP links by their own system calls |
//! | [`probe`] | the loaded program on a packet of our own |
//! | [`features`] | what of BPF this kernel can do |
//! | `inventory` | maps and programs as the kernel describes them |
//! | `counters` | sums over CPUs |
//! | `alarm` | an end to a long system call |
//! | `flows` | size and pin of the flow table |
//! | [`generator`] | the load of `anylb bench`, on an interface of its own |
//! | [`guard`] | whether the pinned program forwards, without the agent |
//! | `filters` | maps of allow and deny lists |
//! | `inner` | maps of any size in an outer one |
//! | [`layout`] | where maps of this layout are pinned, and those of others |
//! | `log` | lines that the programs log |
//! | `next` | who gets what the program passes, and which program that makes it |
//! | `slot` | the place of another program behind the LB node's |
//! | `trace` | the program that tells of packets, while somebody watches |
//!
//! What is pinned under `pin_dir` outlives the agent: `links/INTERFACE`, `flows/SIZE-SHAPE`, and in a directory `abi-LAYOUT` of their
//! own `maps/NAME`, `tables/N`, `filters/N`, `buckets/N`. An agent that starts finds the
//! pins of its layout, checks their shape, reads the state back, and replaces the program by link update; where there are only those of
//! another layout, the program is replaced once the new maps hold everything. A datapath that was
//! never switched on goes away with its value, so that a start which fails leaves nothing.

#![allow(
    unsafe_code,
    reason = "system calls and map memory; each block states what proves it"
)]

mod alarm;
pub(crate) mod counters;
pub mod error;
pub mod features;
mod filters;
mod flows;
pub mod generator;
pub mod guard;
mod inner;
pub(crate) mod inventory;
pub mod jiffies;
pub mod layout;
pub(crate) mod link;
mod log;
pub(crate) mod maps;
mod memory;
mod next;
pub mod objects;
mod offloads;
pub(crate) mod pins;
pub mod privileges;
pub mod probe;
mod root;
pub(crate) mod slot;
mod trace;
pub(crate) mod xdp;

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::maps::{Array, ArrayOfMaps, MapData, PerCpuArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use aya_obj::programs::XdpAttachType;
use lb_common::abi::{self, Backend, Bank, Root, ServiceExtra, Shared, VipBucket};
use lb_common::lb::trace::{Asked, Untold};
use lb_common::prefix;
use lb_common::sources::Sources;

pub use counters::DatapathCounters;
pub use error::DataplaneError;
pub use log::BpfLog;
pub use memory::{keep_tables_apart, release_heap};
pub use next::Next;
pub use trace::Traced;

use crate::model::XdpMode;
use crate::plan::{Image, Observed, Op, Seeds};
use filters::Filters;
use flows::Flows;
use inner::Inner;
use link::Link;
use log::Lines;
use memory::{Mappable, put_back};
use next::{Behind, Role};
use pins::Pins;
use root::RootMap;
use trace::Trace;

/// Where and how the datapath runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of the pins, on a BPF file system.
    pub pin_dir: PathBuf,
    /// The interfaces that carry VIP traffic; none: loaded and pinned, but not attached (benchmarks and tests).
    pub interfaces: Vec<String>,
    /// How the program hangs on them.
    pub mode: XdpMode,
    /// Who gets what is not for a VIP.
    pub next: Next,
    /// Flows that each CPU can remember for pools in mode `flow-table`.
    pub flow_table_entries: u32,
}

/// A loaded, pinned and attached datapath.
pub struct Dataplane {
    mode: XdpMode,
    /// Of the object's programs the one that is loaded.
    role: Role,
    log: BpfLog,
    flows: Flows,
    /// Buckets, of one CPU after the other.
    remembered: Array<MapData, [u64; 8]>,
    /// What it logs.
    lines: Option<Lines>,
    /// The program behind it; none: it is not ours to put there.
    behind: Option<Behind>,
    /// With the link to each, where there is one.
    links: BTreeMap<String, Option<Link>>,
    loaded: Xdp,
    root: RootMap,
    banks: Mappable<Bank>,
    tables: ArrayOfMaps<MapData, Array<MapData, abi::TableWords>>,
    inner: BTreeMap<u32, Table>,
    filters: Filters,
    /// Of services with rates, by their counter.
    buckets: Inner<u64>,
    counters: counters::Maps,
    adopted: bool,
    /// While somebody watches: its program is the one on the interfaces.
    trace: Option<Trace>,
    pins: Pins,
}

/// Rows of a pool.
struct Table {
    /// For the outer map.
    map: Array<MapData, abi::TableWords>,
    rows: Mappable<abi::Table>,
}

impl Dataplane {
    /// Loads the program and finds what a former agent left pinned. Nothing that a packet sees changes before
    /// [`Dataplane::attach`].
    pub fn open(options: &Options) -> Result<Self, DataplaneError> {
        Self::open_logging(options, BpfLog::Off)
    }

    /// The same, with a program that logs.
    pub fn open_logging(options: &Options, log: BpfLog) -> Result<Self, DataplaneError> {
        let pins = Pins::open(&options.pin_dir)?;
        let flows = Flows::new(options.flow_table_entries)?;
        flows.check(&options.pin_dir, &pins.flows())?;
        let mut object = load_object(&pins, UNUSED_RING, log, flows)?;
        let role = options.next.role();
        let program = role.program(log);
        load_program(&mut object, program)?;
        let loaded = alone(&mut object, program, &pins)?;
        let lines = log.lines(&mut object)?;
        let mut links = BTreeMap::new();
        for name in &options.interfaces {
            links.insert(name.clone(), xdp::find(&pins.links(), name)?);
        }
        Ok(Self {
            root: RootMap::take(&mut object)?,
            banks: Mappable::new(maps::take_array(&mut object, "BANKS")?, "BANKS"),
            counters: counters::Maps::new(&mut object)?,
            tables: maps::of(&mut object, "TABLES")?,
            inner: open_tables(&pins.tables())?,
            filters: Filters::open(&mut object, pins.filters())?,
            buckets: Inner::open(&mut object, "BUCKETS", 0, pins.buckets())?,
            mode: options.mode,
            role,
            log,
            flows,
            remembered: maps::of(&mut object, flows::MAP)?,
            lines,
            behind: options.next.behind(&options.pin_dir)?,
            adopted: pins.kept() || pins.beside() && links.values().any(Option::is_some),
            links,
            trace: None,
            loaded,
            pins,
        })
    }

    /// Puts the program on every interface: in the place of a former agent's without a gap, or where there was none. One that
    /// fails keeps the others from nothing. Interfaces that a former agent used lose theirs.
    pub fn attach(&mut self) -> Result<(), DataplaneError> {
        if let Some(behind) = &mut self.behind {
            behind.fill()?;
        }
        let program = live(&self.loaded, self.trace.as_ref())?.fd();
        let program = program.map_err(DataplaneError::load)?.as_fd();
        let mut outcome = Ok(());
        let directory = self.pins.links();
        for (interface, link) in &mut self.links {
            let attached = xdp::attach(self.mode, link, &directory, interface, program);
            outcome = outcome.and(attached.map_err(DataplaneError::beside));
        }
        outcome?;
        self.flows.remove_others(&self.pins.flows())?;
        if !self.links.is_empty() {
            let used = self.links.iter().filter_map(|(name, link)| {
                let hook = link.as_ref()?.hook();
                Some(xdp::pin(&directory, name, hook))
            });
            self.pins.remove_links_but(&used.collect())?;
        }
        self.pins.remove_others()
    }

    /// Whether a former agent's datapath was found.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Whether a former agent's maps are of another layout: its program stays until [`Dataplane::attach`], which is for when the new
    /// maps hold everything.
    pub fn is_beside(&self) -> bool {
        self.pins.beside()
    }

    /// The XDP program on the interfaces, for test runs.
    fn program(&self) -> Result<&Xdp, DataplaneError> {
        live(&self.loaded, self.trace.as_ref())
    }

    /// File descriptor of the loaded program, for measuring.
    pub fn program_fd(&self) -> Result<std::os::fd::BorrowedFd<'_>, DataplaneError> {
        Ok(self.program()?.fd().map_err(DataplaneError::load)?.as_fd())
    }

    /// Whether every interface carries our program, or that of the agent before.
    pub fn attached(&self) -> bool {
        !self.links.is_empty() && self.links.keys().all(|name| self.attached_to(name))
    }

    /// Whether this one does.
    pub fn attached_to(&self, interface: &str) -> bool {
        let link = self.links.get(interface);
        link.is_some_and(|link| link.as_ref().is_some_and(Link::is_attached))
    }

    /// How the program hangs on an interface, in the words of `node.xdp_mode`.
    pub fn mode_on(&self, interface: &str) -> Option<&'static str> {
        Some(self.links.get(interface)?.as_ref()?.hook().mode())
    }

    /// What the kernel holds: the bank in use and the tables it points to.
    pub fn observed(&self) -> Result<Observed, DataplaneError> {
        let root = self.root.read()?;
        let existing = self.inner.keys().copied().collect();
        let filters = self.filters.slots();
        let buckets = self.buckets.sizes().clone();
        if root.abi_version == 0 {
            return Ok(Observed {
                existing,
                filters,
                buckets,
                ..Observed::default()
            });
        }
        let banks = self.banks.map()?;
        let bank = banks.get(root.bank).ok_or(NO_BANK)?;
        let vips = bank.vips.iter().flat_map(|bucket| bucket.entries);
        let services = bank.services.iter().flat_map(|bucket| bucket.entries);
        let services: Vec<_> = services.filter(|entry| entry.key != 0).collect();
        let used = bank
            .backends
            .iter()
            .rposition(|backend| backend.address[1] != 0)
            .map_or(0, |last| last + 1);
        let mut image = Image {
            shared: Shared {
                vip_seed: 0,
                service_seed: 0,
                bank: 0,
                ..bank.shared
            },
            vips: vips
                .filter(|entry| entry.kind != abi::kind::EMPTY)
                .collect(),
            backends: bank.backends[..used].to_vec(),
            extras: (0..)
                .zip(bank.extras.iter().copied())
                .filter(|(_, extra)| *extra != ServiceExtra::default())
                .collect(),
            ..Image::default()
        };
        for service in &services {
            let index = service.table;
            if let Some(table) = self.inner.get(&index)
                && !image.tables.contains_key(&index)
            {
                let memory = table.rows.map()?;
                let rows = memory.get(0).ok_or(NO_TABLE)?.rows().into();
                image.tables.insert(index, rows);
            }
        }
        image.services = services;
        Ok(Observed {
            bank: root.bank,
            image: Some(image.sorted()),
            existing,
            filters,
            buckets,
        })
    }

    /// Carries out `ops` in order, but zeroes counters first and retires others last. On an error the bank in use is unchanged, or
    /// already the new one: plan again from [`Dataplane::observed`].
    pub fn apply(&mut self, ops: &[Op]) -> Result<(), DataplaneError> {
        self.counters.zero(ops)?;
        for op in ops {
            match op {
                Op::CreateTable { index } => self.create_table(*index)?,
                Op::FillTable { index, rows } => self.fill_table(*index, rows)?,
                Op::FillFilter { slot, elements } => self.filters.fill(*slot, elements)?,
                Op::DropFilter { slot } => self.filters.drop(*slot)?,
                Op::MakeBuckets { service, buckets } => self.buckets.make(*service, *buckets)?,
                Op::DropBuckets { service } => self.buckets.drop(*service)?,
                Op::ZeroServiceCounter { .. }
                | Op::ZeroBackendCounters { .. }
                | Op::RetireBackendCounters { .. } => {}
                Op::FillBank { bank, image, seeds } => self.fill_bank(*bank, image, seeds)?,
                Op::Switch { bank } => self.switch(*bank)?,
                Op::Barrier => self.barrier()?,
            }
        }
        self.counters.retire(ops)
    }

    /// Flows that the flow table can remember.
    pub fn flow_capacity(&self) -> u64 {
        self.flows.capacity()
    }

    /// Counters, summed over CPUs.
    pub fn counters(&self) -> Result<DatapathCounters, DataplaneError> {
        self.counters
            .read(self.links.iter().filter_map(|(name, link)| {
                let link = link.as_ref()?;
                Some((name.as_str(), link.ifindex()))
            }))
    }

    /// From now on packets are told of; that ends by itself after `lease_ns` without [`Dataplane::traced`].
    pub fn begin_trace(&mut self, wanted: Asked, lease_ns: u64) -> Result<(), DataplaneError> {
        let mut trace = Trace::load(&self.pins, self.role, self.log, self.flows, wanted)?;
        trace.renew(lease_ns)?;
        self.trace = Some(trace);
        let attached = self.attach();
        if attached.is_err() {
            // Some interfaces may carry it.
            self.end_trace()?;
        }
        attached
    }

    /// Hands on to the agent's log what the program has logged.
    pub fn flush_log(&mut self) {
        let traced = self.trace.as_mut().and_then(|trace| trace.lines.as_mut());
        for lines in self.lines.iter_mut().chain(traced) {
            lines.flush();
        }
    }

    /// Packets that were told of since the last time, `most` at most, and what could not be told since the beginning.
    pub fn traced(
        &mut self,
        most: usize,
        lease_ns: u64,
    ) -> Result<(Vec<Traced>, Untold), DataplaneError> {
        let trace = self.trace.as_mut().ok_or(NO_TRACE)?;
        trace.renew(lease_ns)?;
        Ok((trace.take(most), trace.untold()?))
    }

    /// Nothing is told any more, but for what is returned. Without a trace there is nothing to do.
    pub fn end_trace(&mut self) -> Result<(Vec<Traced>, Untold), DataplaneError> {
        let Some(mut trace) = self.trace.take() else {
            return Ok(<_>::default());
        };
        if let Err(error) = self.attach() {
            // It is still there, on some interfaces at least.
            self.trace = Some(trace);
            return Err(error);
        }
        Ok((trace.take(usize::MAX), trace.untold()?))
    }

    /// Ends the datapath: the program comes off its interfaces and every pin goes away.
    pub fn remove(self) -> Result<(), DataplaneError> {
        self.pins.remove()
    }

    /// The table is in the outer map before it is pinned: a pinned one needs nothing more when it is adopted.
    fn create_table(&mut self, index: u32) -> Result<(), DataplaneError> {
        let pin = self.pins.tables().join(index.to_string());
        let map = Array::<MapData, abi::TableWords>::create(1, maps::MAPPABLE)
            .map_err(DataplaneError::map("table"))?;
        self.tables
            .set(index, &map, 0)
            .map_err(DataplaneError::map("TABLES"))?;
        map.pin(&pin).map_err(|error| DataplaneError::Pin {
            path: pin.clone(),
            source: std::io::Error::other(error),
        })?;
        self.inner.insert(index, Table::open(&pin)?);
        Ok(())
    }

    fn fill_table(&self, index: u32, rows: &[u64]) -> Result<(), DataplaneError> {
        let table = self
            .inner
            .get(&index)
            .ok_or(DataplaneError::NoTable(index))?;
        let mut memory = table.rows.map()?;
        let table = memory.get_mut(0).ok_or(NO_TABLE)?;
        for (number, row) in (0..).zip(rows) {
            table.set(number, *row);
        }
        Ok(())
    }

    /// Only what differs is written: the pages of what stays the same stay untouched.
    fn fill_bank(
        &mut self,
        number: u32,
        image: &Image,
        seeds: &Seeds,
    ) -> Result<(), DataplaneError> {
        let mut banks = self.banks.map()?;
        let bank = banks.get_mut(number).ok_or(NO_BANK)?;
        bank.sources = Sources::of(&image.vips);
        let vips = seeds.vip_buckets(&image.vips);
        for (word, buckets) in bank.occupied.iter_mut().zip(vips.chunks(64)) {
            *word = occupied(buckets);
        }
        write_changed(&mut bank.vips, vips);
        bank.prefixes = prefix::lengths(&image.vips);
        write_changed(&mut bank.services, seeds.service_buckets(image));
        let nothing = std::iter::repeat(Backend::default());
        write_changed(
            &mut bank.backends,
            image.backends.iter().copied().chain(nothing),
        );
        let extras = (0..abi::SERVICE_COUNTERS_MAX)
            .map(|counter| image.extras.get(&counter).copied().unwrap_or_default());
        write_changed(&mut bank.extras, extras);
        bank.shared = Shared {
            bank: number,
            ..seeds.shared(&image.shared)
        };
        Ok(())
    }

    fn switch(&mut self, bank: u32) -> Result<(), DataplaneError> {
        self.root.write(Root {
            bank,
            abi_version: abi::ABI_VERSION,
        })?;
        self.pins.keep();
        Ok(())
    }

    /// Waits until every packet that saw the former root has left: an update of the outer map waits for RCU.
    fn barrier(&mut self) -> Result<(), DataplaneError> {
        let Some(table) = self.inner.values().next() else {
            return Ok(());
        };
        self.tables
            .set(abi::TABLE_BARRIER, &table.map, 0)
            .map_err(DataplaneError::map("TABLES"))
    }
}

const NO_BANK: DataplaneError = DataplaneError::Object("the root names no bank");
const NO_TABLE: DataplaneError = DataplaneError::Object("a table holds no rows");
const NO_TRACE: DataplaneError = DataplaneError::Object("nobody traces");
/// Bytes of the ring for packets where nobody watches: the kernel has none smaller.
const UNUSED_RING: u32 = 1;
const NO_PROGRAM: DataplaneError = DataplaneError::Object("an XDP program is missing");

/// A bit for every bucket that is not empty.
fn occupied(buckets: &[VipBucket]) -> u64 {
    let full = |bucket: &VipBucket| u64::from(bucket.entries[0].kind != abi::kind::EMPTY);
    (0..)
        .zip(buckets)
        .map(|(bit, bucket)| full(bucket) << bit)
        .sum()
}

fn write_changed<T: PartialEq>(places: &mut [T], values: impl IntoIterator<Item = T>) {
    for (place, value) in places.iter_mut().zip(values) {
        if *place != value {
            *place = value;
        }
    }
}

impl Table {
    fn open(path: &Path) -> Result<Self, DataplaneError> {
        let pinned = || MapData::from_pin(path).map_err(DataplaneError::map("table"));
        let map = aya::maps::Map::from_map_data(pinned()?).map_err(DataplaneError::map("table"))?;
        Ok(Self {
            map: map.try_into().map_err(DataplaneError::map("table"))?,
            rows: Mappable::new(pinned()?, "table"),
        })
    }
}

fn open_tables(directory: &Path) -> Result<BTreeMap<u32, Table>, DataplaneError> {
    let mut tables = BTreeMap::new();
    for index in maps::numbered_pins(directory)? {
        tables.insert(index, Table::open(&directory.join(index.to_string()))?);
    }
    Ok(tables)
}

fn program_of<'o>(object: &'o Ebpf, name: &str) -> Result<&'o Xdp, DataplaneError> {
    object
        .program(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(NO_PROGRAM)
}

/// A loaded program without its object, which holds the instructions and line numbers of all others as well: more than a megabyte.
/// The library gives one out by a pin alone.
fn alone(object: &mut Ebpf, name: &str, pins: &Pins) -> Result<Xdp, DataplaneError> {
    let path = pins.program();
    pins::remove_pin(&path)?;
    let pinned = program_mut(object, name)?.pin(&path);
    pinned.map_err(|error| DataplaneError::pin(path.clone())(std::io::Error::other(error)))?;
    let program = Xdp::from_pin(&path, XdpAttachType::Interface).map_err(DataplaneError::load);
    pins::remove_pin(&path)?;
    program
}

/// The program that interfaces carry.
fn live<'o>(loaded: &'o Xdp, trace: Option<&'o Trace>) -> Result<&'o Xdp, DataplaneError> {
    match trace {
        Some(trace) => program_of(&trace.object, trace.program),
        None => Ok(loaded),
    }
}

/// `ring_bytes`: of the ring for packets.
fn load_object(
    pins: &Pins,
    ring_bytes: u32,
    log: BpfLog,
    flows: Flows,
) -> Result<Ebpf, DataplaneError> {
    let maps_dir = &pins.maps();
    let mut loader = EbpfLoader::new();
    // Nothing in the object is relocated by the kernel's types, which take megabytes to read.
    loader.btf(None);
    for shape in &maps::SHAPES {
        loader.map_pin_path(shape.name, maps_dir.join(shape.name));
    }
    loader.map_pin_path(root::SECTION, maps_dir.join(root::PIN));
    // The loader writes variables, in a map that it found pinned too: the value that is there.
    let root: u64 = zerocopy::transmute!(RootMap::pinned(maps_dir)?);
    loader.override_global("ROOT", &root, true);
    for map in slot::MAPS {
        loader.map_pin_path(map, maps_dir.join(map));
    }
    loader.map_pin_path(flows::MAP, flows.path(&pins.flows()));
    loader.map_max_entries(flows::MAP, flows.max_entries());
    loader.map_max_entries(counters::MAP, counters::cpu_entries()?);
    loader.override_global("FLOW_BUCKETS", &flows.buckets, true);
    loader.override_global("TICK_SHIFT", &flows.tick_shift, true);
    let level = log.level();
    loader.override_global(aya_log::LEVEL, &level, true);
    loader.map_max_entries(log::MAP, log.bytes());
    loader.map_max_entries("TRACE", ring_bytes);
    loader.override_global("FRAGS", &*objects::FRAGS, true);
    let loaded = loader.load(&objects::loadable(objects::LB));
    put_back(objects::LB);
    loaded.map_err(DataplaneError::object)
}

fn load_program(object: &mut Ebpf, name: &str) -> Result<(), DataplaneError> {
    let program = program_mut(object, name)?;
    program.load().map_err(DataplaneError::load)
}

fn program_mut<'o>(object: &'o mut Ebpf, name: &str) -> Result<&'o mut Xdp, DataplaneError> {
    object
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(NO_PROGRAM)
}

pub(crate) type PerCpu<T> = PerCpuArray<MapData, T>;
