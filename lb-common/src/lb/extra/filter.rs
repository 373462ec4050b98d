//! Allow and deny lists of a service.

use super::{Case, Exit};
use crate::abi::{Bank, options};
use crate::filter::Verdict;
use crate::lb::Tables;

/// Whether the service takes packets of this source.
#[inline(always)]
pub(super) fn check<T: Tables>(tables: &T, bank: &Bank, case: &Case) -> Result<(), Exit> {
    if case.options & options::FILTER == 0 {
        return Ok(());
    }
    let filter = &bank.extra(case.service).filter;
    let elements = tables.filter(u32::from(filter.slot)).ok_or(Exit::NoTable)?;
    match filter.verdict(case.source, case.is_v4(), elements) {
        Some(Verdict::Pass) => Ok(()),
        Some(Verdict::Denied) => Err(Exit::Denied),
        Some(Verdict::NotAllowed) => Err(Exit::NotAllowed),
        None => Err(Exit::NoTable),
    }
}
