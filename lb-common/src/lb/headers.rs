//! Headers that tunnels have in common.
//!
//! A packet's headers are written in words of eight bytes, across the borders of their fields: numbers in the order of the wire, of
//! which the agent has [`prepare`]d all that packets to a backend share. A field at a time took a third more instructions.

use super::Exit;
use crate::abi::{Backend, Bank, TAG};
use crate::exit::{OrLeave as _, leave};
use crate::flow;
use crate::packet::Transit;
use crate::wire::{
    Address6, Be16, Be32, Be64, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_DF, Tagged, fold, halves,
    protocol, v4_of, wire,
};

wire! {
    /// Ethernet and IPv4, but for the last two bytes of the destination: those are the first ones of [`Backend::udp`].
    FrontIpv4 {
        macs: u64,
        /// See [`Backend::head`].
        head: Be64,
        /// Length to protocol.
        middle: Be64,
        /// See [`Backend::ends`].
        ends: Be64,
    }
    /// Ethernet and IPv6.
    FrontIpv6 {
        macs: u64,
        /// See [`Backend::head`].
        head: Be64,
        /// The rest of the flow label, and the length.
        label_length: Be32,
        next_hop_limit: Be16,
        source: Address6,
        destination: Address6,
    }
    /// What follows over IPv4: the end of the destination, and UDP.
    UdpIpv4 {
        /// See [`Backend::udp`].
        all: Be64,
        checksum: u16,
    }
    /// The same over IPv6: UDP.
    UdpIpv6 {
        /// See [`Backend::udp`].
        all: Be64,
    }
}

const HOP_LIMIT: u64 = 64;
/// A source port among those that no service has.
const SOURCE_PORT: u64 = 0xc000;

/// Sets what the headers of all packets to this backend's address share. `macs`: destination first; `source`: the outer one, as it
/// lies; `port`: the tunnel's.
pub fn prepare(to: &mut Backend, macs: [u8; 12], source: u32, port: u16) {
    let [a, b, c, d, e, f, g, h, rest @ ..] = macs;
    to.macs_low = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
    let ports = SOURCE_PORT << 48 | u64::from(port) << 32;
    let (ethertype, version) = if to.address[0] == 0 {
        let [source, destination] = [source, v4_of(to.address)].map(u32::from_be);
        to.ends = 0xffff << 48 | u64::from(source) << 16 | u64::from(destination >> 16);
        to.udp = u64::from(destination) << 48 | ports >> 16;
        to.checksum = outer_checksum(source, destination);
        (ETHERTYPE_IPV4, 0x4500)
    } else {
        (to.ends, to.udp, to.checksum) = (0, ports, 0);
        (ETHERTYPE_IPV6, 0x6000)
    };
    let rest = u32::from_be_bytes(rest);
    to.head = u64::from(rest) << 32 | u64::from(ethertype.value()) << 16 | version;
}

/// Sum of the outer IPv4 header's words that no packet changes: version, identification, flags, TTL and protocol, source,
/// destination.
const fn outer_checksum(source: u32, destination: u32) -> u16 {
    let constant = 0x4500 + IPV4_DF as u32 + ((HOP_LIMIT as u32) << 8 | protocol::UDP as u32);
    fold(constant + halves(source) + halves(destination))
}

impl FrontIpv4 {
    /// The outer header (RFC 2003, RFC 6040: DSCP and ECN are those of the inner one). `length`: all of the packet.
    #[inline(always)]
    pub(super) fn put(&mut self, to: &Backend, length: u32, tos: u8, payload: u8) {
        let mut sum = u32::from(to.checksum) + length + u32::from(tos);
        if payload != protocol::UDP {
            // The backend's part of the sum has UDP in it.
            sum += u32::from(!u16::from(protocol::UDP)) + u32::from(payload);
        }
        self.macs = to.macs_low;
        self.head = Be64::new(to.head | u64::from(tos));
        let constant = (IPV4_DF as u64) << 16 | HOP_LIMIT << 8 | u64::from(payload);
        self.middle = Be64::new(u64::from(length) << 48 | constant);
        // Of ones before: the complement.
        self.ends = Be64::new(to.ends ^ u64::from(fold(sum)) << 48);
    }
}

impl FrontIpv6 {
    /// The outer header (RFC 2473). `length`: what follows it; `label`: of the flow label, the lower half.
    #[inline(always)]
    pub(super) fn put(
        &mut self,
        to: &Backend,
        bank: &Bank,
        length: u32,
        tos: u8,
        label: u32,
        payload: u8,
    ) {
        self.macs = to.macs_low;
        self.head = Be64::new(to.head | u64::from(tos) << 4);
        self.label_length = Be32::new(label << 16 | length);
        self.next_hop_limit = Be16::new(u16::from(payload) << 8 | HOP_LIMIT as u16);
        self.source = Address6::of(bank.shared.source_v6);
        self.destination = Address6::of(to.address);
    }
}

/// The ports are the tunnel's and a part of the flow's hash. `length`: header and payload.
impl UdpIpv4 {
    #[inline(always)]
    pub(super) fn put(&mut self, to: &Backend, hash: u64, length: u32) {
        let source_port = hash >> flow::SOURCE_PORT << 32;
        self.all = Be64::new(to.udp | source_port | u64::from(length));
        self.checksum = 0;
    }
}

impl UdpIpv6 {
    #[inline(always)]
    pub(super) fn put(&mut self, to: &Backend, hash: u64, length: u32) {
        let source_port = hash >> flow::SOURCE_PORT << 48;
        self.all = Be64::new(to.udp | source_port | u64::from(length) << 16);
    }
}

/// Makes room for so many bytes of headers before a packet of `length` bytes, where both fit the tunnel; and before them for the
/// next hop's VLAN tag, which [`tag`] fills in the end.
#[inline(always)]
pub(super) fn make_room<P: Transit>(
    packet: &mut P,
    headers: u32,
    length: u32,
    mtu: u16,
    to: &Backend,
) -> Result<(), Exit> {
    if headers + length > u32::from(mtu) {
        return leave(Exit::TooBig);
    }
    // A number, for which neither the processor nor the verifier goes two ways.
    let tag = u32::from(to.tag_bytes) & TAG;
    // Skipped tags go as well.
    if !packet.grow((headers + tag) as i32) {
        return leave(Exit::NoHeadroom);
    }
    packet.skip(tag as usize);
    Ok(())
}

/// Fills the room for the next hop's VLAN tag. The EtherType is where it must be; the addresses move to the front.
#[inline(always)]
pub(super) fn tag<P: Transit>(packet: &mut P, to: &Backend) -> Result<(), Exit> {
    packet.unskip();
    let tagged = packet.get_mut::<Tagged>(0).or_leave(Exit::NoHeadroom)?;
    tagged.macs_low = to.macs_low;
    tagged.macs_high = to.macs_high();
    tagged.tag = to.vlan;
    Ok(())
}
