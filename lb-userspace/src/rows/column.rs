//! A backend for each row: of most pools a byte, since what is remembered of many inputs is most of the agent's memory.

use super::{ABSENT, ROWS};

/// Stands for [`ABSENT`] where numbers are bytes.
const NARROW_ABSENT: u8 = u8::MAX;

/// A backend's number for each row, or [`ABSENT`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// Of at most 255 backends.
    Narrow(Box<[u8]>),
    /// Of more.
    Wide(Box<[u16]>),
}

impl Column {
    /// Nobody in any row, of so many backends.
    pub fn of(backends: usize) -> Self {
        if backends <= usize::from(NARROW_ABSENT) {
            Column::Narrow(vec![NARROW_ABSENT; ROWS].into())
        } else {
            Column::Wide(vec![ABSENT; ROWS].into())
        }
    }

    /// Whose a row is.
    #[inline]
    pub fn at(&self, row: u32) -> u16 {
        match self {
            Column::Narrow(numbers) => widened(numbers[row as usize]),
            Column::Wide(numbers) => numbers[row as usize],
        }
    }

    /// Gives a row to somebody.
    #[inline]
    pub fn set(&mut self, row: u32, number: u16) {
        match self {
            // `ABSENT` becomes the one that stands for it, and no other number is that large.
            Column::Narrow(numbers) => numbers[row as usize] = number as u8,
            Column::Wide(numbers) => numbers[row as usize] = number,
        }
    }

    /// Row by row.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        (0..ROWS as u32).map(|row| self.at(row))
    }
}

fn widened(number: u8) -> u16 {
    match number {
        NARROW_ABSENT => ABSENT,
        number => number.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_whatever_the_width() {
        for backends in [0, 1, 255, 256, 16_384] {
            let mut column = Column::of(backends);
            assert!(column.iter().eq([ABSENT; ROWS]), "{backends}");
            let numbers = [0, backends.saturating_sub(1) as u16, ABSENT];
            for (row, number) in [0, 17, ROWS as u32 - 1].into_iter().zip(numbers) {
                column.set(row, number);
                assert_eq!(column.at(row), number, "{backends}");
            }
            assert_eq!(column.iter().count(), ROWS);
        }
    }

    #[test]
    fn few_backends_take_a_byte() {
        for (backends, narrow) in [(255, true), (256, false)] {
            assert_eq!(
                matches!(Column::of(backends), Column::Narrow(_)),
                narrow,
                "{backends}"
            );
        }
    }
}
