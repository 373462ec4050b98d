//! How decision code reads and grows a packet.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A header type: any bytes are a value of it, and it may lie anywhere.
pub trait View: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned {}
impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned> View for T {}

/// The largest computed offset. The verifier allows no access whose end may lie beyond 65,535.
pub const OFFSET_MASK: usize = 0x7fff;

/// A packet in place, from its Ethernet header on.
///
/// References end where [`Packet::grow`] moves the packet: a stale packet pointer does not compile.
pub trait Packet {
    /// The header at `offset`, which must be a constant once inlined; `None` where the packet is too short.
    fn get<T: View>(&self, offset: usize) -> Option<&T>;
    /// The header at a computed `offset` of at most [`OFFSET_MASK`].
    fn get_at<T: View>(&self, offset: usize) -> Option<&T>;
    /// Like [`Packet::get`], to write.
    fn get_mut<T: View>(&mut self, offset: usize) -> Option<&mut T>;
    /// Bytes from the Ethernet header to the end, or to that of the first of several buffers.
    fn len(&self) -> usize;
    /// Whether there are so many bytes from the Ethernet header on, those in further buffers included.
    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        bytes <= self.len()
    }
    /// Nothing at all in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Moves the start of the packet `by` bytes forward (positive: room for headers; negative: bytes cut off). False, and
    /// nothing moved, where there is no room. New bytes hold anything: write all of them.
    #[must_use]
    fn grow(&mut self, by: i32) -> bool;
    /// Takes `by` bytes off the start, so that behind an Ethernet header, which must be written anew, IPv4 (`v4`) or IPv6
    /// begins. False where that is not possible; the packet is of no more use then.
    #[inline(always)]
    #[must_use]
    fn strip(&mut self, by: usize, v4: bool) -> bool {
        let _ = v4;
        self.grow(-(by as i32))
    }
    /// The number, computed at this point of the program: otherwise the compiler moves the computation to where the number is
    /// used, and what it needs is kept on the stack until then. Nor does it know the number any more: what follows stays.
    #[inline(always)]
    fn settle(number: u64) -> u64 {
        number
    }
    /// Whether the kernel has joined it of several.
    #[inline(always)]
    fn is_joined(&self) -> bool {
        false
    }
    /// Tells of bytes behind the Ethernet header whose change no checksum in the packet has made up for: what their one's
    /// complement sum has gained. A sum over the whole packet, which some NICs hand to the kernel, has to follow.
    #[inline(always)]
    fn resum(&mut self, gained: u32) {
        let _ = gained;
    }
}

/// Whether a number is zero, as a number and without a branch: the verifier looks at what follows once, not once for each.
#[inline(always)]
pub fn is_zero<P: Packet>(number: u64) -> u64 {
    P::settle(number | number.wrapping_neg()) >> 63 ^ 1
}

/// A packet on its way through a node. A copy is another view of the same packet.
pub trait Transit: Packet + Copy {
    /// Like [`Packet::get_at`], to write.
    fn get_at_mut<T: View>(&mut self, offset: usize) -> Option<&mut T>;
    /// From here on, offsets count from `by` bytes further on. Nothing moves; [`Packet::grow`] takes the bytes skipped away.
    fn skip(&mut self, by: usize);
    /// Offsets count from the start of the frame again.
    fn unskip(&mut self);
    /// Cuts off what is behind `bytes` bytes; offsets count from the start of the frame again. False, and nothing cut, where that
    /// is not possible.
    #[must_use]
    fn cut(&mut self, bytes: usize) -> bool;
    /// Index of the interface that it came in by.
    fn ingress(&self) -> u32;
    /// [`crate::lb::aside::run`], in a function of its own. What is skipped stays skipped.
    fn aside(&mut self, task: u32, a: u32, b: u32) -> u64;
    /// Where the packet is to go. True: the interface is the one it came in by.
    fn leaves_by(&mut self, interface: u32) -> bool;
}
