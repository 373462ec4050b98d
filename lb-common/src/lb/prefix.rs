//! VIPs that are prefixes, asked for where an address has no entry of its own.

use super::{Exit, Tables, Vip};
use crate::abi::{self, Bank};
use crate::exit::leave;
use crate::prefix;

/// The number of the VIP that is the longest prefix around an address; zero: there is none.
#[inline(always)]
pub fn number(bank: &Bank, address: [u64; 2]) -> u32 {
    prefix::find(&bank.prefixes, bank.shared.vip_seed, address, |place| {
        bank.occupied_bucket(place)
    })
}

/// That VIP, wherever [`number`] is.
#[inline(always)]
pub(super) fn find<T: Tables>(tables: &T, bank: &Bank, address: [u64; 2]) -> Result<Vip, Exit> {
    if bank.shared.prefixes == 0 {
        return leave(Exit::NotVip);
    }
    match tables.prefix(bank, address) {
        0 => leave(Exit::NotVip),
        id => Ok(Vip {
            id,
            mixed: abi::prefix_mixed(id),
        }),
    }
}

/// Whether an address is inside one.
#[inline(always)]
pub(super) fn holds<T: Tables>(tables: &T, bank: &Bank, address: [u64; 2]) -> bool {
    bank.shared.prefixes != 0 && tables.prefix(bank, address) != 0
}
