//! Counters of the programs, summed over CPUs.

use std::collections::BTreeMap;
use std::ops::Add;

use aya::Ebpf;
use aya::Pod;
use aya::maps::PerCpuValues;
use lb_common::abi::{self, BackendCount, ExitCount, ServiceCount};
use lb_common::flow_table::FlowCount;
use lb_common::lb::Exit;
use lb_common::lb::icmp::ERRORS;

use super::{DataplaneError, PerCpu, maps};

/// What the program has counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DatapathCounters {
    /// Packets and bytes of every exit, in the order of [`Exit::ALL`].
    pub exits: Vec<(Exit, ExitCount)>,
    /// ICMP errors that were sent to backends, in the order of [`ERRORS`].
    pub icmp_errors: [u64; ERRORS.len()],
    /// What became of packets in the flow table.
    pub flows: FlowCount,
    /// All exits of the packets that came in by an interface; several whose numbers share a block are told together.
    pub received: BTreeMap<String, ExitCount>,
}

/// A value of a map.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub(crate) struct Cell<T>(pub(super) T);

// SAFETY: the counts are plain integers without padding (zerocopy's `IntoBytes` proves it in lb-common).
unsafe impl Pod for Cell<ExitCount> {}
// SAFETY: as above.
unsafe impl Pod for Cell<ServiceCount> {}
// SAFETY: as above.
unsafe impl Pod for Cell<BackendCount> {}
// SAFETY: as above.
unsafe impl Pod for Cell<FlowCount> {}

/// Test runs come in by the loopback interface.
const PROBE_INTERFACE: u32 = 1;

pub(super) struct Maps {
    exits: PerCpu<Cell<ExitCount>>,
    services: PerCpu<Cell<ServiceCount>>,
    backends: PerCpu<Cell<BackendCount>>,
    outcomes: PerCpu<Cell<FlowCount>>,
}

impl Maps {
    pub(super) fn new(object: &mut Ebpf) -> Result<Self, DataplaneError> {
        Ok(Self {
            exits: maps::of(object, "EXITS")?,
            services: maps::of(object, "BY_SERVICE")?,
            backends: maps::of(object, "BY_BACKEND")?,
            outcomes: maps::of(object, "BY_OUTCOME")?,
        })
    }

    /// The exits of these interfaces, by name and index, and of probes.
    pub(super) fn read<'a>(
        &self,
        interfaces: impl Iterator<Item = (&'a str, u32)>,
    ) -> Result<DatapathCounters, DataplaneError> {
        let mut blocks = BTreeMap::from([(PROBE_INTERFACE, Vec::new())]);
        for (name, ifindex) in interfaces {
            let block = blocks.entry(ifindex % abi::EXIT_BLOCKS).or_default();
            block.push(name);
        }
        let mut counters = DatapathCounters {
            exits: Exit::ALL
                .iter()
                .map(|exit| (*exit, ExitCount::default()))
                .collect(),
            icmp_errors: [0; ERRORS.len()],
            flows: sum(&self.outcomes, 0, "BY_OUTCOME")?,
            received: BTreeMap::new(),
        };
        for (block, names) in blocks {
            let mut received = ExitCount::default();
            for (exit, all) in &mut counters.exits {
                let counter = abi::exit_counter(block, *exit as u32);
                let count = sum(&self.exits, counter, "EXITS")?;
                *all = *all + count;
                received = received + count;
            }
            for (error, all) in counters.icmp_errors.iter_mut().enumerate() {
                let counter = abi::error_counter(block, error as u32);
                *all += sum(&self.exits, counter, "EXITS")?.packets;
            }
            if !names.is_empty() {
                counters.received.insert(names.join("+"), received);
            }
        }
        Ok(counters)
    }

    pub(super) fn service(&self, counter: u32) -> Result<ServiceCount, DataplaneError> {
        sum(&self.services, counter, "BY_SERVICE")
    }

    pub(super) fn backends(
        &self,
        first: u32,
        count: u32,
    ) -> Result<Vec<BackendCount>, DataplaneError> {
        (first..first + count)
            .map(|counter| sum(&self.backends, counter, "BY_BACKEND"))
            .collect()
    }

    pub(super) fn zero_service(&mut self, counter: u32) -> Result<(), DataplaneError> {
        zero(&mut self.services, counter, "BY_SERVICE")
    }

    pub(super) fn zero_backends(&mut self, first: u32, count: u32) -> Result<(), DataplaneError> {
        (first..first + count)
            .try_for_each(|counter| zero(&mut self.backends, counter, "BY_BACKEND"))
    }
}

/// A count of all CPUs together.
pub(crate) fn sum<T: Copy + Default + Add<Output = T>>(
    map: &PerCpu<Cell<T>>,
    counter: u32,
    name: &'static str,
) -> Result<T, DataplaneError>
where
    Cell<T>: Pod,
{
    let cells = map.get(&counter, 0).map_err(DataplaneError::map(name))?;
    Ok(cells
        .iter()
        .fold(T::default(), |sum, Cell(cell)| sum + *cell))
}

fn zero<T: Pod + Default>(
    map: &mut PerCpu<T>,
    counter: u32,
    name: &'static str,
) -> Result<(), DataplaneError> {
    set(map, counter, vec![T::default(); possible_cpus()?], name)
}

/// As many values as a per-CPU map has in an entry.
pub(super) fn possible_cpus() -> Result<usize, DataplaneError> {
    aya::util::nr_cpus().map_err(|_| DataplaneError::Object("the number of CPUs cannot be read"))
}

/// Sets an entry; `values`: one for every possible CPU.
pub(super) fn set<T: Pod>(
    map: &mut PerCpu<T>,
    index: u32,
    values: Vec<T>,
    name: &'static str,
) -> Result<(), DataplaneError> {
    let values = PerCpuValues::try_from(values)
        .map_err(|_| DataplaneError::Object("wrong number of CPUs"))?;
    map.set(index, values, 0).map_err(DataplaneError::map(name))
}
