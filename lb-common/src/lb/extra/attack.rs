//! Services under attack: only what belongs to a known flow goes on.
//!
//! | packet | what happens |
//! |---|---|
//! | SYN that opens a connection | dropped |
//! | fragment | dropped, but of UDP where the node remembers flows |
//! | of a flow that the node should remember and does not | dropped |
//! | ICMP error | goes on |
//! | any other | goes on; where backends know the flows, the tunnel's header tells them ([`crate::tunnel::flags::KNOWN_ONLY`]) |

use super::{Case, Exit, about};
use crate::abi::options;
use crate::wire::protocol;

/// Whether the packet may be one of a known flow.
#[inline(always)]
pub(super) fn check(case: &Case) -> Result<(), Exit> {
    if case.options & options::ATTACK == 0 {
        return Ok(());
    }
    let is_remembered = case.options & options::FLOW_TABLE != 0 && case.protocol == protocol::UDP;
    if case.about & about::OPENS != 0 {
        Err(Exit::AttackSyn)
    } else if case.about & about::FRAGMENT != 0 && !is_remembered {
        Err(Exit::AttackFragment)
    } else {
        Ok(())
    }
}

/// Whether a packet may go on whose flow the node does not remember.
#[inline(always)]
pub(super) fn check_unknown(case: &Case) -> Result<(), Exit> {
    const OTHERS: u8 = about::ERROR | about::PROBE;
    if case.options & options::ATTACK != 0 && case.about & OTHERS == 0 {
        Err(Exit::AttackUnknown)
    } else {
        Ok(())
    }
}
