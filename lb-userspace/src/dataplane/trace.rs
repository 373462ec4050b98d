//! A trace: the program that tells of packets, in the place of the one that does not, for as long as somebody watches.
//!
//! Ring, filter and program belong to the value. Of an agent that dies in the middle the interface keeps the program, which tells
//! nothing once the time in the filter is over; the next agent's takes its place.

use aya::maps::{Array, MapData, RingBuf};
use aya::{Ebpf, Pod};
use lb_common::lb::Exit;
use lb_common::lb::trace::{Asked, Desk, Head, Untold};
use zerocopy::FromBytes as _;

use super::counters::Cell;
use super::flows::Flows;
use super::generator::now_ns;
use super::log::{BpfLog, Lines};
use super::next::Role;
use super::pins::Pins;
use super::{DataplaneError, PerCpu, maps};

/// Bytes of the ring: some three thousand packets.
const RING_BYTES: u32 = 1 << 20;

// SAFETY: plain integers without padding (zerocopy's `IntoBytes` proves it in lb-common).
unsafe impl Pod for Cell<Asked> {}
// SAFETY: as above.
unsafe impl Pod for Cell<Desk> {}

/// A packet as it came in, and where it left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// When it came in, by CLOCK_MONOTONIC.
    pub time_ns: u64,
    /// Its bytes from the Ethernet header on.
    pub length: u32,
    /// Interface that it came in by.
    pub ifindex: u32,
    /// Where it left.
    pub exit: Exit,
    /// The first bytes of it.
    pub bytes: Vec<u8>,
}

impl Traced {
    /// Out of the ring; none where the bytes are no such record.
    fn read(record: &[u8]) -> Option<Self> {
        let (head, bytes) = Head::read_from_prefix(record).ok()?;
        Some(Self {
            time_ns: head.time_ns,
            length: head.length,
            ifindex: head.ifindex,
            exit: *Exit::ALL.get(head.exit as usize)?,
            bytes: bytes.get(..head.captured as usize)?.to_vec(),
        })
    }
}

/// The loaded program and what it tells.
pub(super) struct Trace {
    pub(super) object: Ebpf,
    pub(super) program: &'static str,
    /// What it logs.
    pub(super) lines: Option<Lines>,
    ring: RingBuf<MapData>,
    asked: Array<MapData, Cell<Asked>>,
    desk: PerCpu<Cell<Desk>>,
    wanted: Asked,
}

impl Trace {
    /// Loads it beside the maps that are pinned. Until [`Trace::renew`] it tells nothing.
    pub(super) fn load(
        pins: &Pins,
        role: Role,
        log: BpfLog,
        flows: Flows,
        wanted: Asked,
    ) -> Result<Self, DataplaneError> {
        let mut object = super::load_object(pins, RING_BYTES, log, flows)?;
        let program = role.watched();
        super::load_program(&mut object, program)?;
        Ok(Self {
            ring: maps::of(&mut object, "TRACE")?,
            asked: maps::of(&mut object, "ASKED")?,
            desk: maps::of(&mut object, "DESK")?,
            lines: log.lines(&mut object)?,
            object,
            program,
            wanted,
        })
    }

    /// It tells of packets for `lease_ns` from now.
    pub(super) fn renew(&mut self, lease_ns: u64) -> Result<(), DataplaneError> {
        let asked = Asked {
            until_ns: now_ns() + lease_ns,
            ..self.wanted
        };
        self.asked
            .set(0, Cell(asked), 0)
            .map_err(DataplaneError::map("ASKED"))
    }

    /// What it has told, `most` packets at most.
    pub(super) fn take(&mut self, most: usize) -> Vec<Traced> {
        let mut all = Vec::new();
        while all.len() < most
            && let Some(record) = self.ring.next()
        {
            all.extend(Traced::read(&record));
        }
        all
    }

    /// What it could not tell.
    pub(super) fn untold(&self) -> Result<Untold, DataplaneError> {
        let desks = self.desk.get(&0, 0).map_err(DataplaneError::map("DESK"))?;
        Ok(desks
            .iter()
            .fold(Untold::default(), |sum, Cell(desk)| Untold {
                limited: sum.limited + desk.untold.limited,
                lost: sum.lost + desk.untold.lost,
            }))
    }
}

#[cfg(test)]
mod tests {
    use lb_common::abi;
    use zerocopy::IntoBytes as _;

    use super::*;

    fn record(head: Head, bytes: &[u8]) -> Vec<u8> {
        [head.as_bytes(), bytes].concat()
    }

    #[test]
    fn records_of_the_ring() {
        let head = Head {
            time_ns: 7,
            length: 1_500,
            captured: 3,
            ifindex: 2,
            exit: Exit::NoService as u32,
        };
        let read = Traced::read(&record(head, &[1, 2, 3, 0, 0])).expect("a record");
        let expected = Traced {
            time_ns: 7,
            length: 1_500,
            ifindex: 2,
            exit: Exit::NoService,
            bytes: vec![1, 2, 3],
        };
        assert_eq!(read, expected, "the ring pads to eight bytes");
        assert_eq!(Traced::read(&record(head, &[1, 2])), None, "cut off");
        assert_eq!(Traced::read(&head.as_bytes()[..20]), None, "no head");
        let exit = abi::EXITS_MAX;
        let unknown = Head { exit, ..head };
        assert_eq!(
            Traced::read(&record(unknown, &[1, 2, 3])),
            None,
            "no such exit"
        );
    }
}
