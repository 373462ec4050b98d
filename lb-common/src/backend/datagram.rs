//! The decision about UDP.
//!
//! | datagram | decision |
//! |---|---|
//! | of a service whose flows have no sockets | accept |
//! | a socket is connected to its client | accept |
//! | hops left | next hop |
//! | no hop left | back to the first, which accepts it: a new flow begins where its row says |
//!
//! An ICMP error follows the quoted datagram, but begins no flow.

use super::inner::Inner;
use super::outer::Outer;
use super::{Exit, Sockets, Step, Tables, find_service};
use crate::backend_abi::Config;
use crate::packet::Packet;
use crate::wire::protocol;

#[inline(always)]
pub(super) fn decide<P: Packet, T: Tables, S: Sockets<P>>(
    tables: &T,
    config: &Config,
    sockets: &S,
    outer: &Outer,
    inner: &Inner,
    vip: u32,
) -> Step {
    let service = find_service(tables, config, vip, protocol::UDP, inner.port);
    let Some(service) = service.filter(|service| service.connected != 0) else {
        return Step::Accept(Exit::AcceptedStateless);
    };
    if sockets.connected(&inner.flow) {
        return Step::Accept(Exit::AcceptedSocket);
    }
    // As for TCP: only a first hop may stand in for its servers.
    if outer.index == 0 && service.blind != 0 {
        return Step::Accept(Exit::AcceptedBlind);
    }
    let is_only_hop = outer.index == 0 && !outer.hops_left();
    if is_only_hop || !outer.hops_left() && inner.is_error() {
        Step::Accept(Exit::AcceptedLastHop)
    } else if !tables.spend() {
        Step::Accept(Exit::AcceptedNoBudget)
    } else if outer.hops_left() {
        Step::PassOn
    } else {
        Step::Return
    }
}
