//! Reading a datum: <https://avro.apache.org/docs/1.12.0/specification/#binary-encoding>.

use super::layout::{Layout, Node, NodeId, Step};

/// Nested values deeper than this are no honest data.
const MAX_DEPTH: usize = 64;
/// Elements of arrays and maps that one datum may have without a byte of its own for each: arrays of nulls.
const MAX_EMPTY_ITEMS: usize = 1 << 16;

/// A scalar value, borrowed from the datum. Values of other types are read as null, since no column takes them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'d> {
    /// No value.
    Null,
    /// `boolean`.
    Boolean(bool),
    /// `int`, and the number of an enum's symbol.
    Int(i32),
    /// `long`.
    Long(i64),
    /// `float`.
    Float(f32),
    /// `double`.
    Double(f64),
    /// `bytes` and `fixed`.
    Bytes(&'d [u8]),
    /// `string`.
    String(&'d str),
}

/// A record's values by cell.
#[derive(Debug)]
pub struct Row<'d> {
    /// One for each field of the layout.
    pub cells: Vec<Cell<'d>>,
    /// Whether the record has the values from before an update.
    pub has_before: bool,
}

impl<'d> Row<'d> {
    /// The value of a cell, null if the layout has no such cell.
    #[must_use]
    pub fn cell(&self, cell: usize) -> Cell<'d> {
        self.cells.get(cell).copied().unwrap_or(Cell::Null)
    }
}

/// A datum that was not written with its schema. Says nothing of its contents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the datum was not written with its schema: {problem} at byte {position}")]
pub struct DecodeError {
    problem: &'static str,
    position: usize,
}

impl Layout {
    /// Reads a datum, which must end with its last field.
    ///
    /// # Errors
    /// It does not fit the schema.
    pub fn decode<'d>(&self, datum: &'d [u8]) -> Result<Row<'d>, DecodeError> {
        let mut reader = Reader { nodes: &self.nodes, rest: datum, empty_items: 0 };
        self.walk(&mut reader)
            .map_err(|problem| DecodeError { problem, position: datum.len() - reader.rest.len() })
    }

    fn walk<'d>(&self, reader: &mut Reader<'_, 'd>) -> Result<Row<'d>, &'static str> {
        let mut cells = Vec::with_capacity(self.fields.len());
        let mut before = None;
        for step in &self.steps {
            match step {
                Step::Cell(node) => cells.push(reader.cell(*node, 0)?),
                Step::Before { null, record, fields } => {
                    let branch = reader.long()?;
                    if branch == *record {
                        let read = fields.iter().map(|node| reader.cell(*node, 0));
                        before = Some(read.collect::<Result<Vec<_>, _>>()?);
                    } else if branch != *null {
                        return Err("no such branch of a union");
                    }
                }
            }
        }
        if !reader.rest.is_empty() {
            return Err("bytes after the last field");
        }
        let has_before = before.is_some();
        cells.extend(before.into_iter().flatten());
        cells.resize(self.fields.len(), Cell::Null);
        Ok(Row { cells, has_before })
    }
}

struct Reader<'n, 'd> {
    nodes: &'n [Node],
    rest: &'d [u8],
    empty_items: usize,
}

impl<'d> Reader<'_, 'd> {
    fn cell(&mut self, id: NodeId, depth: usize) -> Result<Cell<'d>, &'static str> {
        if depth > MAX_DEPTH {
            return Err("values nested too deep");
        }
        let nodes = self.nodes;
        Ok(match nodes.get(id).ok_or("unknown type")? {
            Node::Null => Cell::Null,
            Node::Boolean => match self.take(1)? {
                [0] => Cell::Boolean(false),
                [1] => Cell::Boolean(true),
                _ => return Err("a boolean that is neither 0 nor 1"),
            },
            Node::Int => Cell::Int(i32::try_from(self.long()?).map_err(|_| "an int beyond 32 bits")?),
            Node::Long => Cell::Long(self.long()?),
            Node::Float => Cell::Float(f32::from_le_bytes(self.array()?)),
            Node::Double => Cell::Double(f64::from_le_bytes(self.array()?)),
            Node::Bytes => Cell::Bytes(self.bytes()?),
            Node::String => {
                Cell::String(std::str::from_utf8(self.bytes()?).map_err(|_| "a string that is not UTF-8")?)
            }
            Node::Fixed(size) => Cell::Bytes(self.take(*size)?),
            Node::Union(branches) => {
                let branch = usize::try_from(self.long()?).ok().and_then(|branch| branches.get(branch));
                return self.cell(*branch.ok_or("no such branch of a union")?, depth + 1);
            }
            Node::Record(fields) => {
                for field in fields {
                    self.cell(*field, depth + 1)?;
                }
                Cell::Null
            }
            Node::Array(items) => self.blocks(None, *items, depth + 1)?,
            Node::Map(values) => self.blocks(Some(()), *values, depth + 1)?,
        })
    }

    /// Arrays and, with a key before each value, maps: blocks of items until an empty one.
    fn blocks(&mut self, keys: Option<()>, items: NodeId, depth: usize) -> Result<Cell<'d>, &'static str> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(Cell::Null);
            }
            if count < 0 {
                // The block says its size in bytes.
                let size = usize::try_from(self.long()?).map_err(|_| "a negative size")?;
                self.take(size)?;
                continue;
            }
            for _ in 0..count {
                let before = self.rest.len();
                if keys.is_some() {
                    self.bytes()?;
                }
                self.cell(items, depth)?;
                if self.rest.len() == before {
                    self.empty_items += 1;
                    if self.empty_items > MAX_EMPTY_ITEMS {
                        return Err("too many items without a byte");
                    }
                }
            }
        }
    }

    fn bytes(&mut self) -> Result<&'d [u8], &'static str> {
        let size = usize::try_from(self.long()?).map_err(|_| "a negative size")?;
        self.take(size)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (value, rest) = self.rest.split_first_chunk().ok_or("the end of the data in a number")?;
        self.rest = rest;
        Ok(*value)
    }

    fn take(&mut self, size: usize) -> Result<&'d [u8], &'static str> {
        let (value, rest) = self.rest.split_at_checked(size).ok_or("the end of the data in a value")?;
        self.rest = rest;
        Ok(value)
    }

    /// A number in zig-zag code, seven bits a byte.
    fn long(&mut self) -> Result<i64, &'static str> {
        // Of branches and lengths nearly all.
        if let [byte @ ..=0x7f, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err("the end of the data in a number")
    }
}
