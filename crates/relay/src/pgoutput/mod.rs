//! PostgreSQL's `pgoutput` messages, protocol version 1
//! (<https://www.postgresql.org/docs/17/protocol-logicalrep-message-formats.html>).
//!
//! The replication client already separates begin, commit and logical messages; this reads the rest. Rows are
//! not copied: a [`Cell`] says where in the message a value is.

mod reader;
mod relation;
mod tuple;

pub use reader::Malformed;
use reader::Reader;
pub use relation::{RelationColumn, RelationMessage, ReplicaIdentity};
pub use tuple::{Cell, Row};

/// What a message is about; for a change, its rows are in the [`Rows`] given to [`parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The layout of a table, ahead of its first change and after anything that may have altered it.
    Relation(RelationMessage),
    /// A row was inserted, updated or deleted.
    Change {
        /// Object identifier of the table.
        relation: u32,
        /// What happened to the row.
        kind: ChangeKind,
    },
    /// Tables were emptied.
    Truncate {
        /// Object identifiers of the tables.
        relations: Vec<u32>,
    },
    /// A type's name or the transaction's origin: nothing that is needed here.
    Ignored,
}

/// What happened to a row, and what the message says about how it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// `new` has the row.
    Insert,
    /// `new` has the row; `old` is set if a column of the replica identity changed, or always if that is full.
    Update {
        /// Whether `old` is set.
        has_old: bool,
    },
    /// `old` has the columns of the replica identity, or the whole row if that is full.
    Delete,
}

/// The rows of a change; kept between messages, so that reading one allocates nothing.
#[derive(Debug, Default)]
pub struct Rows {
    /// The row after the change.
    pub new: Vec<Cell>,
    /// The row before it, as far as PostgreSQL sends it.
    pub old: Vec<Cell>,
}

/// Reads one message.
///
/// # Errors
/// The bytes are not a message of the protocol.
pub fn parse(data: &[u8], rows: &mut Rows) -> Result<Message, Malformed> {
    let mut reader = Reader::new(data);
    match reader.u8()? {
        b'I' => {
            let relation = reader.u32()?;
            reader.expect(b'N')?;
            tuple::read(&mut reader, &mut rows.new)?;
            Ok(Message::Change { relation, kind: ChangeKind::Insert })
        }
        b'U' => {
            let relation = reader.u32()?;
            let has_old = match reader.u8()? {
                b'K' | b'O' => {
                    tuple::read(&mut reader, &mut rows.old)?;
                    reader.expect(b'N')?;
                    true
                }
                b'N' => false,
                other => return Err(reader.unexpected(other)),
            };
            tuple::read(&mut reader, &mut rows.new)?;
            Ok(Message::Change { relation, kind: ChangeKind::Update { has_old } })
        }
        b'D' => {
            let relation = reader.u32()?;
            match reader.u8()? {
                b'K' | b'O' => tuple::read(&mut reader, &mut rows.old)?,
                other => return Err(reader.unexpected(other)),
            }
            Ok(Message::Change { relation, kind: ChangeKind::Delete })
        }
        b'R' => Ok(Message::Relation(relation::read(&mut reader)?)),
        b'T' => {
            let count = reader.u32()?;
            reader.u8()?;
            let relations = (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?;
            Ok(Message::Truncate { relations })
        }
        b'Y' | b'O' => Ok(Message::Ignored),
        other => Err(reader.unexpected(other)),
    }
}

#[cfg(test)]
pub(crate) mod tests;
