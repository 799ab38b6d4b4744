//! Rows: where in a message the value of each column is.

use super::reader::{Malformed, Reader};
use crate::value::Format;

/// One column of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// SQL `NULL`, or a column that this row does not carry.
    Null,
    /// A large value that an update left as it was, and that PostgreSQL therefore does not send.
    Unchanged,
    /// A value: its form and where it starts and ends.
    Value(Format, u32, u32),
}

/// A row: its cells and the bytes they point into.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The message.
    pub data: &'a [u8],
    /// One cell a column.
    pub cells: &'a [Cell],
}

impl<'a> Row<'a> {
    /// The cell of a column; a column that is not there is null.
    #[inline]
    #[must_use]
    pub fn cell(&self, column: usize) -> Cell {
        self.cells.get(column).copied().unwrap_or(Cell::Null)
    }

    /// The form and bytes of a column's value, if it has one here.
    #[inline]
    #[must_use]
    pub fn value(&self, column: usize) -> Option<(Format, &'a [u8])> {
        match self.cell(column) {
            Cell::Value(format, start, end) => {
                Some((format, self.data.get(start as usize..end as usize).unwrap_or_default()))
            }
            Cell::Null | Cell::Unchanged => None,
        }
    }
}

#[inline]
pub(super) fn read(reader: &mut Reader<'_>, cells: &mut Vec<Cell>) -> Result<(), Malformed> {
    cells.clear();
    let count = reader.u16()?;
    cells.reserve(usize::from(count));
    for _ in 0..count {
        let cell = match reader.u8()? {
            b'n' => Cell::Null,
            b'u' => Cell::Unchanged,
            b't' => value(reader, Format::Text)?,
            b'b' => value(reader, Format::Binary)?,
            other => return Err(reader.unexpected(other)),
        };
        cells.push(cell);
    }
    Ok(())
}

#[inline]
fn value(reader: &mut Reader<'_>, format: Format) -> Result<Cell, Malformed> {
    let len = reader.u32()?;
    let start = reader.position();
    reader.take(len as usize)?;
    // A message is smaller than 1 GiB, so that offsets into it fit.
    let start = u32::try_from(start).unwrap_or(u32::MAX);
    Ok(Cell::Value(format, start, start.saturating_add(len)))
}
