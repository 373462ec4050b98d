//! The loaded program on a packet of our own, with the live maps.
//!
//! The run is marked in the metadata before the packet, which nothing on the wire can do: it is counted as a probe only, and the
//! tunnel header says so to the backend. The kernel tells action and bytes; the name of the exit comes from the same decision
//! code on the host, over the same maps.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use aya::programs::{TestRun as _, TestRunOptions};
use lb_common::abi::{self, Bank, PROBE_MARK, Row, Table};
use lb_common::exit::Action;
use lb_common::filter::Element;
use lb_common::flow_table::{Bucket, Outcome};
use lb_common::frame::Frame;
use lb_common::lb::extra::{self, Case};
use lb_common::lb::{self, Exit, Mark, Tables, prefix};
use lb_common::rate::Rate;
use lb_common::tunnel::{self, Header};
use lb_common::wire::{Ethernet, Ipv4, Ipv6, Udp};
use zerocopy::FromBytes as _;

use super::link::TEST_RUN_GROWTH;
use super::memory::Memory;
use super::{Dataplane, DataplaneError};
use crate::model::Protocol;
use crate::plan::desired::words;

/// What became of a probe.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeResult {
    /// What the loaded program did.
    pub action: Action,
    /// Where the same code on the host left.
    pub exit: Exit,
    /// Row of the flow, where one was looked at.
    pub row: u32,
    /// Hops in the tunnel header, in order; of a pool of plain backends the one that the row names. Empty where there is none.
    pub hops: Vec<IpAddr>,
    /// Where packets of the flow go that are not its first, by CPU: those which remember it. Only of a packet that is probed alone,
    /// see [`Dataplane::probe`].
    pub remembered: Vec<Remembered>,
    /// The packet as it left the program.
    pub packet: Vec<u8>,
    /// The same code on the host decided alike and made the same bytes.
    pub agrees: bool,
}

/// A flow that a CPU remembers.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// The CPU.
    pub cpu: u32,
    /// Its backend.
    pub backend: IpAddr,
    /// Since its last packet, to about a second.
    pub silent: Duration,
}

impl ProbeResult {
    /// Whether kernel and host agree that the packet goes to a backend.
    pub fn sent(&self) -> bool {
        self.agrees && self.exit == Exit::Sent
    }

    /// The same, or that its service does not want it.
    pub fn is_in_order(&self) -> bool {
        let unwanted = matches!(self.exit, Exit::Denied | Exit::NotAllowed | Exit::AttackSyn);
        self.sent() || self.agrees && unwanted
    }
}

/// What a program is run with as a probe of `packet`: its data, and its context.
pub(super) fn marked(packet: &[u8]) -> (Vec<u8>, [u8; 24]) {
    let mut data = PROBE_MARK.to_ne_bytes().to_vec();
    data.extend_from_slice(packet);
    let context = context(data.len());
    (data, context)
}

/// Probes packet after packet. The maps are mapped once for all of them: the pages of a bank cost more than a run of the program.
pub struct Prober<'a> {
    plane: &'a Dataplane,
    tables: HostTables<'a>,
}

impl Prober<'_> {
    /// Runs the loaded program on `packet` (from the Ethernet header on) as a probe.
    pub fn probe(&self, packet: &[u8]) -> Result<ProbeResult, DataplaneError> {
        let (input, context) = marked(packet);
        let mut output = vec![0; input.len() + TEST_RUN_GROWTH];
        let options = TestRunOptions {
            data_in: Some(&input),
            data_out: Some(&mut output),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let result = self
            .plane
            .program()?
            .test_run(options)
            .map_err(|error| DataplaneError::TestRun(Box::new(error)))?;
        // The kernel hands the metadata back before the packet.
        let output = output
            .get(size_of::<u64>()..result.data_size_out as usize)
            .unwrap_or_default()
            .to_vec();
        let mut frame =
            Frame::new(packet).ok_or(DataplaneError::Object("a probe packet is too long"))?;
        self.tables.asked.clear();
        let exit = lb::run(&mut frame, &self.tables, Mark::PROBE).of_client();
        let action = action(result.return_value);
        // A dropped packet may have been changed on its way; nobody sees it.
        let same_bytes = action == Action::Drop || frame.bytes() == output;
        Ok(ProbeResult {
            action,
            exit,
            row: self.tables.asked.row.get().map_or(0, |(row, _)| row),
            hops: match (exit, hops(&output)) {
                (Exit::Sent, None) => self.plain_hop(packet, &output).into_iter().collect(),
                (_, hops) => hops.unwrap_or_default(),
            },
            remembered: Vec::new(),
            agrees: action == exit.action() && same_bytes,
            packet: output,
        })
    }
}

impl Prober<'_> {
    /// The backend of a packet that was sent to it alone: by the row of a service with options, else by the outer header.
    fn plain_hop(&self, packet: &[u8], sent: &[u8]) -> Option<IpAddr> {
        let Asked { case, row } = &self.tables.asked;
        if let (Some(case), Some((_, hops))) = (case.get(), row.get())
            && !hops.is_absent()
        {
            let first = case.first_backend + hops.hop(0);
            return Some(to_ip(self.tables.bank()?.backend(first).address));
        }
        (sent.len() > packet.len()).then(|| outer_destination(sent))?
    }

    /// What each CPU knows of the flow of the last packet.
    fn remembered(&self) -> Vec<Remembered> {
        let (Some(bank), Some(case)) = (self.tables.bank(), self.tables.asked.case.get()) else {
            return Vec::new();
        };
        let (flows, map) = (self.plane.flows, &self.plane.remembered);
        let of_cpu = |cpu| {
            let bucket = |number| flows.bucket(map, cpu, number);
            let known = extra::known(bank, &case, flows.buckets, flows.now(), bucket)?;
            Some(Remembered {
                cpu,
                backend: to_ip(known.address),
                silent: flows.time_of(known.silent),
            })
        };
        (0..flows.cpus()).filter_map(of_cpu).collect()
    }
}

impl Dataplane {
    /// For more than one packet.
    pub fn prober(&self) -> Result<Prober<'_>, DataplaneError> {
        Ok(Prober {
            plane: self,
            tables: HostTables::of(self)?,
        })
    }

    /// Runs the loaded program on one packet; see [`Prober::probe`]. Asks every CPU what it remembers as well.
    pub fn probe(&self, packet: &[u8]) -> Result<ProbeResult, DataplaneError> {
        let prober = self.prober()?;
        let result = prober.probe(packet)?;
        Ok(ProbeResult {
            remembered: prober.remembered(),
            ..result
        })
    }

    /// The first packet of a flow, as a router would hand it to us: a SYN, or an empty datagram.
    pub fn probe_packet(
        protocol: Protocol,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Vec<u8> {
        match protocol {
            Protocol::Tcp => first_packet(protocol, source, destination, &SYN),
            Protocol::Udp => first_packet(protocol, source, destination, &EMPTY_DATAGRAM),
        }
    }
}

/// `struct xdp_md` of a packet with eight bytes of metadata: data 8, data_end, data_meta 0, and zeroes.
fn context(length: usize) -> [u8; 24] {
    let mut context = [0; 24];
    context[0..4].copy_from_slice(&8_u32.to_ne_bytes());
    context[4..8].copy_from_slice(&(length as u32).to_ne_bytes());
    context
}

pub(super) fn action(verdict: u32) -> Action {
    const XDP_PASS: u32 = 2;
    const XDP_TX: u32 = 3;
    const XDP_REDIRECT: u32 = 4;
    match verdict {
        XDP_PASS => Action::Pass,
        XDP_TX => Action::Transmit,
        XDP_REDIRECT => Action::Redirect,
        _ => Action::Drop,
    }
}

/// Hops of the tunnel header in a packet that the program sent.
fn hops(packet: &[u8]) -> Option<Vec<IpAddr>> {
    let (ethernet, rest) = Ethernet::ref_from_prefix(packet).ok()?;
    let over_v4 = ethernet.ethertype == lb_common::wire::ETHERTYPE_IPV4;
    let outer = if over_v4 {
        size_of::<Ipv4>()
    } else {
        size_of::<Ipv6>()
    };
    let (udp, rest) = Udp::ref_from_prefix(rest.get(outer..)?).ok()?;
    let (header, addresses) = Header::ref_from_prefix(rest).ok()?;
    if udp.ports.destination.value() != tunnel::PORT || header.version != tunnel::VERSION {
        return None;
    }
    let width = if header.flags & tunnel::flags::V6 != 0 {
        16
    } else {
        4
    };
    let list = addresses.get(..usize::from(header.count()) * width)?;
    Some(list.chunks(width).filter_map(to_address).collect())
}

/// Of a packet without VLAN tags.
fn outer_destination(packet: &[u8]) -> Option<IpAddr> {
    let (ethernet, rest) = Ethernet::ref_from_prefix(packet).ok()?;
    match ethernet.ethertype {
        lb_common::wire::ETHERTYPE_IPV4 => to_address(rest.get(16..20)?),
        lb_common::wire::ETHERTYPE_IPV6 => to_address(rest.get(24..40)?),
        _ => None,
    }
}

/// As backends have them in the bank.
fn to_ip(address: [u64; 2]) -> IpAddr {
    let octets: [u8; 16] = zerocopy::transmute!(address);
    Ipv6Addr::from(octets).to_canonical()
}

fn to_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        _ => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
    }
}

/// A TCP header with the SYN flag, behind its ports.
#[rustfmt::skip]
const SYN: [u8; 16] = [
    0, 0, 0, 1, 0, 0, 0, 0, 0x50, lb_common::wire::tcp_flags::SYN, 0xff, 0xff, 0, 0, 0, 0,
];
/// A UDP header without payload, behind its ports.
const EMPTY_DATAGRAM: [u8; 4] = [0, 8, 0, 0];

fn first_packet(
    protocol: Protocol,
    source: SocketAddr,
    destination: SocketAddr,
    rest: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0; 12];
    let (number, length) = (protocol.number(), 4 + rest.len() as u8);
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend([0x08, 0x00, 0x45, 0, 0, 20 + length]);
            packet.extend([0, 0, 0x40, 0, 64, number, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        (from, to) => {
            packet.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, length, number, 64]);
            for address in [from, to] {
                let words = words(address);
                packet.extend(words.into_iter().flat_map(u64::to_ne_bytes));
            }
        }
    }
    packet.extend(source.port().to_be_bytes());
    packet.extend(destination.port().to_be_bytes());
    packet.extend(rest);
    packet
}

/// The live maps, for the decision code on the host. Counts nothing.
struct HostTables<'a> {
    plane: &'a Dataplane,
    banks: Memory<Bank>,
    filters: BTreeMap<u32, Memory<Element>>,
    /// Those that a packet has asked for.
    tables: RefCell<BTreeMap<u32, Memory<Table>>>,
    asked: Asked,
}

/// What the decision about a packet has looked at.
#[derive(Default)]
struct Asked {
    /// Of a service with options.
    case: Cell<Option<Case>>,
    /// Its number and its hops.
    row: Cell<Option<(u32, Row)>>,
}

impl Asked {
    fn clear(&self) {
        self.case.take();
        self.row.take();
    }
}

impl<'a> HostTables<'a> {
    fn of(plane: &'a Dataplane) -> Result<Self, DataplaneError> {
        Ok(Self {
            plane,
            banks: plane.banks.map()?,
            filters: plane.filters.mapped()?,
            tables: RefCell::default(),
            asked: Asked::default(),
        })
    }
}

impl Tables for HostTables<'_> {
    /// Probes come back with their headers, wherever they would go.
    const BACKEND: bool = false;

    fn bank(&self) -> Option<&Bank> {
        let root = self.plane.root.read().ok()?;
        if root.abi_version != abi::ABI_VERSION {
            return None;
        }
        self.banks.get(root.bank)
    }

    fn row(&self, table: &u32, row: u32) -> Option<Row> {
        let mut tables = self.tables.borrow_mut();
        let table = match tables.entry(*table) {
            Entry::Occupied(mapped) => mapped.into_mut(),
            Entry::Vacant(place) => place.insert(self.plane.inner.get(table)?.rows.map().ok()?),
        };
        let hops = table.get(0)?.row(row);
        self.asked.row.set(Some((row, hops)));
        Some(hops)
    }

    fn filter<'t>(&'t self, slot: u32) -> Option<impl Fn(u32) -> Option<&'t Element>> {
        let elements = self.filters.get(&slot)?;
        Some(|index| elements.get(index))
    }

    fn take(&self, _: u32, _: u32, _: &Rate) -> bool {
        true
    }

    fn extra(&self, bank: &Bank, case: &Case) -> u64 {
        self.asked.case.set(Some(*case));
        extra::run(self, bank, case)
    }

    fn prefix(&self, bank: &Bank, address: [u64; 2]) -> u32 {
        prefix::number(bank, address)
    }

    /// Probes do not ask for what each CPU remembers.
    fn flow_buckets(&self) -> u32 {
        0
    }

    fn flow_bucket<R>(&self, _: u32, _: impl FnOnce(&mut Bucket) -> R) -> Option<R> {
        None
    }

    fn tick(&self) -> u16 {
        0
    }

    fn count_flow(&self, _: Outcome) {}

    fn count_new_flow(&self, _: u32) {}

    fn count_backend(&self, _: u32, _: u32) {}

    fn count_error(&self, _: u32, _: u32) {}

    fn may_answer(&self, _: &Bank) -> bool {
        true
    }
}
