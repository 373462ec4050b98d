//! The loaded program on a packet of our own, with the live maps.
//!
//! The run is marked in the metadata before the packet, which nothing on the wire can do: it is counted as a probe only, and the
//! tunnel header says so to the backend. The kernel tells action and bytes; the name of the exit comes from the same decision
//! code on the host, over the same maps.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use aya::programs::{TestRun as _, TestRunOptions};
use lb_common::abi::{self, Bank, PROBE_MARK};
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
    /// Row of the flow, where the VIP is known.
    pub row: u32,
    /// Hops in the tunnel header, in order; empty where none was put on.
    pub hops: Vec<IpAddr>,
    /// The packet as it left the program.
    pub packet: Vec<u8>,
    /// The same code on the host decided alike and made the same bytes.
    pub agrees: bool,
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
        let exit = lb::run(&mut frame, &self.tables, Mark::PROBE);
        let action = action(result.return_value);
        // A dropped packet may have been changed on its way; nobody sees it.
        let same_bytes = action == Action::Drop || frame.bytes() == output;
        Ok(ProbeResult {
            action,
            exit,
            row: row_of(&self.tables, packet).unwrap_or_default(),
            hops: hops(&output).unwrap_or_default(),
            agrees: action == exit.action() && same_bytes,
            packet: output,
        })
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

    /// Runs the loaded program on one packet; see [`Prober::probe`].
    pub fn probe(&self, packet: &[u8]) -> Result<ProbeResult, DataplaneError> {
        self.prober()?.probe(packet)
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

fn row_of(tables: &HostTables<'_>, packet: &[u8]) -> Option<u32> {
    let flow = tables.bank()?.shared.flow;
    let (ip, rest) = Ipv4::read_from_prefix(packet.get(14..)?).ok()?;
    let hash = if ip.version_ihl >> 4 == 4 {
        let (ports, _) = lb_common::wire::Ports::read_from_prefix(rest).ok()?;
        flow.ipv4(ip.source, ip.destination, ports, ip.protocol)
    } else {
        let (ip, rest) = Ipv6::read_from_prefix(packet.get(14..)?).ok()?;
        let (ports, _) = lb_common::wire::Ports::read_from_prefix(rest).ok()?;
        flow.ipv6(ip.source, ip.destination, ports, ip.next_header)
    };
    Some(hash.hash as u32 & (abi::ROWS - 1))
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
}

impl<'a> HostTables<'a> {
    fn of(plane: &'a Dataplane) -> Result<Self, DataplaneError> {
        Ok(Self {
            plane,
            banks: plane.banks.map()?,
            filters: plane.filters.mapped()?,
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

    fn row(&self, table: &u32, row: u32) -> Option<u64> {
        self.plane.inner.get(table)?.map.get(&row, 0).ok()
    }

    fn filter<'t>(&'t self, slot: u32) -> Option<impl Fn(u32) -> Option<&'t Element>> {
        let elements = self.filters.get(&slot)?;
        Some(|index| elements.get(index))
    }

    fn take(&self, _: u32, _: u32, _: &Rate) -> bool {
        true
    }

    fn extra(&self, bank: &Bank, case: &Case) -> u64 {
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

    fn count_service(&self, _: &u32, _: u32, _: u64) {}

    fn count_backend(&self, _: u32, _: u32) {}

    fn count_error(&self, _: u32, _: u32) {}

    fn may_answer(&self, _: &Bank) -> bool {
        true
    }
}
