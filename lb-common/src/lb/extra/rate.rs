//! How many packets a service takes, of everybody and of each prefix of sources.
//!
//! The source comes first: what one sends too much does not use up what the service takes of all. Probes take no token.

use super::{Case, Exit, about};
use crate::abi::{Bank, options};
use crate::flow::Flow;
use crate::lb::Tables;
use crate::rate::{FIRST_SOURCE, Rates, counts};
use crate::wire::{v4_mapped, v4_of};

/// Whether the packet is one of those that its service takes now.
#[inline(always)]
pub(super) fn check<T: Tables>(tables: &T, bank: &Bank, case: &Case) -> Result<(), Exit> {
    if case.options & options::RATES == 0 || case.about & about::PROBE != 0 {
        return Ok(());
    }
    let rates = &bank.extra(case.service).rates;
    // The client has not sent an error about its packets.
    if rates.source.cost != 0
        && case.about & about::ERROR == 0
        && case.counts(rates, counts::SOURCE_OPENS)
    {
        let bucket = FIRST_SOURCE + (source_hash(bank, case, rates) & rates.source_mask);
        if !tables.take(case.service, bucket, &rates.source) {
            return Err(Exit::SourceLimited);
        }
    }
    if rates.service.cost != 0
        && case.counts(rates, counts::SERVICE_OPENS)
        && !tables.take(case.service, 0, &rates.service)
    {
        return Err(Exit::RateLimited);
    }
    Ok(())
}

impl Case {
    /// Whether a limit is about this packet: `only_opens` is its bit for SYNs alone.
    #[inline(always)]
    fn counts(&self, rates: &Rates, only_opens: u8) -> bool {
        rates.counts & only_opens == 0 || self.about & about::OPENS != 0
    }
}

/// Hash of the prefix that the source is in, which nobody can foretell without the key.
#[inline(always)]
fn source_hash(bank: &Bank, case: &Case, rates: &Rates) -> u32 {
    let source = if case.is_v4() {
        let bits = mask(rates.prefix_v4) >> 32;
        v4_mapped(v4_of(case.source) & (bits as u32).to_be())
    } else {
        let length = rates.prefix_v6;
        let lower = length.saturating_sub(64);
        [
            case.source[0] & mask(length).to_be(),
            case.source[1] & mask(lower).to_be(),
        ]
    };
    let flow = Flow {
        source,
        ..case.flow()
    };
    (bank.shared.flow.hash(&flow.of_source()) >> 32) as u32
}

/// The first bits of a word, all of them from 64 on.
#[inline(always)]
const fn mask(length: u8) -> u64 {
    if length == 0 {
        0
    } else if length >= 64 {
        u64::MAX
    } else {
        !(u64::MAX >> length)
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn a_mask_has_the_first_bits() {
        for (length, expected) in [
            (0, 0),
            (1, 1 << 63),
            (24, 0xffff_ff00 << 32),
            (56, !0xff),
            (63, !1),
            (64, u64::MAX),
            (128, u64::MAX),
        ] {
            assert_eq!(mask(length), expected, "{length}");
        }
    }
}
