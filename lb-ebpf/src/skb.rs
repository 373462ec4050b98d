//! The linear part of a packet in a TC program.

use aya_ebpf::programs::TcContext;
use lb_common::packet::{OFFSET_MASK, Packet, View};

use crate::packet::opaque;

/// The packet of a TC program, to read. Changes go through the kernel's helpers, which know about checksums left to the NIC.
pub struct SkbPacket {
    data: usize,
    end: usize,
}

impl SkbPacket {
    /// What of `context` can be read in place: all headers of a packet that this host made.
    #[inline(always)]
    pub fn new(context: &TcContext) -> Self {
        Self {
            data: context.data(),
            end: context.data_end(),
        }
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
        Some(unsafe { &*(at as *const T) })
    }

    #[inline(always)]
    fn get_at<T: View>(&self, offset: usize) -> Option<&T> {
        // Hidden first: the compiler may know that the mask changes nothing, and older verifiers do not.
        let at = opaque(self.data + (opaque(offset) & OFFSET_MASK));
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: as in `get`.
        Some(unsafe { &*(at as *const T) })
    }

    /// Never: a clone may share the bytes.
    #[inline(always)]
    fn get_mut<T: View>(&mut self, _offset: usize) -> Option<&mut T> {
        None
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.data
    }

    /// Never.
    #[inline(always)]
    fn grow(&mut self, _by: i32) -> bool {
        false
    }
}
