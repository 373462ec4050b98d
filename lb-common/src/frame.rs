//! A packet in a buffer of its own: the host's side of [`Packet`].

use crate::packet::{OFFSET_MASK, Packet, Transit, View};

/// Bytes a packet can grow by at its head.
const HEADROOM: usize = 256;
/// Headroom and the largest packet held.
const SIZE: usize = HEADROOM + 9216;

/// A packet with headroom, for tests and the simulator.
#[derive(Clone, Copy)]
pub struct Frame {
    buffer: [u8; SIZE],
    /// Where the headroom begins.
    floor: usize,
    start: usize,
    skipped: usize,
    end: usize,
    /// Index of the interface that it came in by.
    ingress: u32,
    /// Index of the interface that it leaves by, where that is another.
    pub egress: Option<u32>,
}

impl Frame {
    /// A copy of `packet`; `None` where it is longer than 9,216 bytes.
    pub fn new(packet: &[u8]) -> Option<Self> {
        // Headroom that was never written must be seen in a test.
        Self::filled(packet, 0xa5)
    }

    /// The same with other bytes around it: what differs between two fills was never written.
    pub fn filled(packet: &[u8], fill: u8) -> Option<Self> {
        let mut buffer = [fill; SIZE];
        let end = HEADROOM + packet.len();
        buffer.get_mut(HEADROOM..end)?.copy_from_slice(packet);
        Some(Self {
            buffer,
            floor: 0,
            start: HEADROOM,
            skipped: 0,
            end,
            ingress: 1,
            egress: None,
        })
    }

    /// With another interface that it came in by than the first.
    pub fn from_interface(self, ingress: u32) -> Self {
        Self { ingress, ..self }
    }

    /// With so many bytes of headroom, at most 256.
    pub fn with_headroom(self, bytes: usize) -> Self {
        let floor = self.start.saturating_sub(bytes);
        Self { floor, ..self }
    }

    /// The packet as it is now.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn visible(&self) -> &[u8] {
        self.bytes().get(self.skipped..).unwrap_or_default()
    }
}

impl Packet for Frame {
    fn get<T: View>(&self, offset: usize) -> Option<&T> {
        let (value, _) = T::ref_from_prefix(self.visible().get(offset..)?).ok()?;
        Some(value)
    }

    fn get_at<T: View>(&self, offset: usize) -> Option<&T> {
        self.get(offset & OFFSET_MASK)
    }

    fn get_mut<T: View>(&mut self, offset: usize) -> Option<&mut T> {
        let from = self.skipped + offset;
        let frame = &mut self.buffer[self.start..self.end];
        let (value, _) = T::mut_from_prefix(frame.get_mut(from..)?).ok()?;
        Some(value)
    }

    fn len(&self) -> usize {
        self.visible().len()
    }

    fn grow(&mut self, by: i32) -> bool {
        let start = self.start + self.skipped;
        match start.checked_add_signed(-by as isize) {
            // The kernel keeps at least an Ethernet header.
            Some(start) if start >= self.floor && start + 14 <= self.end => {
                self.start = start;
                self.skipped = 0;
                true
            }
            _ => false,
        }
    }
}

impl Transit for Frame {
    fn get_at_mut<T: View>(&mut self, offset: usize) -> Option<&mut T> {
        self.get_mut(offset & OFFSET_MASK)
    }

    fn skip(&mut self, by: usize) {
        self.skipped += by;
    }

    fn unskip(&mut self) {
        self.skipped = 0;
    }

    fn cut(&mut self, bytes: usize) -> bool {
        let end = self.start + self.skipped + bytes;
        self.skipped = 0;
        let fits = self.start + 14 <= end && end <= self.end;
        if fits {
            self.end = end;
        }
        fits
    }

    fn aside(&mut self, task: u32, a: u32, b: u32) -> u64 {
        crate::lb::aside::run(self, task, a, b)
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn leaves_by(&mut self, interface: u32) -> bool {
        self.egress = (interface != self.ingress).then_some(interface);
        self.egress.is_none()
    }
}
