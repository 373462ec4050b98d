//! ICMP to a VIP: pings are answered, errors go to the backend of the flow that they are about.
//!
//! An error quotes a packet that a backend sent from the VIP. The quoted tuple reversed is that of the client's packets, so that
//! every node sends the error where it would send them, whichever node they come to; and the second chance follows.

use super::aside::{common, task};
use super::extra::about;
use super::inner::Inner;
use super::{Errand, Exit, L3, Vip};
use crate::abi::{Bank, fragments_key, service_key};
use crate::exit::{OrLeave as _, leave};
use crate::flow::Flow;
use crate::packet::{Packet, Transit};
use crate::quote::{Quote, is_error_v4, is_error_v6, quoted_v4, quoted_v6};
use crate::wire::{Address6, Be16, Be32, Icmp, Ipv4, Ipv6, Ports, protocol, v4_mapped};

/// Family and kind of the errors that are counted apart, in the order of [`crate::abi::error_counter`].
pub const ERRORS: [(&str, &str); 10] = [
    ("ipv4", "unreachable"),
    ("ipv4", "too_big"),
    ("ipv4", "time_exceeded"),
    ("ipv4", "parameter"),
    ("ipv4", "other"),
    ("ipv6", "unreachable"),
    ("ipv6", "too_big"),
    ("ipv6", "time_exceeded"),
    ("ipv6", "parameter"),
    ("ipv6", "other"),
];

/// Where an error goes; none: it may be a ping.
#[inline(always)]
pub(super) fn read<'b, P: Transit>(
    packet: &mut P,
    bank: &'b Bank,
    vip: Vip,
    inner: &Inner,
) -> Result<Option<Errand<'b>>, Exit> {
    let task = if inner.kind == protocol::IPV4 {
        task::QUOTED_V4
    } else {
        task::QUOTED_V6
    };
    let found = packet.aside(task, inner.transport as u32, L3 as u32 + inner.length);
    let v4 = found & common::V6 == 0;
    match found & 0xff {
        Found::FLOW | Found::FRAGMENT => {}
        Found::NO_ERROR => return Ok(None),
        Found::OTHER_SENDER => return leave(Exit::QuotesOther),
        Found::NO_PORTS => return leave(Exit::Icmp),
        _ => return leave(Exit::Malformed),
    }
    let found = Found(found);
    let (source, destination) = if v4 {
        let client = packet.get_at::<Be32>(found.client());
        let ip = packet.get::<Ipv4>(L3).or_leave(Exit::Malformed)?;
        (
            v4_mapped(client.or_leave(Exit::Malformed)?.raw()),
            v4_mapped(ip.destination),
        )
    } else {
        let client = packet.get_at::<Address6>(found.client());
        let client = client.or_leave(Exit::Malformed)?;
        let ip = packet.get::<Ipv6>(L3).or_leave(Exit::Malformed)?;
        ([client.high, client.low], ip.destination)
    };
    let flow = Flow {
        source,
        destination,
        ports: found.ports(),
        protocol: found.protocol(),
    };
    let key = service_key(vip.id, flow.protocol, flow.ports.destination.value());
    let (service, about) = if found.0 & 0xff == Found::FRAGMENT {
        let service = bank.find_exact(fragments_key(key), vip.mixed);
        let service = service.or_leave(Exit::QuotesFragment)?;
        (service, about::ERROR | about::FRAGMENT)
    } else {
        let service = bank
            .find_service::<P>(key, vip.mixed)
            .or_leave(Exit::NoService)?;
        (service, about::ERROR)
    };
    Ok(Some(Errand {
        service,
        flow,
        about,
        v4,
        error: P::settle(u64::from(found.counter())) as u32,
    }))
}

/// What an ICMP message is about.
///
/// ```text
///  bit 0  one of the constants       8  UDP, not TCP       9  place in ERRORS      13  offset of the client's address
///     32  the client's port, as it lies       48  the VIP's port, as it lies
/// ```
#[derive(Clone, Copy)]
struct Found(u64);

impl Found {
    const MALFORMED: u64 = 0;
    /// About a flow.
    const FLOW: u64 = 1;
    const NO_ERROR: u64 = 2;
    /// About a packet that the VIP did not send.
    const OTHER_SENDER: u64 = 3;
    /// About a fragment that is not the first: there are no ports.
    const FRAGMENT: u64 = 4;
    /// About a packet of another protocol.
    const NO_PORTS: u64 = 5;

    /// `quoted`: the ports of the packet of the VIP.
    #[inline(always)]
    fn flow(protocol: u8, error: u32, client: usize, quoted: Ports) -> u64 {
        let (vip, client_port) = (quoted.source.raw(), quoted.destination.raw());
        Self::FLOW
            | u64::from(protocol == protocol::UDP) << 8
            | u64::from(error) << 9
            | (client as u64 & 0x7fff) << 13
            | u64::from(client_port) << 32
            | u64::from(vip) << 48
    }

    #[inline(always)]
    const fn protocol(self) -> u8 {
        if self.0 >> 8 & 1 != 0 {
            protocol::UDP
        } else {
            protocol::TCP
        }
    }

    /// Its place in [`ERRORS`].
    #[inline(always)]
    const fn counter(self) -> u32 {
        (self.0 >> 9) as u32 & 15
    }

    #[inline(always)]
    const fn client(self) -> usize {
        (self.0 >> 13) as usize & 0x7fff
    }

    /// As the client's packets have them.
    #[inline(always)]
    const fn ports(self) -> Ports {
        Ports {
            source: Be16::from_raw((self.0 >> 32) as u16),
            destination: Be16::from_raw((self.0 >> 48) as u16),
        }
    }
}

/// What the ICMP message at `at`, which ends at `end`, is about: a [`Found`].
#[inline(always)]
pub(super) fn find_v4<P: Packet>(packet: &P, at: usize, end: usize) -> u64 {
    let Some((kind, code)) = header(packet, at, end) else {
        return Found::MALFORMED;
    };
    if !is_error_v4(kind) {
        return Found::NO_ERROR;
    }
    let (Some(ip), Some(quote)) = (packet.get::<Ipv4>(L3), quoted_v4(packet, at, end)) else {
        return Found::MALFORMED;
    };
    if quote.source != ip.destination {
        return Found::OTHER_SENDER;
    }
    const FRAGMENTATION_NEEDED: u8 = 4;
    let error = match kind {
        3 if code == FRAGMENTATION_NEEDED => 1,
        3 => 0,
        11 => 2,
        12 => 3,
        _ => 4,
    };
    let client = at + size_of::<Icmp>() + core::mem::offset_of!(Ipv4, destination);
    flow(packet, &quote, error, client)
}

/// Like [`find_v4`].
#[inline(always)]
pub(super) fn find_v6<P: Packet>(packet: &P, at: usize, end: usize) -> u64 {
    let Some((kind, _)) = header(packet, at, end) else {
        return Found::MALFORMED;
    };
    if !is_error_v6(kind) {
        return Found::NO_ERROR;
    }
    let (Some(ip), Some(quote)) = (packet.get::<Ipv6>(L3), quoted_v6(packet, at, end)) else {
        return Found::MALFORMED;
    };
    if quote.source[0] != ip.destination[0] || quote.source[1] != ip.destination[1] {
        return Found::OTHER_SENDER;
    }
    let error = match kind {
        1..=4 => 4 + u32::from(kind),
        _ => 9,
    };
    let client = at + size_of::<Icmp>() + core::mem::offset_of!(Ipv6, destination);
    flow(packet, &quote, error, client)
}

/// Type and code.
#[inline(always)]
fn header<P: Packet>(packet: &P, at: usize, end: usize) -> Option<(u8, u8)> {
    if at + size_of::<Icmp>() > end {
        return None;
    }
    let icmp = packet.get_at::<Icmp>(at)?;
    Some((icmp.kind, icmp.code))
}

#[inline(always)]
fn flow<P: Packet, A>(packet: &P, quote: &Quote<A>, error: u32, client: usize) -> u64 {
    if quote.protocol != protocol::TCP && quote.protocol != protocol::UDP {
        return Found::NO_PORTS;
    }
    if quote.is_later_fragment() {
        let without_ports = Found::flow(quote.protocol, error, client, Ports::default());
        return without_ports & !0xff | Found::FRAGMENT;
    }
    match quote.transport(packet) {
        Some(quoted) => Found::flow(quote.protocol, error, client, quoted.ports),
        None => Found::MALFORMED,
    }
}
