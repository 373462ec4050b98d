//! A packet in a buffer of its own: the host's side of [`Packet`].

use crate::packet::{OFFSET_MASK, Packet, View};

/// Bytes a packet can grow by at its head.
const HEADROOM: usize = 256;
/// Headroom and the largest packet held.
const SIZE: usize = HEADROOM + 9216;

/// A packet with headroom, for tests and the simulator.
#[derive(Clone)]
pub struct Frame {
    buffer: [u8; SIZE],
    start: usize,
    end: usize,
}

impl Frame {
    /// A copy of `packet`; `None` where it is longer than 9,216 bytes.
    pub fn new(packet: &[u8]) -> Option<Self> {
        // Headroom that was never written must be seen in a test.
        let mut buffer = [0xa5; SIZE];
        let end = HEADROOM + packet.len();
        buffer.get_mut(HEADROOM..end)?.copy_from_slice(packet);
        Some(Self {
            buffer,
            start: HEADROOM,
            end,
        })
    }

    /// The packet as it is now.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

impl Packet for Frame {
    fn get<T: View>(&self, offset: usize) -> Option<&T> {
        let (value, _) = T::ref_from_prefix(self.bytes().get(offset..)?).ok()?;
        Some(value)
    }

    fn get_at<T: View>(&self, offset: usize) -> Option<&T> {
        self.get(offset & OFFSET_MASK)
    }

    fn get_mut<T: View>(&mut self, offset: usize) -> Option<&mut T> {
        let (value, _) =
            T::mut_from_prefix(self.buffer[self.start..self.end].get_mut(offset..)?).ok()?;
        Some(value)
    }

    fn len(&self) -> usize {
        self.end - self.start
    }

    fn grow(&mut self, by: i32) -> bool {
        match self.start.checked_add_signed(-by as isize) {
            // The kernel keeps at least an Ethernet header.
            Some(start) if start + 14 <= self.end => {
                self.start = start;
                true
            }
            _ => false,
        }
    }
}
