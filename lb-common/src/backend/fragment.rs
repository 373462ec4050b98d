//! Fragments. The first part of a packet has the headers by which it is judged as the whole would be; where it has gone is
//! remembered for a while, and the others follow it.
//!
//! A part whose first one is not known is accepted: where all flows of its service end at the first hop, as stateless ones do,
//! parts may come in any order. Of a flow that another hop has, parts that overtake the first are lost, and it is sent again.
//! None of this makes the kernel reset a connection: it answers whole segments only.

use super::inner::{self, Parts};
use super::outer::{self, Outer};
use super::{Exit, Sockets, Step, Tables, act, find_vip, flagged, judge};
use crate::backend_abi::Config;
use crate::ipv6::upper_layer;
use crate::packet::Packet;
use crate::wire::{
    FragmentHeader, IPV4_FRAGMENT_MASK, IPV4_MORE_FRAGMENTS, Ipv4, Ipv6, protocol, v4_mapped,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The packet that a fragment is a part of (RFC 791, RFC 8200): key of a map.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Whole {
    /// As it lies on the wire.
    pub source: [u64; 2],
    /// As it lies on the wire.
    pub destination: [u64; 2],
    /// What the sender has numbered it.
    pub identification: u32,
    /// Of the fragmented part.
    pub protocol: u32,
}

/// Where the first part has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// To the next hop.
    Next,
    /// Back to the first hop.
    First,
    /// Nowhere, though one of an earlier packet with the same number had.
    Here,
}

/// The number of the VIP that a fragment is for; zero: of none.
///
/// A program has this and [`part`] as global functions, which the verifier looks at once and not for every way that leads here. Two,
/// since the stack of the second leaves no room for another below it.
#[inline(always)]
pub fn part_vip<P: Packet, T: Tables>(packet: &P, tables: &T) -> u32 {
    destination(packet, tables).unwrap_or(0)
}

#[inline(always)]
fn destination<P: Packet, T: Tables>(packet: &P, tables: &T) -> Option<u32> {
    let config = tables.config()?;
    let outer = outer::headers(packet, config).ok()?;
    let address = if outer.kind == protocol::IPV4 {
        v4_mapped(packet.get_at::<Ipv4>(outer.inner)?.destination)
    } else {
        packet.get_at::<Ipv6>(outer.inner)?.destination
    };
    find_vip(tables, config, address)
}

/// Decides about a packet that [`super::whole`] has left as a fragment. `vip`: see [`part_vip`].
#[inline(always)]
pub fn part<P: Packet, T: Tables, S: Sockets<P>>(
    packet: &mut P,
    tables: &T,
    sockets: &S,
    vip: u32,
) -> Exit {
    match decide(packet, tables, sockets, vip) {
        Ok(exit) | Err(exit) => exit,
    }
}

#[inline(always)]
fn decide<P: Packet, T: Tables, S: Sockets<P>>(
    packet: &mut P,
    tables: &T,
    sockets: &S,
    vip: u32,
) -> Result<Exit, Exit> {
    let config = tables.config().ok_or(Exit::NotTunnel)?;
    // It was all there before.
    let outer = outer::headers(packet, config)?;
    let part = read(packet, &outer)?;
    let whole = part.whole(packet, &outer).ok_or(Exit::Malformed)?;
    if vip == 0 {
        return Err(Exit::NotOurVip);
    }
    let (step, ecn) = if part.is_first {
        first(packet, tables, config, sockets, &outer, &whole, vip)?
    } else {
        // What has come back with the first part has been remembered as gone, and would go round again.
        let step = match (flagged(outer.flags), tables.recall(&whole)) {
            (Some(exit), _) => Step::Accept(exit),
            (None, Some(Gone::Next)) if outer.hops_left() => Step::PassOn,
            (None, Some(Gone::First)) => Step::Return,
            (None, Some(Gone::Next | Gone::Here) | None) => Step::Accept(Exit::AcceptedFragment),
        };
        (step, part.ecn)
    };
    act(packet, tables, config, &outer, ecn, step)
}

#[inline(always)]
fn first<P: Packet, T: Tables, S: Sockets<P>>(
    packet: &P,
    tables: &T,
    config: &Config,
    sockets: &S,
    outer: &Outer,
    whole: &Whole,
    vip: u32,
) -> Result<(Step, u8), Exit> {
    let inner = inner::read(packet, outer, Parts::First)?;
    // What the kernel joined of fragments is a whole again; a fragment in something joined is none of a packet alone.
    if packet.is_joined() {
        return Err(Exit::Joined);
    }
    let step = judge(packet, tables, config, sockets, outer, &inner, vip)?;
    match step {
        // Numbers come again: most clients have 65,536 of them, and share them where they share an address.
        Step::Accept(_) if tables.recall(whole).is_some() => tables.remember(whole, Gone::Here),
        Step::Accept(_) => {}
        Step::PassOn => tables.remember(whole, Gone::Next),
        Step::Return => tables.remember(whole, Gone::First),
    }
    Ok((step, inner.ecn))
}

/// What its own headers say of a part.
struct Part {
    identification: u32,
    protocol: u8,
    is_first: bool,
    ecn: u8,
}

impl Part {
    /// What it is a part of. Read on its own: as one value the two take more of the stack than there is.
    #[inline(always)]
    fn whole<P: Packet>(&self, packet: &P, outer: &Outer) -> Option<Whole> {
        let (source, destination) = if outer.kind == protocol::IPV4 {
            let ip = packet.get_at::<Ipv4>(outer.inner)?;
            (v4_mapped(ip.source), v4_mapped(ip.destination))
        } else {
            let ip = packet.get_at::<Ipv6>(outer.inner)?;
            (ip.source, ip.destination)
        };
        Some(Whole {
            source,
            destination,
            identification: self.identification,
            protocol: u32::from(self.protocol),
        })
    }
}

/// Reads what all parts have.
#[inline(always)]
fn read<P: Packet>(packet: &P, outer: &Outer) -> Result<Part, Exit> {
    if outer.kind == protocol::IPV4 {
        let ip = packet.get_at::<Ipv4>(outer.inner).ok_or(Exit::Malformed)?;
        let fragment = ip.fragment.value();
        let end = outer.inner + usize::from(ip.total_length.value());
        if ip.version_ihl >> 4 != 4 || end > outer.end {
            return Err(Exit::Malformed);
        }
        return Ok(Part {
            identification: u32::from(ip.identification.value()),
            protocol: ip.protocol,
            is_first: fragment & IPV4_FRAGMENT_MASK & !IPV4_MORE_FRAGMENTS == 0,
            ecn: ip.tos & 3,
        });
    }
    let ip = packet.get_at::<Ipv6>(outer.inner).ok_or(Exit::Malformed)?;
    let first = ip.next_header;
    let label = ip.version_class_label.value();
    let behind = outer.inner + size_of::<Ipv6>();
    let end = behind + usize::from(ip.payload_length.value());
    if label >> 28 != 6 || end > outer.end {
        return Err(Exit::Malformed);
    }
    let (next, at) = upper_layer(packet, first, behind).ok_or(Exit::Malformed)?;
    let part = packet.get_at::<FragmentHeader>(at).ok_or(Exit::Malformed)?;
    if next != protocol::FRAGMENT {
        return Err(Exit::Malformed);
    }
    Ok(Part {
        identification: part.identification.value(),
        protocol: part.next_header,
        is_first: part.offset_more.value() & !7 == 0,
        ecn: (label >> 20) as u8 & 3,
    })
}
