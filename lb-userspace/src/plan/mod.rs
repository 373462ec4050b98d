//! Desired state against what the kernel holds: an ordered list of operations. Pure.
//!
//! | file | holds |
//! |---|---|
//! | [`desired`] | what the agent wants, in the operator's terms |
//! | [`slots`] | numbers that must stay the same while counters run: services, pool members, tables |
//! | [`image`] | the same in the datapath's terms: one bank and the tables it points to |
//! | [`vips`] | entries of VIPs |
//! | [`differences`](mod@differences) | what the kernel holds and should not, or the other way round, in words |
//!
//! [`plan`] compares images. One that is equal needs nothing; any difference is built in the bank that is not in use, with
//! changed rows in the spare table of their pair, and becomes live by one store of the root. The last operation waits until no
//! packet can see the former bank: only then may the next plan write there.

#![forbid(unsafe_code)]

pub mod desired;
pub mod differences;
pub mod image;
pub mod slots;
#[cfg(test)]
mod tests;
pub mod vips;

use std::sync::Arc;

use lb_common::filter::Element;

pub use desired::{Desired, DesiredBackend, DesiredPool, DesiredService, ServiceOptions};
pub use differences::{Difference, differences};
pub use image::{Image, Observed, Seeds};
pub use slots::{Block, Slots};

/// One operation on the datapath.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Makes and pins the table `index`.
    CreateTable {
        /// Index in the outer map.
        index: u32,
    },
    /// Fills a table that no live service points to.
    FillTable {
        /// Index in the outer map.
        index: u32,
        /// Packed rows.
        rows: Arc<[u64]>,
    },
    /// Makes and fills the filter in a slot that no live service names.
    FillFilter {
        /// Index in the outer map.
        slot: u32,
        /// Its content.
        elements: Arc<[Element]>,
    },
    /// Gives up a filter that no packet looks at any more.
    DropFilter {
        /// Index in the outer map.
        slot: u32,
    },
    /// Makes the buckets of a service, full, in the place of any other.
    MakeBuckets {
        /// Its counter.
        service: u32,
        /// How many.
        buckets: u32,
    },
    /// Gives up buckets that no packet looks at any more.
    DropBuckets {
        /// Counter of the service.
        service: u32,
    },
    /// A counter is used for another service from now on.
    ZeroServiceCounter {
        /// Its index.
        counter: u32,
    },
    /// A block of counters is used for another service from now on.
    ZeroBackendCounters {
        /// First index.
        first: u32,
        /// How many.
        count: u32,
    },
    /// Counters of a service's backends begin anew, and what they hold stays with the service.
    RetireBackendCounters {
        /// Counter of the service.
        service: u32,
        /// First index.
        first: u32,
        /// How many.
        count: u32,
    },
    /// Fills the bank that is not in use.
    FillBank {
        /// 0 or 1.
        bank: u32,
        /// What goes there.
        image: Arc<Image>,
        /// Under which the entries fit their buckets.
        seeds: Seeds,
    },
    /// The bank becomes live.
    Switch {
        /// 0 or 1.
        bank: u32,
    },
    /// No packet sees the former bank any more.
    Barrier,
}

/// Why no plan can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A limit of the datapath.
    #[error(
        "{what}: {wanted} wanted, {limit} possible in this version; split the configuration over more nodes"
    )]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// So many.
        wanted: usize,
        /// At most.
        limit: usize,
    },
    /// No seed was found.
    #[error(
        "{what}: {count} entries do not fit the index; split the configuration over more nodes"
    )]
    Index {
        /// Which index.
        what: &'static str,
        /// Entries.
        count: usize,
    },
}

/// Operations that turn `observed` into `image`; none where they agree.
///
/// `image` names pairs of tables; the plan chooses the member of each pair.
pub fn plan(image: &Image, observed: &Observed) -> Result<Vec<Op>, PlanError> {
    let (mut placed, fills) = image.place(observed);
    let filters = placed.place_filters(observed)?;
    let used = placed.filter_slots();
    let unused = observed.filters.difference(&used);
    let drops = unused.map(|&slot| Op::DropFilter { slot });
    let buckets = placed.buckets();
    let spare = observed
        .buckets
        .keys()
        .filter(|of| !buckets.contains_key(of));
    let drops = drops.chain(spare.map(|&service| Op::DropBuckets { service }));
    let lacking = buckets
        .iter()
        .filter(|(service, count)| observed.buckets.get(service) != Some(count));
    let makes: Vec<Op> = lacking
        .map(|(&service, &buckets)| Op::MakeBuckets { service, buckets })
        .collect();
    let new = fills.len() + filters.len() + makes.len();
    if new == 0 && observed.image.as_ref() == Some(&placed) {
        let drops: Vec<Op> = drops.collect();
        // A former agent did not get so far.
        let barrier = (!drops.is_empty()).then_some(Op::Barrier);
        return Ok(barrier.into_iter().chain(drops).collect());
    }
    let bank = observed.bank ^ 1;
    let seeds = Seeds::find(&placed)?;
    let mut ops = Vec::new();
    for (index, rows) in fills {
        let pair = [index & !1, index | 1];
        ops.extend(
            pair.into_iter()
                .filter(|index| !observed.existing.contains(index))
                .map(|index| Op::CreateTable { index }),
        );
        ops.push(Op::FillTable { index, rows });
    }
    let filters = filters.into_iter();
    ops.extend(filters.map(|(slot, elements)| Op::FillFilter { slot, elements }));
    ops.extend(makes);
    ops.push(Op::FillBank {
        bank,
        image: Arc::new(placed),
        seeds,
    });
    ops.push(Op::Switch { bank });
    ops.push(Op::Barrier);
    ops.extend(drops);
    Ok(ops)
}
