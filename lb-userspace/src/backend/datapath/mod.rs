//! The backend's programs and maps in the kernel. No other file of this module knows aya.
//!
//! Only the links are pinned: they hold the programs, and those their maps, with or without an agent. An agent that starts, or
//! has another configuration, loads everything anew and puts it in place of the old by one link update.

#![allow(
    unsafe_code,
    reason = "wrappers for map values; each block states what proves it"
)]

mod classifier;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData, MapError, RingBuf};
use aya::programs::{Program, SchedClassifier, TestRun, TestRunOptions, TestRunResult};
use aya::{Ebpf, EbpfLoader, Pod};
use lb_common::abi::{ExitCount, VipBucket};
use lb_common::backend::Exit;
use lb_common::backend_abi::{Config, Macs, ServiceBucket};
use zerocopy::FromBytes as _;

use self::classifier::{Classifier, Side};
use super::image::Image;
use super::kernel_types::Offsets;
use crate::dataplane::counters::{self, Cell};
use crate::dataplane::inventory;
use crate::dataplane::link::{Hook, Link};
use crate::dataplane::maps::{of, prepare_directory};
use crate::dataplane::objects;
use crate::dataplane::pins::remove_pin;
use crate::dataplane::slot::{self, Slot};
use crate::dataplane::xdp;
use crate::dataplane::{DataplaneError, PerCpu, release_heap};
use crate::model::XdpMode;
use crate::plan::desired::{address_of, words};
use crate::status::BpfState;

/// Programs of the object: what takes packets out of the tunnel, by XDP or on TC ingress, and what lowers the MSS.
const XDP: &str = "backend";
const TC: &str = "backend_tc";
const MSS: &str = "backend_mss";

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
    entry: Entry,
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

/// How packets come to the program that takes them out of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is an XDP program and hangs on the interface.
    Interface(XdpMode),
    /// It is a TC program and hangs on the interface's ingress.
    Tc,
    /// It is an XDP program, to which the LB node's program of this box hands them on.
    LbNode,
}

impl Entry {
    /// Name of the program.
    fn program(self) -> &'static str {
        match self {
            Entry::Interface(_) | Entry::LbNode => XDP,
            Entry::Tc => TC,
        }
    }
}

/// Takes off what an agent has left that was a backend beside the LB node with these pins and interfaces; that one's program
/// hands nothing on any more. True where there was anything.
pub fn remove_left(pin_dir: &Path, interfaces: &[String]) -> Result<bool, DataplaneError> {
    let mut slot = Slot::open(pin_dir, slot::BACKEND)?;
    if slot.program_id().is_none() {
        return Ok(false);
    }
    slot.clear()?;
    remove_rest(&pin_dir.join("backend"), interfaces)?;
    Ok(true)
}

/// Takes the clamp off, and the emptied directories of pins away.
fn remove_rest(directory: &Path, interfaces: &[String]) -> Result<(), DataplaneError> {
    for interface in interfaces {
        classifier::remove(Side::Egress, &directory.join("mss"), interface)?;
    }
    for directory in [&directory.join("xdp"), directory] {
        fs::remove_dir(directory).map_err(DataplaneError::pin(directory.into()))?;
    }
    Ok(())
}

/// What holds the programs.
struct Links {
    directory: PathBuf,
    entry: Seat,
    interface: String,
    mss: Option<Classifier>,
}

/// What holds the program that packets come to.
enum Seat {
    /// A link to the interface's XDP, where there is one.
    Link(Option<Link>),
    /// The interface's TC ingress.
    Ingress(Classifier),
    /// The LB node's program.
    Slot(Box<Slot>),
}

impl Seat {
    fn holds(&self, program: u32) -> bool {
        match self {
            Seat::Link(link) => link.as_ref().is_some_and(Link::is_attached),
            Seat::Ingress(classifier) => classifier.is_attached(),
            Seat::Slot(slot) => slot.program_id() == Some(program),
        }
    }
}

impl Datapath {
    /// Loads the programs that `entry` needs and fills their maps; nothing is attached yet.
    pub fn load(image: &Image, offsets: Offsets, entry: Entry) -> Result<Self, DataplaneError> {
        let mut object = EbpfLoader::new()
            // Nothing in the object is relocated by the kernel's types, which take megabytes to read.
            .btf(None)
            .override_global("SENT_ISN", &offsets.sent_isn, true)
            .override_global("TIME_WAIT_SUBSTATE", &offsets.time_wait_substate, true)
            .override_global("FRAGS", &*objects::FRAGS, true)
            .load(&objects::loadable(objects::BACKEND))
            .map_err(DataplaneError::object)?;
        // First the programs: from then on they hold their maps.
        for name in [entry.program(), MSS] {
            load(&mut object, name)?;
        }
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
            entry,
            maps,
            links: None,
        })
    }

    /// Puts the programs on the interface, in place of those that an agent before has left there under `pin_dir`. True where
    /// there were any.
    pub fn attach(
        &mut self,
        pin_dir: &Path,
        interface: &str,
        lower_mss: bool,
    ) -> Result<bool, DataplaneError> {
        prepare_directory(pin_dir, &["backend"])?;
        let directory = pin_dir.join("backend");
        prepare_directory(&directory, &["xdp"])?;
        let (entry, adopted) = self.take_seat(pin_dir, &directory, interface)?;
        let mss_pin = directory.join("mss");
        let mss = if lower_mss {
            let program = tc(&mut self.object, MSS)?;
            Some(Classifier::attach(Side::Egress, program, &mss_pin, interface)?.0)
        } else {
            classifier::remove(Side::Egress, &mss_pin, interface)?;
            None
        };
        self.links = Some(Links {
            directory,
            entry,
            interface: interface.to_owned(),
            mss,
        });
        Ok(adopted)
    }

    /// Puts the program where packets come to it; then takes off what an agent with another entry has left.
    fn take_seat(
        &mut self,
        pin_dir: &Path,
        directory: &Path,
        interface: &str,
    ) -> Result<(Seat, bool), DataplaneError> {
        let (xdp_pins, tc_pin) = (directory.join("xdp"), directory.join("tc"));
        let program = self.entrance()?.fd().map_err(DataplaneError::load)?;
        match self.entry {
            Entry::Interface(mode) => {
                let mut link = xdp::find(&xdp_pins, interface)?;
                let adopted = link.is_some();
                xdp::attach(mode, &mut link, &xdp_pins, interface, program.as_fd())?;
                let replaced = classifier::remove(Side::Ingress, &tc_pin, interface)?;
                Ok((Seat::Link(link), adopted || replaced))
            }
            Entry::Tc => {
                let program = tc(&mut self.object, TC)?;
                let (seat, adopted) =
                    Classifier::attach(Side::Ingress, program, &tc_pin, interface)?;
                let replaced = xdp::find(&xdp_pins, interface)?;
                if let Some(link) = &replaced {
                    remove_pin(&xdp::pin(&xdp_pins, interface, link.hook()))?;
                }
                Ok((Seat::Ingress(seat), adopted || replaced.is_some()))
            }
            Entry::LbNode => {
                let mut slot = Slot::open(pin_dir, slot::BACKEND)?;
                let adopted = slot.program_id().is_some();
                slot.put(program)?;
                Ok((Seat::Slot(Box::new(slot)), adopted))
            }
        }
    }

    /// Puts the TC programs alone on the interface, the way of kernels without TCX.
    pub fn attach_filters(&mut self, interface: &str) -> Result<(), DataplaneError> {
        if self.entry == Entry::Tc {
            Classifier::filter(Side::Ingress, tc(&mut self.object, TC)?, interface)?;
        }
        Classifier::filter(Side::Egress, tc(&mut self.object, MSS)?, interface).map(drop)
    }

    /// Whether the programs still are where they were put.
    pub fn is_attached(&self) -> bool {
        let info = self.entrance().ok().and_then(|program| program.info().ok());
        self.links.as_ref().is_some_and(|links| {
            info.is_some_and(|info| links.entry.holds(info.id()))
                && links.mss.as_ref().is_none_or(Classifier::is_attached)
        })
    }

    /// How packets come to it, in the words of `node.xdp_mode` and `backend.hook`.
    pub fn mode(&self) -> &'static str {
        match (self.entry, self.links.as_ref().map(|links| &links.entry)) {
            (Entry::Tc, _) => Hook::TcxIngress.mode(),
            (_, Some(Seat::Link(Some(link)))) => link.hook().mode(),
            _ => Hook::Native.mode(),
        }
    }

    /// Takes the programs off the interface.
    pub fn detach(mut self) -> Result<(), DataplaneError> {
        let Some(mut links) = self.links.take() else {
            return Ok(());
        };
        let pins = links.directory.join("xdp");
        match &mut links.entry {
            Seat::Link(Some(link)) => {
                remove_pin(&xdp::pin(&pins, &links.interface, link.hook()))?;
            }
            Seat::Link(None) => {}
            Seat::Ingress(_) => {
                let pin = links.directory.join("tc");
                classifier::remove(Side::Ingress, &pin, &links.interface)?;
            }
            Seat::Slot(slot) => slot.clear()?,
        }
        remove_rest(&links.directory, &[links.interface])
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
                // It was not there.
                Err(MapError::SyscallError(call))
                    if call.io_error.kind() == io::ErrorKind::NotFound =>
                {
                    Ok(())
                }
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
        let entrance = self.entrance()?.info().map_err(DataplaneError::load)?;
        let mss = self.mss_loaded()?.info().map_err(DataplaneError::load)?;
        let kind = if self.entry == Entry::Tc { "tc" } else { "xdp" };
        Ok(BpfState {
            maps: maps
                .collect::<io::Result<_>>()
                .map_err(DataplaneError::pin("/proc/self/fdinfo".into()))?,
            programs: vec![
                inventory::program(&entrance, kind, stats_enabled),
                inventory::program(&mss, "tc", stats_enabled),
            ],
            stats_enabled,
        })
    }

    /// Runs the program that takes packets in on `packet` (from the Ethernet header on) in the namespace of the calling thread,
    /// as received on its loopback interface: action and packet out.
    pub fn run(&self, packet: &[u8]) -> Result<(u32, Vec<u8>), DataplaneError> {
        match self.entrance()? {
            Program::Xdp(program) => test_run(program, packet),
            Program::SchedClassifier(program) => test_run(program, packet),
            _ => Err(NOT_IN_OBJECT),
        }
    }

    /// Runs the program that lowers the MSS likewise.
    pub fn run_mss(&self, packet: &[u8]) -> Result<(u32, Vec<u8>), DataplaneError> {
        test_run(self.mss_loaded()?, packet)
    }

    /// File descriptor of the loaded program that takes packets in, for measuring.
    pub fn program_fd(&self) -> Result<BorrowedFd<'_>, DataplaneError> {
        let program = self.entrance()?.fd().map_err(DataplaneError::load)?;
        Ok(program.as_fd())
    }

    /// The program that takes packets in.
    fn entrance(&self) -> Result<&Program, DataplaneError> {
        self.object
            .program(self.entry.program())
            .ok_or(NOT_IN_OBJECT)
    }

    fn mss_loaded(&self) -> Result<&SchedClassifier, DataplaneError> {
        self.object
            .program(MSS)
            .and_then(|program| program.try_into().ok())
            .ok_or(NOT_IN_OBJECT)
    }
}

const NOT_IN_OBJECT: DataplaneError =
    DataplaneError::Object("a program of the backend is missing, or of another kind");

fn load(object: &mut Ebpf, name: &str) -> Result<(), DataplaneError> {
    match object.program_mut(name) {
        Some(Program::Xdp(program)) => program.load(),
        Some(Program::SchedClassifier(program)) => program.load(),
        _ => return Err(NOT_IN_OBJECT),
    }
    .map_err(DataplaneError::load)
}

fn tc<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, DataplaneError> {
    object
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(NOT_IN_OBJECT)
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
