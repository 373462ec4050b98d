//! Flows whose backends this node remembers: see [`crate::flow_table`].
//!
//! A packet of a flow that is not known goes by the row, one in the middle of a connection too. Whoever had the row before may be the
//! one who has that connection, but the packet that follows a SYN looks the same, and is not known yet: most are of that kind.
//!
//! | packet | what it does |
//! |---|---|
//! | SYN that opens a connection | goes by the row |
//! | ICMP error | goes where the flow goes, and changes nothing |
//! | a node's own probe | goes by the row: the table of the CPU that it runs on says nothing of the others |
//! | fragment | all of a client's to the VIP are one flow; of TCP they go by the row |
//! | any other | goes where the flow goes, and is remembered |

use super::{Case, about};
use crate::abi::{self, Backend, Bank, Row, backend_flags, options};
use crate::flow_table::{Bucket, Member, Outcome, Place, Sight, Unknown, identity};
use crate::lb::Tables;
use crate::wire::protocol;

/// Who has the flow of a case, or why nobody has; none: the packet says nothing of that.
#[inline(always)]
pub(super) fn find<T: Tables>(
    tables: &T,
    bank: &Bank,
    case: &Case,
) -> Result<Member, Option<Unknown>> {
    let buckets = tables.flow_buckets();
    let is_fragment = case.about & about::FRAGMENT != 0 && case.protocol != protocol::UDP;
    if buckets == 0 || case.about & (about::OPENS | about::PROBE) != 0 || is_fragment {
        return Err(None);
    }
    let place = Place::new(bank.shared.flow.place(case.hash), buckets);
    let sight = sight(bank, case, place, tables.tick());
    let keeps = |member| keeps(bank, case, member);
    if case.about & about::ERROR != 0 {
        let found = tables.flow_bucket(place.bucket, |bucket| bucket.look(&sight));
        return match found {
            Some(Some(member)) if keeps(member) => Ok(member),
            _ => Err(None),
        };
    }
    match tables.flow_bucket(place.bucket, |bucket| bucket.see(&sight, keeps)) {
        Some(Ok(member)) => {
            tables.count_flow(Outcome::Known);
            Ok(member)
        }
        Some(Err(unknown)) => Err(Some(unknown)),
        None => Err(None),
    }
}

/// Notes or enters a flow that nobody has, and whose row is `row`.
///
/// Its place is computed anew: handed over from [`find`], the compiler would leave it undefined on ways that do not come here, and the
/// verifier refuses to copy that.
#[inline(always)]
pub(super) fn meet<T: Tables>(tables: &T, bank: &Bank, case: &Case, unknown: Unknown, row: u64) {
    let row = Row::of(row);
    if row.is_absent() {
        return;
    }
    let first = row.hop(0) as u16;
    let place = Place::new(bank.shared.flow.place(case.hash), tables.flow_buckets());
    let sight = sight(bank, case, place, tables.tick());
    let member = Member {
        index: first,
        identity: identity(backend(bank, case, first).address),
    };
    let met = tables.flow_bucket(place.bucket, |bucket| bucket.meet(&sight, unknown, member));
    if let Some(outcome) = met {
        tables.count_flow(outcome);
    }
}

#[inline(always)]
fn sight(bank: &Bank, case: &Case, place: Place, now: u16) -> Sight {
    Sight {
        fingerprint: place.fingerprint,
        now,
        timeout: bank.extra(case.service).flow_timeout,
        closes: case.about & about::CLOSES != 0,
    }
}

/// A flow that a CPU remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its backend's address.
    pub address: [u64; 2],
    /// Ticks since its last packet.
    pub silent: u16,
}

/// What a CPU remembers of the flow of a case, where its packets go by that; changes nothing. `bucket`: one of the CPU's, of which
/// there are `buckets`.
pub fn known(
    bank: &Bank,
    case: &Case,
    buckets: u32,
    now: u16,
    bucket: impl FnOnce(u32) -> Option<Bucket>,
) -> Option<Known> {
    if buckets == 0 || case.options & options::FLOW_TABLE == 0 {
        return None;
    }
    let place = Place::new(bank.shared.flow.place(case.hash), buckets);
    let sight = sight(bank, case, place, now);
    let bucket = bucket(place.bucket)?;
    let member = bucket.look(&sight)?;
    keeps(bank, case, member).then_some(Known {
        address: backend(bank, case, member.index).address,
        silent: bucket.silent(&sight)?,
    })
}

/// A row with no other hop.
#[inline(always)]
pub(super) fn only(member: Member) -> u64 {
    abi::pack_row([member.index, abi::ABSENT, abi::ABSENT, abi::ABSENT])
}

#[inline(always)]
fn backend<'b>(bank: &'b Bank, case: &Case, index: u16) -> &'b Backend {
    bank.backend(case.first_backend + u32::from(index))
}

/// Whether a backend may keep a flow. UDP has nothing to lose where the checks fail: the next datagram begins anew. A TCP connection
/// stays, since checks may be wrong, until nothing can live there any more.
#[inline(always)]
fn keeps(bank: &Bank, case: &Case, member: Member) -> bool {
    const ALIVE: u16 = backend_flags::REACHABLE | backend_flags::UP;
    let backend = backend(bank, case, member.index);
    let flags = backend.flags;
    let is_alive = flags & ALIVE == ALIVE
        || flags & (backend_flags::REACHABLE | backend_flags::JUDGED) == backend_flags::REACHABLE;
    identity(backend.address) == member.identity
        && flags & backend_flags::GONE == 0
        && (is_alive || case.protocol != protocol::UDP)
}
