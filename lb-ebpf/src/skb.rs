//! The packet of a TC program.
//!
//! Its start lies between `data` and `data_end`; the rest may be in pages that a program does not see. What is written goes to
//! bytes of this packet alone: the kernel copies them before a program runs that writes, where a clone shares them.

use core::ffi::c_void;

use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::bindings::{__sk_buff, BPF_F_ADJ_ROOM_FIXED_GSO};
use aya_ebpf::helpers::{
    bpf_csum_update, bpf_redirect, bpf_skb_adjust_room, bpf_skb_change_proto, bpf_skb_pull_data,
};
use aya_ebpf::programs::TcContext;
use lb_common::packet::{OFFSET_MASK, Packet, View};
use lb_common::wire::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6};

use crate::packet::{opaque, there};
use crate::sockets::Arrived;

/// The packet of a TC program.
pub struct SkbPacket {
    context: *mut __sk_buff,
    data: usize,
    end: usize,
}

impl SkbPacket {
    /// The packet of `context`, as far as it can be read in place.
    #[inline(always)]
    pub fn new(context: &TcContext) -> Self {
        Self {
            context: context.skb.skb,
            data: context.data(),
            end: context.data_end(),
        }
    }

    /// Makes the first `bytes` readable, or all where there are fewer. Where memory is short, nothing more is readable than was.
    #[inline(always)]
    pub fn pull(&mut self, bytes: usize) {
        let bytes = bytes.min(self.len());
        if opaque(self.end - self.data) < bytes {
            // SAFETY: the context is valid.
            unsafe { bpf_skb_pull_data(self.context, bytes as u32) };
            self.reload();
        }
    }

    /// Whether it is of a VLAN, whose tag the kernel keeps beside the packet.
    #[inline(always)]
    pub fn is_tagged(&self) -> bool {
        // SAFETY: the context of a running TC program is valid.
        unsafe { (*self.context).vlan_present != 0 }
    }

    /// Sends it out of the interface that it came in by, once the program ends; the program's result.
    #[inline(always)]
    pub fn send_back(&self) -> i32 {
        // SAFETY: as above; the helper only takes a note.
        unsafe { bpf_redirect((*self.context).ifindex, 0) as i32 }
    }

    #[inline(always)]
    fn reload(&mut self) {
        // SAFETY: as above.
        unsafe {
            self.data = (*self.context).data as usize;
            self.end = (*self.context).data_end as usize;
        }
    }

    /// Makes the kernel hold the packet for one of the other family. Between the Ethernet and the IP header it takes away or
    /// adds what the longer IP header has more.
    #[inline(always)]
    fn change_family(&mut self, v4: bool) -> bool {
        let protocol = if v4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
        // SAFETY: the context is valid.
        unsafe { bpf_skb_change_proto(self.context, protocol.raw(), 0) == 0 }
    }
}

impl Arrived for SkbPacket {
    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.context.cast()
    }
}

impl Packet for SkbPacket {
    #[inline(always)]
    fn get<T: View>(&self, offset: usize) -> Option<&T> {
        let at = self.data + offset;
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: the check above proves to the verifier that `T` lies inside the packet; any bytes are a `T`, at any address.
        Some(unsafe { &*there(at) })
    }

    #[inline(always)]
    fn get_at<T: View>(&self, offset: usize) -> Option<&T> {
        // Hidden first: the compiler may know that the mask changes nothing, and older verifiers do not.
        let at = opaque(self.data + (opaque(offset) & OFFSET_MASK));
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: as in `get`.
        Some(unsafe { &*there(at) })
    }

    #[inline(always)]
    fn get_mut<T: View>(&mut self, offset: usize) -> Option<&mut T> {
        let at = self.data + offset;
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: as in `get`; `&mut self` makes this the only reference.
        Some(unsafe { &mut *there(at) })
    }

    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: the context of a running TC program is valid.
        unsafe { (*self.context).len as usize }
    }

    /// Never: what the kernel knows of headers would not follow.
    #[inline(always)]
    fn grow(&mut self, _by: i32) -> bool {
        false
    }

    #[inline(always)]
    fn strip(&mut self, by: usize, v4: bool) -> bool {
        const LONGER: usize = size_of::<Ipv6>() - size_of::<Ipv4>();
        let Some(ethernet) = self.get::<Ethernet>(0) else {
            return false;
        };
        let was_v4 = ethernet.ethertype == ETHERTYPE_IPV4;
        let mut by = by;
        if was_v4 != v4 {
            if !self.change_family(v4) {
                return false;
            }
            by = if v4 { by - LONGER } else { by + LONGER };
        }
        // The size that TCP segments had on the wire is that of the inner packets, which stay as they are.
        // SAFETY: the context is valid; the helper checks the length.
        let left = unsafe {
            bpf_skb_adjust_room(
                self.context,
                -(by as i32),
                BPF_ADJ_ROOM_MAC,
                u64::from(BPF_F_ADJ_ROOM_FIXED_GSO),
            )
        };
        self.reload();
        left == 0
    }

    #[inline(always)]
    fn settle(number: u64) -> u64 {
        opaque(number as usize) as u64
    }

    #[inline(always)]
    fn is_joined(&self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.context).gso_size != 0 }
    }

    #[inline(always)]
    fn resum(&mut self, gained: u32) {
        // Where the kernel has no sum of the whole packet there is nothing to do, and the helper says so.
        // SAFETY: the context is valid.
        unsafe { bpf_csum_update(self.context, gained) };
    }
}
