//! Reading a table with `COPY … TO STDOUT`, in binary form where every type allows it.
//!
//! Formats: <https://www.postgresql.org/docs/17/sql-copy.html#id-1.9.3.55.9>. PostgreSQL sends one message a row,
//! the binary form's header with the first.

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use sqlx::postgres::PgConnection;

use crate::catalog::{self, Published};
use crate::order::quote_identifier;
use crate::pgoutput::{Cell, Row};
use crate::relations::Active;
use crate::value::Format;

/// Why a table could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// PostgreSQL's error.
    #[error("a table could not be read for the snapshot")]
    Sql(#[from] sqlx::Error),
    /// A row that is not of the format.
    #[error("a row of the snapshot is not in COPY's {format:?} format")]
    Malformed {
        /// The format.
        format: Format,
    },
}

/// A table that is being read.
pub(crate) struct Copy<'a> {
    messages: BoxStream<'a, Result<Bytes, sqlx::Error>>,
    format: Format,
    first: bool,
    row: Bytes,
    /// What the cells point into in text form, whose values are escaped in the message.
    text: Vec<u8>,
    cells: Vec<Cell>,
}

/// `PGCOPY\n\377\r\n\0`, flags, and the length of an extension that is never used.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

impl<'a> Copy<'a> {
    /// Begins to read the rows after the key, in the order of the keys.
    pub(crate) async fn begin(
        reader: &'a mut PgConnection,
        published: &Published,
        table: &Active,
        after: Option<&[String]>,
    ) -> Result<Self, SnapshotError> {
        let format = if table.table.reads_binary() { Format::Binary } else { Format::Text };
        let columns: Vec<String> =
            table.table.columns.iter().map(|column| quote_identifier(&column.name)).collect();
        let conditions: Vec<String> = published
            .row_filter
            .iter()
            .cloned()
            .chain(after.map(|key| table.order.after(key)))
            .map(|condition| format!("({condition})"))
            .collect();
        let sql = format!(
            "COPY (SELECT {} FROM {}{}{}{} ORDER BY {}) TO STDOUT (FORMAT {})",
            columns.join(", "),
            // The tables that inherit from it are published on their own.
            if published.is_partitioned { "" } else { "ONLY " },
            catalog::sql_name(&table.table.name),
            if conditions.is_empty() { "" } else { " WHERE " },
            conditions.join(" AND "),
            table.order.order_by(),
            match format {
                Format::Binary => "binary",
                Format::Text => "text",
            }
        );
        let messages = reader.copy_out_raw(&sql).await?;
        Ok(Self { messages, format, first: true, row: Bytes::new(), text: Vec::new(), cells: Vec::new() })
    }

    /// Moves on to the next row; `false` after the last one.
    pub(crate) async fn next(&mut self) -> Result<bool, SnapshotError> {
        let Some(mut message) = self.messages.try_next().await? else {
            return Ok(false);
        };
        if std::mem::take(&mut self.first) && self.format == Format::Binary {
            message = match message.starts_with(HEADER) {
                true => message.slice(HEADER.len()..),
                false => return Err(self.malformed()),
            };
        }
        self.row = message;
        self.cells.clear();
        match self.format {
            Format::Binary => match read_binary(&self.row, &mut self.cells) {
                Some(true) => Ok(true),
                // The trailer. Only after the end of the messages the connection is free for the next table.
                Some(false) => match self.messages.try_next().await? {
                    None => Ok(false),
                    Some(_) => Err(self.malformed()),
                },
                None => Err(self.malformed()),
            },
            Format::Text => {
                self.text.clear();
                read_text(&self.row, &mut self.text, &mut self.cells).ok_or_else(|| self.malformed())?;
                Ok(true)
            }
        }
    }

    /// The current row.
    pub(crate) fn row(&self) -> Row<'_> {
        let data = match self.format {
            Format::Binary => &self.row[..],
            Format::Text => &self.text[..],
        };
        Row { data, cells: &self.cells }
    }

    const fn malformed(&self) -> SnapshotError {
        SnapshotError::Malformed { format: self.format }
    }
}

/// Reads a row of `COPY … (FORMAT binary)` and appends its cells, which point into it. Returns `Some(false)` for the
/// trailer that follows the last row, `None` for what is neither.
#[must_use]
pub fn read_binary(row: &[u8], cells: &mut Vec<Cell>) -> Option<bool> {
    let (count, mut rest) = row.split_first_chunk::<2>()?;
    let count = i16::from_be_bytes(*count);
    for _ in 0..count.max(0) {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let len = i32::from_be_bytes(*len);
        if len < 0 {
            cells.push(Cell::Null);
            rest = after;
        } else {
            let len = usize::try_from(len).ok()?;
            let start = row.len() - after.len();
            rest = after.get(len..)?;
            cells.push(Cell::Value(
                Format::Binary,
                u32::try_from(start).ok()?,
                u32::try_from(start + len).ok()?,
            ));
        }
    }
    rest.is_empty().then_some(count >= 0)
}

/// Reads a line of `COPY` in text form: appends its values to `text` without their escapes, and the cells that point
/// into it. Returns `None` if it is not a line.
#[must_use]
pub fn read_text(line: &[u8], text: &mut Vec<u8>, cells: &mut Vec<Cell>) -> Option<()> {
    for field in line.strip_suffix(b"\n")?.split(|byte| *byte == b'\t') {
        if field == br"\N" {
            cells.push(Cell::Null);
            continue;
        }
        let start = u32::try_from(text.len()).ok()?;
        let mut bytes = field.iter();
        while let Some(byte) = bytes.next() {
            text.push(match byte {
                b'\\' => match bytes.next()? {
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'v' => 0x0b,
                    other => *other,
                },
                byte => *byte,
            });
        }
        cells.push(Cell::Value(Format::Text, start, u32::try_from(text.len()).ok()?));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<'a>(data: &'a [u8], cells: &'a [Cell]) -> Vec<Option<&'a [u8]>> {
        let row = Row { data, cells };
        (0..cells.len()).map(|column| row.value(column).map(|(_, bytes)| bytes)).collect()
    }

    #[test]
    fn binary_rows() {
        let mut cells = Vec::new();
        let row = b"\x00\x03\x00\x00\x00\x02ab\xff\xff\xff\xff\x00\x00\x00\x00";
        assert_eq!(read_binary(row, &mut cells), Some(true));
        assert_eq!(values(row, &cells), [Some(&b"ab"[..]), None, Some(b"")]);
        assert_eq!(read_binary(b"\xff\xff", &mut Vec::new()), Some(false));
        for wrong in [&b"\x00"[..], b"\x00\x01\x00\x00\x00\x02a", b"\x00\x01\x00\x00\x00\x01ab"] {
            assert_eq!(read_binary(wrong, &mut Vec::new()), None);
        }
    }

    #[test]
    fn text_rows() {
        let (mut text, mut cells) = (Vec::new(), Vec::new());
        read_text(b"a\\tb\\\\\\n\t\\N\t\t\\x00\n", &mut text, &mut cells).unwrap();
        let wanted: [Option<&[u8]>; 4] = [Some(b"a\tb\\\n"), None, Some(b""), Some(b"x00")];
        assert_eq!(values(&text, &cells), wanted);
        assert_eq!(read_text(b"no end", &mut Vec::new(), &mut Vec::new()), None);
        assert_eq!(read_text(b"a\\\n", &mut Vec::new(), &mut Vec::new()), None);
    }
}
