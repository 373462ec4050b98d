//! Counters of the programs, summed over CPUs.

use std::collections::BTreeMap;
use std::fs;
use std::mem::offset_of;
use std::ops::{Add, Range};
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::Pod;
use aya::maps::PerCpuValues;
use lb_common::abi::{self, BackendCount, Counts, ExitCount, ServiceCount};
use lb_common::flow_table::FlowCount;
use lb_common::lb::Exit;
use lb_common::lb::icmp::ERRORS;
use zerocopy::{FromZeros as _, transmute_mut};

use super::memory::Mappable;
use super::{DataplaneError, PerCpu, maps};
use crate::plan::{Block, Op};

/// What the program has counted.
pub struct DatapathCounters {
    /// Packets and bytes of every exit, in the order of [`Exit::ALL`].
    pub exits: Vec<(Exit, ExitCount)>,
    /// ICMP errors that were sent to backends, in the order of [`ERRORS`].
    pub icmp_errors: [u64; ERRORS.len()],
    /// What became of packets in the flow table.
    pub flows: FlowCount,
    /// All exits of the packets that came in by an interface; several whose numbers share a block are told together.
    pub received: BTreeMap<String, ExitCount>,
    sum: Box<Counts>,
}

impl DatapathCounters {
    /// All packets and bytes of a service with this counter and these of its backends.
    pub fn service(&self, counter: u32, backends: Block) -> BackendCount {
        let ServiceCount {
            retired_packets: packets,
            retired_bytes: bytes,
            ..
        } = self.sum.services[counter as usize];
        let backends = self.backends(backends.first, backends.count).iter();
        backends.fold(BackendCount { packets, bytes }, |sum, one| sum + *one)
    }

    /// Flows of a service.
    pub fn new_flows(&self, counter: u32) -> u64 {
        self.sum.services[counter as usize].new_flows
    }

    /// Packets and bytes of `count` backend counters from `first` on.
    pub fn backends(&self, first: u32, count: u32) -> &[BackendCount] {
        &self.sum.backends[first as usize..][..count as usize]
    }
}

/// A value of a map.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub(crate) struct Cell<T>(pub(super) T);

// SAFETY: the counts are plain integers without padding (zerocopy's `IntoBytes` proves it in lb-common).
unsafe impl Pod for Cell<ExitCount> {}
// SAFETY: as above.
unsafe impl Pod for Cell<FlowCount> {}

/// The map of what each CPU counts.
pub(super) const MAP: &str = "COUNTS";

/// Test runs come in by the loopback interface.
const PROBE_INTERFACE: u32 = 1;

pub(super) struct Maps {
    counts: Mappable<Counts>,
    outcomes: PerCpu<Cell<FlowCount>>,
}

impl Maps {
    pub(super) fn new(object: &mut Ebpf) -> Result<Self, DataplaneError> {
        Ok(Self {
            counts: Mappable::new(maps::take_array(object, MAP)?, MAP),
            outcomes: maps::of(object, "BY_OUTCOME")?,
        })
    }

    /// With the exits of these interfaces, by name and index, and of probes.
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
            sum: self.sum()?,
        };
        let by_exit = &counters.sum.exits;
        for (block, names) in blocks {
            let mut received = ExitCount::default();
            for (exit, all) in &mut counters.exits {
                let count = by_exit[abi::exit_counter(block, *exit as u32) as usize];
                *all = *all + count;
                received = received + count;
            }
            for (error, all) in (0..).zip(&mut counters.icmp_errors) {
                *all += by_exit[abi::error_counter(block, error) as usize].packets;
            }
            if !names.is_empty() {
                counters.received.insert(names.join("+"), received);
            }
        }
        Ok(counters)
    }

    /// Of all CPUs, with one's in memory at a time.
    fn sum(&self) -> Result<Box<Counts>, DataplaneError> {
        let mut sum = Counts::new_box_zeroed()
            .map_err(|_| DataplaneError::Object("there is no memory for the counters"))?;
        for own in self.counts.entries()? {
            let all: &mut [u64; size_of::<Counts>() / 8] = transmute_mut!(&mut *sum);
            for (all, count) in all.iter_mut().zip(own?.words()) {
                *all += count.load(Ordering::Relaxed);
            }
        }
        Ok(sum)
    }

    /// Begins counters anew that `ops` give to others.
    pub(super) fn zero(&self, ops: &[Op]) -> Result<(), DataplaneError> {
        let words = |op: &Op| match *op {
            Op::ZeroServiceCounter { counter } => Some(words_of::<ServiceCount>(
                offset_of!(Counts, services),
                counter,
                1,
            )),
            Op::ZeroBackendCounters { first, count } => Some(words_of::<BackendCount>(
                offset_of!(Counts, backends),
                first,
                count,
            )),
            _ => None,
        };
        self.change(
            &ops.iter().filter_map(words).collect::<Vec<_>>(),
            |range, words| {
                let zero = |word: &AtomicU64| word.store(0, Ordering::Relaxed);
                words[range.clone()].iter().for_each(zero);
            },
        )
    }

    /// What counters hold that `ops` take away from a service's backends becomes its own. Not before every packet counts by the new
    /// bank: nothing is lost.
    pub(super) fn retire(&self, ops: &[Op]) -> Result<(), DataplaneError> {
        let words = |op: &Op| match *op {
            Op::RetireBackendCounters {
                service,
                first,
                count,
            } => Some((
                words_of::<ServiceCount>(offset_of!(Counts, services), service, 1),
                words_of::<BackendCount>(offset_of!(Counts, backends), first, count),
            )),
            _ => None,
        };
        self.change(
            &ops.iter().filter_map(words).collect::<Vec<_>>(),
            |(service, backends), words| {
                let [packets, bytes] = [
                    offset_of!(ServiceCount, retired_packets),
                    offset_of!(ServiceCount, retired_bytes),
                ]
                .map(|field| &words[service.start + field / size_of::<u64>()]);
                let (taken, _) = words[backends.clone()].as_chunks();
                for [of_packets, of_bytes] in taken {
                    packets.fetch_add(of_packets.swap(0, Ordering::Relaxed), Ordering::Relaxed);
                    bytes.fetch_add(of_bytes.swap(0, Ordering::Relaxed), Ordering::Relaxed);
                }
            },
        )
    }

    /// Changes the counts of each CPU.
    fn change<C>(
        &self,
        changes: &[C],
        change: impl Fn(&C, &[AtomicU64]),
    ) -> Result<(), DataplaneError> {
        if changes.is_empty() {
            return Ok(());
        }
        for own in self.counts.entries()? {
            let own = own?;
            changes.iter().for_each(|one| change(one, own.words()));
        }
        Ok(())
    }
}

/// Where in [`Counts`] the counters from `first` on are, of those that begin at so many bytes.
fn words_of<T>(start: usize, first: u32, count: u32) -> Range<usize> {
    let word = |counter: u32| (start + counter as usize * size_of::<T>()) / size_of::<u64>();
    word(first)..word(first + count)
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

/// As many values as a per-CPU map has in an entry.
pub(super) fn possible_cpus() -> Result<usize, DataplaneError> {
    aya::util::nr_cpus().map_err(|_| NO_CPUS)
}

/// Entries of an array in which each possible CPU has the one of its number.
pub(super) fn cpu_entries() -> Result<u32, DataplaneError> {
    let possible = fs::read_to_string("/sys/devices/system/cpu/possible").map_err(|_| NO_CPUS)?;
    last_cpu(&possible).map(|last| last + 1).ok_or(NO_CPUS)
}

/// Of a list of ranges, in their order.
fn last_cpu(ranges: &str) -> Option<u32> {
    ranges.trim_end().rsplit(['-', ',']).next()?.parse().ok()
}

const NO_CPUS: DataplaneError = DataplaneError::Object("the number of CPUs cannot be read");

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cpu_of_a_list() {
        for (ranges, last) in [
            ("0\n", Some(0)),
            ("0-3\n", Some(3)),
            ("0-3,8,16-127\n", Some(127)),
            ("0,2\n", Some(2)),
            ("\n", None),
        ] {
            assert_eq!(last_cpu(ranges), last, "{ranges}");
        }
    }

    #[test]
    fn counters_are_found_as_words() {
        let start = offset_of!(Counts, services);
        assert_eq!(
            words_of::<ServiceCount>(start, 0, 1),
            start / 8..start / 8 + 3
        );
        let start = offset_of!(Counts, backends);
        let all = words_of::<BackendCount>(start, 0, abi::BACKEND_COUNTERS_MAX);
        assert_eq!(all.end * 8, size_of::<Counts>());
        assert_eq!(
            words_of::<BackendCount>(start, 7, 2),
            all.start + 14..all.start + 18
        );
    }
}
