//! UDP: flows with a connected socket each, and datagrams without.
//!
//! | module | holds |
//! |---|---|
//! | `rows` | a node's rows, read from its maps |
//! | `settled` | where new flows begin, and that nothing is passed on afterwards |
//! | `survival` | flows while the table and the way change |

mod rows;
mod settled;
mod survival;

pub use settled::flows;
pub use survival::survival;
