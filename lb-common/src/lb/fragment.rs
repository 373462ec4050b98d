//! Fragments: the first has ports and the others do not, so that all go by what all have.
//!
//! Their row is that of source, destination and protocol (of the source alone where the service says so), at every node the same
//! and with nothing remembered; the service is the one of the VIP and protocol that takes fragments. Of one of TCP all packets
//! must go that way, or the parts of a flow would have two backends: the agent marks such services only.

use super::aside::{common, task};
use super::extra::about;
use super::inner::Inner;
use super::{Errand, Exit, L3, NO_ERROR, Vip};
use crate::abi::{self, Bank};
use crate::exit::{OrLeave as _, leave};
use crate::flow::Flow;
use crate::packet::{Packet, Transit};
use crate::wire::{
    FragmentHeader, IPV4_FRAGMENT_MASK, Ipv4, Ipv6, Ports, Tcp, Udp, protocol, v4_mapped,
};

/// Where a fragment goes.
#[inline(always)]
pub(super) fn read<'b, P: Transit>(
    packet: &mut P,
    bank: &'b Bank,
    vip: Vip,
    inner: &Inner,
) -> Result<Errand<'b>, Exit> {
    let task = if inner.kind == protocol::IPV4 {
        task::FRAGMENT_V4
    } else {
        task::FRAGMENT_V6
    };
    let found = Found(packet.aside(task, inner.transport as u32, L3 as u32 + inner.length));
    let v4 = found.0 & common::V6 == 0;
    match found.kind() {
        Found::FIRST | Found::LATER => {}
        Found::NONE => return leave(Exit::NoService),
        Found::TINY => return leave(Exit::TinyFragment),
        Found::NO_PORTS => return leave(Exit::Fragment),
        _ => return leave(Exit::Malformed),
    }
    let (source, destination) = if v4 {
        let ip = packet.get::<Ipv4>(L3).or_leave(Exit::Malformed)?;
        (v4_mapped(ip.source), v4_mapped(ip.destination))
    } else {
        let ip = packet.get::<Ipv6>(L3).or_leave(Exit::Malformed)?;
        (ip.source, ip.destination)
    };
    let key = abi::service_key(vip.id, found.protocol(), 0);
    let service = bank.find_exact(abi::fragments_key(key), vip.mixed);
    let service = service.or_leave(Exit::Fragment)?;
    if found.kind() == Found::FIRST {
        let of_port = bank.find_service::<P>(key | u64::from(found.port()), vip.mixed);
        if of_port.or_leave(Exit::NoService)?.service_counter != service.service_counter {
            return leave(Exit::Fragment);
        }
    }
    let flow = Flow {
        source,
        destination,
        ports: Ports::default(),
        protocol: found.protocol(),
    };
    Ok(Errand {
        service,
        flow,
        about: about::FRAGMENT,
        v4,
        error: P::settle(u64::from(NO_ERROR)) as u32,
    })
}

/// What a fragment is.
///
/// ```text
///  bit 0  one of the constants       8  protocol       28  see `common`       48  destination port of a first one
/// ```
#[derive(Clone, Copy)]
struct Found(u64);

impl Found {
    const MALFORMED: u64 = 0;
    /// It has the transport header.
    const FIRST: u64 = 1;
    const LATER: u64 = 2;
    /// No fragment at all.
    const NONE: u64 = 3;
    /// A first one without the whole transport header, or one that would write over it (RFC 1858, RFC 3128).
    const TINY: u64 = 4;
    /// Of another protocol.
    const NO_PORTS: u64 = 5;

    #[inline(always)]
    const fn kind(self) -> u64 {
        self.0 & 0xff
    }

    #[inline(always)]
    const fn protocol(self) -> u8 {
        (self.0 >> 8) as u8
    }

    #[inline(always)]
    const fn port(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

/// What the packet is whose IPv4 header ends at `at`, and which ends at `end`: a [`Found`].
#[inline(always)]
pub(super) fn find_v4<P: Packet>(packet: &P, at: usize, end: usize) -> u64 {
    let Some(ip) = packet.get::<Ipv4>(L3) else {
        return Found::MALFORMED;
    };
    let fragment = ip.fragment.value() & IPV4_FRAGMENT_MASK;
    if fragment == 0 {
        return Found::NONE;
    }
    part(packet, ip.protocol, fragment << 3, at, end)
}

/// The same of a packet whose fragment header is at `at`.
#[inline(always)]
pub(super) fn find_v6<P: Packet>(packet: &P, at: usize, end: usize) -> u64 {
    let Some(header) = packet.get_at::<FragmentHeader>(at) else {
        return Found::MALFORMED;
    };
    let offset = header.offset_more.value() & !7;
    let behind = at + size_of::<FragmentHeader>();
    part(packet, header.next_header, offset, behind, end)
}

/// A part that begins so many bytes behind the first one's begin.
#[inline(always)]
fn part<P: Packet>(packet: &P, protocol: u8, offset: u16, at: usize, end: usize) -> u64 {
    let header = match protocol {
        protocol::TCP => size_of::<Tcp>(),
        protocol::UDP => size_of::<Udp>(),
        _ => return Found::NO_PORTS,
    };
    let protocol = u64::from(protocol) << 8;
    if offset != 0 {
        let kind = if usize::from(offset) < header {
            Found::TINY
        } else {
            Found::LATER
        };
        return kind | protocol;
    }
    if at + header > end {
        return Found::TINY;
    }
    match packet.get_at::<Ports>(at) {
        Some(ports) => Found::FIRST | protocol | u64::from(ports.destination.value()) << 48,
        None => Found::MALFORMED,
    }
}
