//! What a service has beyond the common way.
//!
//! A program has it as a BPF function of its own, which the verifier looks at once and a packet of another service never enters
//! (see [`super::aside`]). All that it knows of the packet is a [`Case`]; what it finds is a row of the service's pool, or why there
//! is none.
//!
//! | file | holds |
//! |---|---|
//! | `attack` | services that take known flows only |
//! | `filter` | allow and deny lists |
//! | `rate` | token buckets |
//! | `remembered` | flows whose backends the node remembers |

mod attack;
mod filter;
mod rate;
mod remembered;

pub use remembered::{Known, known};

use super::{Exit, Mark, Tables};
use crate::abi::{self, Bank, Row, ServiceEntry, options, unpinned_values};
use crate::exit::leave;
use crate::flow::Flow;
use crate::wire::{Be16, Ports};

unpinned_values! {
    /// A packet of such a service: value of the map `CASE`, where the CPU at work writes it down.
    Case = 64 {
        /// Of the client, v4-mapped, as all of a flow.
        source: [u64; 2],
        /// The VIP.
        destination: [u64; 2],
        /// Hash of the whole flow.
        hash: u64,
        /// As it lies on the wire.
        source_port: u16,
        /// The same.
        destination_port: u16,
        /// Its [`ServiceEntry::service_counter`].
        service: u32,
        /// Its [`ServiceEntry::first_backend`].
        first_backend: u32,
        /// Its [`ServiceEntry::table`].
        table: u32,
        /// Its [`ServiceEntry::options`].
        options: u16,
        /// IP protocol.
        protocol: u8,
        /// What packet it is: see [`about`].
        about: u8,
        /// Zero.
        reserved: u32,
    }
}

/// Bits of [`Case::about`].
pub mod about {
    /// It opens a flow: a SYN without ACK.
    pub const OPENS: u8 = 0x01;
    /// A fragment: the flow has no ports.
    pub const FRAGMENT: u8 = 0x02;
    /// An ICMP error, which the flow's client did not send.
    pub const ERROR: u8 = 0x04;
    /// A node's own probe.
    pub const PROBE: u8 = 0x08;
    /// It closes a flow: FIN or RST.
    pub const CLOSES: u8 = 0x10;
}

impl Case {
    /// `hash`: of the whole flow. `about`: of [`about`].
    #[inline(always)]
    pub(super) fn new(
        service: &ServiceEntry,
        flow: &Flow,
        hash: u64,
        about: u8,
        mark: Mark,
    ) -> Self {
        Self {
            hash,
            source: flow.source,
            destination: flow.destination,
            source_port: flow.ports.source.raw(),
            destination_port: flow.ports.destination.raw(),
            service: service.service_counter,
            first_backend: u32::from(service.first_backend),
            table: service.table,
            options: service.options,
            protocol: flow.protocol,
            about: about | (about::PROBE * u8::from(mark.is_probe())),
            reserved: 0,
        }
    }

    /// The family is the VIP's: it is never one of the special addresses that a source may claim.
    #[inline(always)]
    const fn is_v4(&self) -> bool {
        self.destination[0] == 0
    }

    #[inline(always)]
    fn flow(&self) -> Flow {
        Flow {
            source: self.source,
            destination: self.destination,
            ports: Ports {
                source: Be16::from_raw(self.source_port),
                destination: Be16::from_raw(self.destination_port),
            },
            protocol: self.protocol,
        }
    }
}

/// The packed row of a case; where its first hop is [`abi::ABSENT`], the second one is the number of the exit.
#[inline(always)]
pub fn run<T: Tables>(tables: &T, bank: &Bank, case: &Case) -> u64 {
    match find(tables, bank, case) {
        Ok(row) => row,
        Err(exit) => refusal(exit),
    }
}

#[inline(always)]
fn find<T: Tables>(tables: &T, bank: &Bank, case: &Case) -> Result<u64, Exit> {
    filter::check(tables, bank, case)?;
    attack::check(case)?;
    rate::check(tables, bank, case)?;
    if case.options & options::FLOW_TABLE == 0 {
        return Ok(by_hash(tables, bank, case));
    }
    let unknown = match remembered::find(tables, bank, case) {
        Ok(member) => return Ok(remembered::only(member)),
        Err(unknown) => unknown,
    };
    attack::check_unknown(case)?;
    let row = by_hash(tables, bank, case);
    if let Some(unknown) = unknown {
        remembered::meet(tables, bank, case, unknown, row);
    }
    Ok(row)
}

/// The row of what flows have in common that are to have one backend.
#[inline(always)]
fn by_hash<T: Tables>(tables: &T, bank: &Bank, case: &Case) -> u64 {
    let key = &bank.shared.flow;
    let hash = if case.options & options::HASH_SRC != 0 {
        key.hash(&case.flow().of_source())
    } else if case.options & options::HASH_SRC_DST != 0 || case.about & about::FRAGMENT != 0 {
        key.hash(&case.flow().of_pair())
    } else {
        case.hash
    };
    let row = hash as u32 & (abi::ROWS - 1);
    match tables.row(&case.table, row) {
        Some(row) => row.packed(),
        None => NO_ROW,
    }
}

/// No row at all: the maps do not agree.
pub const NO_ROW: u64 = refusal(Exit::NoTable);

/// What stands for a row where a case leaves by `exit`.
#[inline(always)]
const fn refusal(exit: Exit) -> u64 {
    abi::pack_row([abi::ABSENT, exit as u16, 0, 0])
}

/// The row of a case, wherever [`run`] is.
#[inline(always)]
pub(super) fn row<T: Tables>(tables: &T, bank: &Bank, case: &Case) -> Result<Row, Exit> {
    let packed = tables.extra(bank, case);
    let row = Row::of(packed);
    if !row.is_absent() {
        return Ok(row);
    }
    const DENIED: u16 = Exit::Denied as u16;
    const NOT_ALLOWED: u16 = Exit::NotAllowed as u16;
    const RATE_LIMITED: u16 = Exit::RateLimited as u16;
    const SOURCE_LIMITED: u16 = Exit::SourceLimited as u16;
    const ATTACK_SYN: u16 = Exit::AttackSyn as u16;
    const ATTACK_FRAGMENT: u16 = Exit::AttackFragment as u16;
    const ATTACK_UNKNOWN: u16 = Exit::AttackUnknown as u16;
    match (packed >> 16) as u16 {
        DENIED => leave(Exit::Denied),
        NOT_ALLOWED => leave(Exit::NotAllowed),
        RATE_LIMITED => leave(Exit::RateLimited),
        SOURCE_LIMITED => leave(Exit::SourceLimited),
        ATTACK_SYN => leave(Exit::AttackSyn),
        ATTACK_FRAGMENT => leave(Exit::AttackFragment),
        ATTACK_UNKNOWN => leave(Exit::AttackUnknown),
        _ => leave(Exit::NoTable),
    }
}
