//! A packet between `data` and `data_end` of an XDP context, which may go on in further buffers: headers are in the first.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::programs::XdpContext;
use lb_common::lb::Mark;
use lb_common::lb::aside::common::SKIPPED;
use lb_common::packet::{OFFSET_MASK, Packet, Transit, View};

use crate::given::setting;
use crate::sockets::Arrived;

/// Whether packets may be in several buffers, which the kernel knows since Linux 5.18; the agent says so.
#[unsafe(no_mangle)]
static FRAGS: u32 = 0;

/// The packet of an XDP program.
#[derive(Clone, Copy)]
pub struct XdpPacket {
    context: *mut xdp_md,
    data: usize,
    skipped: usize,
    end: usize,
    ingress: u32,
    egress: u32,
}

impl XdpPacket {
    /// The whole packet of `context`.
    #[inline(always)]
    pub fn new(context: &XdpContext) -> Self {
        Self {
            context: context.ctx,
            data: context.data(),
            skipped: 0,
            end: context.data_end(),
            // SAFETY: the context of a running XDP program is valid.
            ingress: unsafe { (*context.ctx).ingress_ifindex },
            egress: 0,
        }
    }

    /// What marks this run as the agent's own probe, in the metadata before the packet.
    #[inline(always)]
    pub fn mark(&self) -> Mark {
        // SAFETY: the context of a running XDP program is valid.
        let mark = unsafe { (*self.context).data_meta as usize };
        if mark + size_of::<u64>() > self.data {
            // The verifier takes a difference of pointers for any number.
            return Mark::none(opaque(self.end - self.data) as u64);
        }
        // SAFETY: the check above proves to the verifier that eight bytes of metadata are there.
        Mark::of::<Self>(unsafe { core::ptr::read_unaligned(mark as *const u64) })
    }

    /// Index of the interface that the packet leaves by, where that is another than it came in by.
    #[inline(always)]
    pub fn egress(&self) -> u32 {
        self.egress
    }

    /// Bytes from where offsets count, those in further buffers included.
    #[inline(always)]
    fn whole(&self) -> usize {
        if setting(&FRAGS) == 0 {
            return self.len();
        }
        // SAFETY: the context of a running XDP program is valid.
        unsafe { bpf_xdp_get_buff_len(self.context) as usize - self.skipped }
    }

    /// Bytes of the frame. A first buffer that holds no more than usual is taken for all of it.
    #[inline(always)]
    pub fn bytes(&self) -> u64 {
        /// More than a frame of the usual MTU of Ethernet.
        const LARGE: usize = 2048;
        let bytes = self.len();
        (if bytes <= LARGE { bytes } else { self.whole() }) as u64
    }

    /// The packet as the context has it now.
    #[inline(always)]
    fn reload(&mut self) {
        self.skipped = 0;
        // SAFETY: the context of a running XDP program is valid.
        unsafe {
            self.data = (*self.context).data as usize;
            self.end = (*self.context).data_end as usize;
        }
    }
}

impl Arrived for XdpPacket {
    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.context.cast()
    }
}

impl Packet for XdpPacket {
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
        // Hidden, or the compiler drops a bounds check that follows from a comparison with this length; the verifier does not see
        // that it follows.
        opaque(self.end - self.data)
    }

    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        bytes <= self.len() || bytes <= self.whole()
    }

    #[inline(always)]
    fn grow(&mut self, by: i32) -> bool {
        // SAFETY: the context is valid; the helper checks the room.
        if unsafe { bpf_xdp_adjust_head(self.context, self.skipped as i32 - by) } != 0 {
            return false;
        }
        self.reload();
        true
    }

    #[inline(always)]
    fn settle(number: u64) -> u64 {
        opaque(number as usize) as u64
    }
}

impl Transit for XdpPacket {
    #[inline(always)]
    fn get_at_mut<T: View>(&mut self, offset: usize) -> Option<&mut T> {
        // As in `get_at`.
        let at = opaque(self.data + (opaque(offset) & OFFSET_MASK));
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: as in `get_mut`.
        Some(unsafe { &mut *there(at) })
    }

    #[inline(always)]
    fn skip(&mut self, by: usize) {
        self.data += by;
        self.skipped += by;
    }

    #[inline(always)]
    fn unskip(&mut self) {
        self.reload();
    }

    #[inline(always)]
    fn cut(&mut self, bytes: usize) -> bool {
        let by = self.whole().wrapping_sub(bytes) as i32;
        // SAFETY: the context is valid; the helper checks the length.
        if unsafe { bpf_xdp_adjust_tail(self.context, by.wrapping_neg()) } != 0 {
            return false;
        }
        self.reload();
        true
    }

    #[inline(always)]
    fn aside(&mut self, task: u32, a: u32, b: u32) -> u64 {
        let result = aside(self.context, self.skipped as u32, task, a, b);
        self.reload();
        self.skip(4 * (result >> SKIPPED & 3) as usize);
        result
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.ingress
    }

    #[inline(always)]
    fn leaves_by(&mut self, interface: u32) -> bool {
        self.egress = interface;
        self.ingress == interface
    }
}

/// [`lb_common::lb::aside`], a global function: the verifier knows nothing of its arguments.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn aside(context: *mut xdp_md, skipped: u32, task: u32, a: u32, b: u32) -> u64 {
    let mut packet = XdpPacket::new(&XdpContext::new(context));
    let words = (skipped / 4) & 3;
    packet.skip(4 * words as usize);
    let result = lb_common::lb::aside::run(&mut packet, task, a, b);
    result | u64::from(words) << SKIPPED
}

/// A pointer into the packet, of which the compiler knows that it is none to nothing: it asks no second time.
///
/// # Safety
///
/// There is a `T` at this address.
#[inline(always)]
pub unsafe fn there<T>(at: usize) -> *mut T {
    // SAFETY: the caller's.
    unsafe { core::hint::assert_unchecked(at != 0) };
    at as *mut T
}

/// Hides where a number came from: otherwise the compiler may check one register and read through another, which the verifier
/// refuses.
#[inline(always)]
pub fn opaque(number: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: moves a register to itself.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) number, options(nomem, nostack, preserves_flags))
        };
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    core::hint::black_box(number)
}
