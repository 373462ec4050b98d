//! The backend's programs and maps in the kernel. No other file of this module knows aya.
//!
//! Only the links are pinned: they hold the programs, and those their maps, with or without an agent. An agent that starts, or
//! has another configuration, loads everything anew and puts it in place of the old by one link update.

#![allow(
    unsafe_code,
    reason = "wrappers for map values; each block states what proves it"
)]

mod egress;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData, MapError, RingBuf};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, TestRunResult, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use lb_common::abi::{ExitCount, VipBucket};
use lb_common::backend::Exit;
use lb_common::backend_abi::{Config, Macs, ServiceBucket};
use zerocopy::FromBytes as _;

use self::egress::Egress;
use super::image::Image;
use super::kernel_types::Offsets;
use crate::dataplane::counters::{self, Cell};
use crate::dataplane::inventory;
use crate::dataplane::link::{Hook, Link};
use crate::dataplane::maps::{prepare_directory, take};
use crate::dataplane::pins::remove_pin;
use crate::dataplane::slot::Slot;
use crate::dataplane::xdp;
use crate::dataplane::{DataplaneError, PerCpu, release_heap};
use crate::model::XdpMode;
use crate::plan::desired::{address_of, words};
use crate::status::BpfState;

/// The object of the backend, built by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/backend.o"));

const XDP: &str = "backend";
const TC: &str = "backend_mss";

/// A map value as aya wants it.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
struct Value<T>(T);

// SAFETY: plain integers without padding, as zerocopy's `IntoBytes` proves in lb-common; so for all of these.
unsafe impl Pod for Value<Config> {}
// SAFETY: as above.
unsafe impl Pod for Value<VipBucket> {}
// SAFETY: as above.
unsafe impl Pod for Value<ServiceBucket> {}
// SAFETY: as above.
unsafe impl Pod for Value<Macs> {}

/// Programs and maps, loaded with one image.
pub struct Datapath {
    object: Ebpf,
    config: Array<MapData, Value<Config>>,
    vips: Array<MapData, Value<VipBucket>>,
    services: Array<MapData, Value<ServiceBucket>>,
    next_hops: HashMap<MapData, [u64; 2], Value<Macs>>,
    wanted: RingBuf<MapData>,
    exits: PerCpu<Cell<ExitCount>>,
    /// Every map by name, to ask the kernel about it.
    maps: Vec<(String, OwnedFd)>,
    links: Option<Links>,
}

/// How packets come to the XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It hangs on the interface.
    Interface(XdpMode),
    /// The LB node's program of this box hands them on.
    LbNode,
}

/// What holds the programs.
struct Links {
    directory: PathBuf,
    xdp: Seat,
    interface: String,
    mss: Option<Egress>,
}

/// What holds the XDP program.
enum Seat {
    /// A link to the interface, where there is one.
    Link(Option<Link>),
    /// The LB node's program.
    Slot(Slot),
}

impl Seat {
    fn holds(&self, program: u32) -> bool {
        match self {
            Seat::Link(link) => link.as_ref().is_some_and(Link::is_attached),
            Seat::Slot(slot) => slot.program_id() == Some(program),
        }
    }
}

impl Datapath {
    /// Loads the programs and fills their maps; nothing is attached yet.
    pub fn load(image: &Image, offsets: Offsets) -> Result<Self, DataplaneError> {
        let mut object = EbpfLoader::new()
            // Nothing in the object is relocated by the kernel's types, which take megabytes to read.
            .btf(None)
            .override_global("SENT_ISN", &offsets.sent_isn, true)
            .override_global("TIME_WAIT_SUBSTATE", &offsets.time_wait_substate, true)
            .load(OBJECT)
            .map_err(DataplaneError::object)?;
        // First the programs: from then on they hold their maps.
        xdp_program(&mut object)?
            .load()
            .map_err(DataplaneError::load)?;
        tc(&mut object)?.load().map_err(DataplaneError::load)?;
        let maps = descriptors(&object).map_err(DataplaneError::pin("/proc/self/fdinfo".into()))?;
        let vips = image.vips.iter();
        let vips = fill(&mut object, "VIPS", vips.map(|(i, vip)| (*i, Value(*vip))))?;
        let services = image.services.iter();
        let services = services.map(|(i, service)| (*i, Value(*service)));
        let services = fill(&mut object, "SERVICES", services)?;
        let config = fill(&mut object, "CONFIG", [(0, Value(image.config))])?;
        // Loading takes megabytes for a moment.
        release_heap();
        Ok(Self {
            config,
            vips,
            services,
            next_hops: of(&mut object, "NEXT_HOPS")?,
            wanted: of(&mut object, "WANTED")?,
            exits: of(&mut object, "EXITS")?,
            object,
            maps,
            links: None,
        })
    }

    /// Puts the programs on the interface, in place of those that an agent before has left there under `pin_dir`. True where
    /// there were any.
    pub fn attach(
        &mut self,
        pin_dir: &Path,
        entry: Entry,
        interface: &str,
        lower_mss: bool,
    ) -> Result<bool, DataplaneError> {
        prepare_directory(pin_dir, &["backend"])?;
        let directory = pin_dir.join("backend");
        let (xdp_pins, mss_pin) = (directory.join("xdp"), directory.join("mss"));
        prepare_directory(&directory, &["xdp"])?;
        let program = xdp_program(&mut self.object)?
            .fd()
            .map_err(DataplaneError::load)?;
        let (seat, adopted) = match entry {
            Entry::Interface(mode) => {
                let mut link = xdp::find(&xdp_pins, interface)?;
                let adopted = link.is_some();
                xdp::attach(mode, &mut link, &xdp_pins, interface, program.as_fd())?;
                (Seat::Link(link), adopted)
            }
            Entry::LbNode => {
                let mut slot = Slot::open(pin_dir)?;
                let adopted = slot.program_id().is_some();
                slot.put(program)?;
                (Seat::Slot(slot), adopted)
            }
        };
        let mss = if lower_mss {
            Some(Egress::attach(tc(&mut self.object)?, &mss_pin, interface)?)
        } else {
            egress::remove(&mss_pin, interface)?;
            None
        };
        self.links = Some(Links {
            directory,
            xdp: seat,
            interface: interface.to_owned(),
            mss,
        });
        Ok(adopted)
    }

    /// Puts the TC program alone on the interface, the way of kernels without TCX.
    pub fn attach_filter(&mut self, interface: &str) -> Result<(), DataplaneError> {
        Egress::filter(tc(&mut self.object)?, interface).map(drop)
    }

    /// Whether the programs still are where they were put.
    pub fn is_attached(&self) -> bool {
        let info = self.xdp_loaded().ok().and_then(|xdp| xdp.info().ok());
        self.links.as_ref().is_some_and(|links| {
            info.is_some_and(|info| links.xdp.holds(info.id()))
                && links.mss.as_ref().is_none_or(Egress::is_attached)
        })
    }

    /// How the XDP program hangs there, in the words of `node.xdp_mode`.
    pub fn mode(&self) -> &'static str {
        match self.links.as_ref().map(|links| &links.xdp) {
            Some(Seat::Link(Some(link))) => link.hook().mode(),
            _ => Hook::Native.mode(),
        }
    }

    /// Takes the programs off the interface.
    pub fn detach(mut self) -> Result<(), DataplaneError> {
        let Some(mut links) = self.links.take() else {
            return Ok(());
        };
        let pins = links.directory.join("xdp");
        match &mut links.xdp {
            Seat::Link(Some(link)) => {
                remove_pin(&xdp::pin(&pins, &links.interface, link.hook()))?;
            }
            Seat::Link(None) => {}
            Seat::Slot(slot) => slot.clear()?,
        }
        fs::remove_dir(&pins).map_err(DataplaneError::pin(pins))?;
        egress::remove(&links.directory.join("mss"), &links.interface)?;
        fs::remove_dir(&links.directory).map_err(DataplaneError::pin(links.directory))
    }

    /// Says anew which services of a bucket are blind. Only the words `blind` may differ from what is there.
    pub fn set_services(
        &mut self,
        index: u32,
        bucket: ServiceBucket,
    ) -> Result<(), DataplaneError> {
        self.services
            .set(index, Value(bucket), 0)
            .map_err(DataplaneError::map("SERVICES"))
    }

    /// The way to another backend; `None`: not known any more.
    pub fn set_next_hop(
        &mut self,
        backend: IpAddr,
        macs: Option<Macs>,
    ) -> Result<(), DataplaneError> {
        let changed = match macs {
            Some(macs) => self.next_hops.insert(words(backend), Value(macs), 0),
            None => match self.next_hops.remove(&words(backend)) {
                Err(MapError::KeyNotFound) => Ok(()),
                removed => removed,
            },
        };
        changed.map_err(DataplaneError::map("NEXT_HOPS"))
    }

    /// The next backend that packets should have gone to and whose way was not known, if any is left to tell.
    pub fn next_wanted(&mut self) -> Option<IpAddr> {
        let item = self.wanted.next()?;
        let (address, _) = <[u64; 2]>::read_from_prefix(&item).ok()?;
        Some(address_of(address))
    }

    /// A descriptor that is readable where [`Datapath::next_wanted`] has something to tell.
    pub fn wanted_fd(&self) -> io::Result<OwnedFd> {
        self.wanted.as_fd().try_clone_to_owned()
    }

    /// What the maps hold now.
    pub fn observed(&self) -> Result<Image, DataplaneError> {
        let Value(config) = self
            .config
            .get(&0, 0)
            .map_err(DataplaneError::map("CONFIG"))?;
        Ok(Image {
            config,
            vips: filled(&self.vips, "VIPS")?,
            services: filled(&self.services, "SERVICES")?,
        })
    }

    /// The way to another backend, as the map has it.
    pub fn next_hop(&self, backend: IpAddr) -> Result<Option<Macs>, DataplaneError> {
        match self.next_hops.get(&words(backend), 0) {
            Ok(Value(macs)) => Ok(Some(macs)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(DataplaneError::map("NEXT_HOPS")(error)),
        }
    }

    /// Packets and bytes of every exit, summed over CPUs.
    pub fn exits(&self) -> Result<Vec<(Exit, ExitCount)>, DataplaneError> {
        let count = |exit: &Exit| {
            let sum = counters::sum(&self.exits, *exit as u32, "EXITS")?;
            Ok((*exit, sum))
        };
        Exit::ALL.iter().map(count).collect()
    }

    /// Maps and programs as the kernel describes them.
    pub fn inventory(&self) -> Result<BpfState, DataplaneError> {
        let maps = self
            .maps
            .iter()
            .map(|(name, fd)| inventory::describe(name, fd.as_fd()));
        let stats_enabled = inventory::stats_enabled();
        let xdp = self.xdp_loaded()?.info().map_err(DataplaneError::load)?;
        let mss = self.mss_loaded()?.info().map_err(DataplaneError::load)?;
        Ok(BpfState {
            maps: maps
                .collect::<io::Result<_>>()
                .map_err(DataplaneError::pin("/proc/self/fdinfo".into()))?,
            programs: vec![
                inventory::program(&xdp, "xdp", stats_enabled),
                inventory::program(&mss, "tc", stats_enabled),
            ],
            stats_enabled,
        })
    }

    /// Runs the XDP program on `packet` (from the Ethernet header on) in the namespace of the calling thread, as received on
    /// its loopback interface: action and packet out.
    pub fn run(&self, packet: &[u8]) -> Result<(u32, Vec<u8>), DataplaneError> {
        test_run(self.xdp_loaded()?, packet)
    }

    /// Runs the TC program likewise.
    pub fn run_mss(&self, packet: &[u8]) -> Result<(u32, Vec<u8>), DataplaneError> {
        test_run(self.mss_loaded()?, packet)
    }

    /// File descriptor of the loaded XDP program, for measuring.
    pub fn program_fd(&self) -> Result<BorrowedFd<'_>, DataplaneError> {
        Ok(self
            .xdp_loaded()?
            .fd()
            .map_err(DataplaneError::load)?
            .as_fd())
    }

    fn mss_loaded(&self) -> Result<&SchedClassifier, DataplaneError> {
        self.object
            .program(TC)
            .and_then(|program| program.try_into().ok())
            .ok_or(DataplaneError::Object("no TC program named backend_mss"))
    }

    fn xdp_loaded(&self) -> Result<&Xdp, DataplaneError> {
        self.object
            .program(XDP)
            .and_then(|program| program.try_into().ok())
            .ok_or(DataplaneError::Object("no XDP program named backend"))
    }
}

fn xdp_program(object: &mut Ebpf) -> Result<&mut Xdp, DataplaneError> {
    object
        .program_mut(XDP)
        .and_then(|program| program.try_into().ok())
        .ok_or(DataplaneError::Object("no XDP program named backend"))
}

fn tc(object: &mut Ebpf) -> Result<&mut SchedClassifier, DataplaneError> {
    object
        .program_mut(TC)
        .and_then(|program| program.try_into().ok())
        .ok_or(DataplaneError::Object("no TC program named backend_mss"))
}

/// Descriptors of the maps of an object, in the order of their names.
fn descriptors(object: &Ebpf) -> io::Result<Vec<(String, OwnedFd)>> {
    let mut all = Vec::new();
    for (name, map) in object.maps() {
        let (Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data) | Map::RingBuf(data)) =
            map
        else {
            continue;
        };
        // Read-only data of the programs has names with a dot.
        if !name.starts_with('.') {
            all.push((name.to_owned(), data.fd().as_fd().try_clone_to_owned()?));
        }
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(all)
}

/// Runs a program on `packet` in buffers.
fn test_run<P>(program: &P, packet: &[u8]) -> Result<(u32, Vec<u8>), DataplaneError>
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    let mut output = vec![0; packet.len() + 256];
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut output),
            ..TestRunOptions::default()
        })
        .map_err(|error| DataplaneError::TestRun(Box::new(error)))?;
    output.truncate(result.data_size_out as usize);
    Ok((result.return_value, output))
}

/// A map of the object in aya's type for it.
fn of<M: TryFrom<aya::maps::Map, Error = MapError>>(
    object: &mut Ebpf,
    name: &'static str,
) -> Result<M, DataplaneError> {
    take(object, name)?
        .try_into()
        .map_err(DataplaneError::map(name))
}

/// The entries of an array that are not zero.
fn filled<T: Copy + Default + PartialEq>(
    array: &Array<MapData, Value<T>>,
    name: &'static str,
) -> Result<BTreeMap<u32, T>, DataplaneError>
where
    Value<T>: Pod,
{
    let mut all = BTreeMap::new();
    for index in 0..array.len() {
        let Value(value) = array.get(&index, 0).map_err(DataplaneError::map(name))?;
        if value != T::default() {
            all.insert(index, value);
        }
    }
    Ok(all)
}

/// Writes the entries of a fresh array.
fn fill<T>(
    object: &mut Ebpf,
    name: &'static str,
    entries: impl IntoIterator<Item = (u32, Value<T>)>,
) -> Result<Array<MapData, Value<T>>, DataplaneError>
where
    Value<T>: Pod,
{
    let mut array: Array<MapData, Value<T>> = of(object, name)?;
    for (index, value) in entries {
        array
            .set(index, value, 0)
            .map_err(DataplaneError::map(name))?;
    }
    Ok(array)
}
